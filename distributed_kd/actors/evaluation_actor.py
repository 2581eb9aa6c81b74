"""The evaluator as a Ray actor."""

import ray
import torch

from distributed_kd.actors.once import once
from distributed_kd.actors.pulsed import GROUPS, Pulsed
from distributed_kd.memory import keep_freed
from distributed_kd.processes import give_way
from distributed_kd.records import Evaluation, Weights
from distributed_kd.rollouts.evaluation import Evaluator


@ray.remote(concurrency_groups=GROUPS)
class EvaluationActor(Pulsed):
    """Holds the one `Evaluator` of a run, on one thread; heartbeats have another one, as in `RolloutActor`."""

    def __init__(self, **parts: object):
        keep_freed()
        torch.set_num_threads(1)
        self._parts = parts
        self._evaluator: Evaluator | None = None

    def prepare(self) -> None:
        """Make the environments."""
        if self._evaluator is None:
            give_way()  # to the learner: the final scores are asked for when it has nothing left to do
            self._evaluator = Evaluator(**self._parts)

    @once
    def evaluate(self, weights: Weights, final: bool) -> Evaluation:
        self.prepare()
        return self._evaluator.evaluate(weights, final)
