"""When a run is over, and how far it has come."""

import math
import time
from dataclasses import dataclass, field, replace

from distributed_kd.config import RunConfig, StopConfig


@dataclass
class Bounds:
    """The bounds of `[stop]` against the counts of a run; `earlier_seconds` is what it took before it was resumed."""

    stop: StopConfig
    insert_bound: int
    earlier_seconds: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, config: RunConfig, earlier_seconds: float = 0.0) -> "Bounds":
        """The bound on inserts is the one on environment steps, or what the bound on updates comes to at this pace.

        Over a fixed set of states no environment step is made, so that updates and time alone are bounds.
        """
        replay, stop = config.replay, config.stop
        if config.data.file:
            stop = replace(stop, env_steps=0, updates=stop.updates or config.data.updates)
        bounds = [stop.env_steps] if stop.env_steps else []
        if stop.updates and replay.samples_per_insert:
            bounds.append(math.ceil(stop.updates * replay.batch_size / replay.samples_per_insert))
        return cls(stop, max(min(bounds), replay.warmup) if bounds else 0, earlier_seconds)

    @property
    def seconds(self) -> float:
        """Wall time of the run so far."""
        return self.earlier_seconds + time.monotonic() - self._began

    @property
    def out_of_time(self) -> bool:
        return bool(self.stop.minutes) and self.seconds >= 60 * self.stop.minutes

    def inserting_is_over(self, env_steps: int) -> bool:
        """No more environment steps are wanted beyond these."""
        return self.out_of_time or bool(self.insert_bound and env_steps >= self.insert_bound)

    def learning_is_over(self, updates: int) -> bool:
        return bool(self.stop.updates) and updates >= self.stop.updates

    def progress(self, env_steps: int, updates: int) -> float:
        """Share of the run that is over, from 0 to 1, by the bound that is nearest."""
        shares = [
            done / bound
            for done, bound in (
                (env_steps, self.stop.env_steps),
                (updates, self.stop.updates),
                (self.seconds, 60 * self.stop.minutes),
            )
            if bound
        ]
        return min(1.0, max(shares))
