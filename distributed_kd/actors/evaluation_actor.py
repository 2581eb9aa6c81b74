"""The evaluator as a Ray actor."""

import ray
import torch

from distributed_kd.memory import keep_freed
from distributed_kd.records import Evaluation, Weights
from distributed_kd.rollouts.evaluation import Evaluator


@ray.remote
class EvaluationActor:
    """Holds the one `Evaluator` of a run, on one thread."""

    def __init__(self, **parts: object):
        keep_freed()
        torch.set_num_threads(1)
        self._evaluator = Evaluator(**parts)

    def evaluate(self, weights: Weights, final: bool) -> Evaluation:
        return self._evaluator.evaluate(weights, final)
