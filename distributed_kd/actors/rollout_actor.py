"""A rollout as a Ray actor."""

import ray
import torch

from distributed_kd.records import EpisodeStats, Segment, Weights
from distributed_kd.rollouts.rollout import Rollout


@ray.remote
class RolloutActor:
    """Holds one `Rollout`; its segment and the small account of it travel as two results."""

    def __init__(self, **parts: object):
        torch.set_num_threads(1)
        self._rollout = Rollout(**parts)

    @ray.method(num_returns=2)
    def collect(self, weights: Weights, progress: float) -> tuple[Segment, EpisodeStats]:
        return self._rollout.collect(weights, progress)
