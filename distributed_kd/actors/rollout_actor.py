"""A rollout as a Ray actor."""

import ray
import torch

from distributed_kd.actors.once import once
from distributed_kd.actors.pulsed import GROUPS, Pulsed
from distributed_kd.memory import keep_freed
from distributed_kd.processes import give_way
from distributed_kd.records import EpisodeStats, Segment, Weights
from distributed_kd.rollouts.rollout import Rollout


@ray.remote(concurrency_groups=GROUPS)
class RolloutActor(Pulsed):
    """Holds one `Rollout`; its segment and the small account of it travel as two results.

    It is built by a call, not by the constructor: an environment that fails there would reach the loop as an actor that
    died, and one that hangs would have no heartbeat. Heartbeats have a thread of their own.
    """

    def __init__(self, **parts: object):
        keep_freed()
        torch.set_num_threads(1)
        self._parts = parts
        self._rollout: Rollout | None = None

    def prepare(self) -> None:
        """Make the environments. Raises EnvironmentFault where one cannot be played."""
        if self._rollout is None:
            give_way()  # to the learner, where there are not cores for all: it is what a run waits for
            self._rollout = Rollout(**self._parts)

    @once
    @ray.method(num_returns=2)
    def collect(self, weights: Weights, progress: float) -> tuple[Segment, EpisodeStats]:
        self.prepare()
        return self._rollout.collect(weights, progress)

    def renew(self, incarnation: int) -> None:
        """Go on under another name, so that nothing collected before is taken for what comes."""
        if self._parts["incarnation"] == incarnation:
            return
        self._parts = {**self._parts, "incarnation": incarnation}
        if self._rollout is not None:
            self._rollout.renew(incarnation)
