"""How far a run has come and what it has scored, as its metrics tell while it goes on in another process."""

import json
import time
from pathlib import Path

from distributed_kd.config import RunConfig
from distributed_kd.reports.shown import measured
from distributed_kd.training.bounds import Bounds


class Progress:
    """Reads what is new in a metrics.jsonl; a file that is not there yet, or a line that is not whole, is no error."""

    def __init__(self, config: RunConfig, metrics: Path):
        self._bounds, self._metrics = Bounds.of(config), metrics
        self._policies = config.policies
        self._read = 0
        self.env_steps = self.updates = 0
        self.teacher_return: float | None = None
        self.normalised: dict[str, float] = {}
        """newest scores of the students while training"""
        self.update()
        self._began, self._share_before = time.monotonic(), self.share

    def restart(self) -> None:
        """A process goes on with the run now: what is there already is not of its doing."""
        self._bounds = Bounds(self._bounds.stop, self._bounds.insert_bound)
        self.update()
        self._began, self._share_before = time.monotonic(), self.share

    def update(self) -> None:
        """Take in what was written since."""
        try:
            with self._metrics.open("rb") as file:
                file.seek(self._read)
                text = file.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue  # it is only shown here; whoever counts on it reads it again, and tells

    def _take(self, told: dict) -> None:
        self.env_steps, self.updates = int(told["env_steps"]), int(told["updates"])
        if scores := told.get("evaluation"):
            self.teacher_return = measured(scores["teacher"]["return_mean"])
            self.normalised = {
                name: measured(scores[name]["normalised_score"]) for name in self._policies[1:] if name in scores
            }

    @property
    def share(self) -> float:
        """Of the run that is over, from 0 to 1."""
        return self._bounds.progress(self.env_steps, self.updates)

    @property
    def done(self) -> float:
        """The share of the run that was done since `restart`."""
        return max(0.0, self.share - self._share_before)

    @property
    def seconds_left(self) -> float | None:
        """At the speed since `restart`; None before there is one."""
        return (1 - self.share) * (time.monotonic() - self._began) / self.done if self.done > 0.01 else None
