"""A rollout as a Ray actor."""

import ray
import torch

from distributed_kd.errors import EnvironmentFault
from distributed_kd.memory import keep_freed
from distributed_kd.records import EpisodeStats, Segment, Weights
from distributed_kd.rollouts.rollout import Rollout


@ray.remote
class RolloutActor:
    """Holds one `Rollout`; its segment and the small account of it travel as two results."""

    def __init__(self, **parts: object):
        keep_freed()
        torch.set_num_threads(1)
        self._fault: EnvironmentFault | None = None
        try:
            self._rollout = Rollout(**parts)
        except EnvironmentFault as fault:  # raised here, it would reach the loop as an actor that died
            self._fault = fault

    @ray.method(num_returns=2)
    def collect(self, weights: Weights, progress: float) -> tuple[Segment, EpisodeStats]:
        if self._fault is not None:
            raise self._fault
        return self._rollout.collect(weights, progress)
