"""training.on_ray, without Ray: what the loop does where an actor is lost."""

from types import SimpleNamespace

import pytest

from distributed_kd.training.cluster import ActorLost
from distributed_kd.training.on_ray import _Loop


class Loop(_Loop):
    """The order of its parts alone; `lost` names those that lose an actor when they are first come to."""

    def __init__(self, lost):
        self.order, self._lost = [], {lost}
        self._cluster = SimpleNamespace(start_core=lambda: None)
        self._crew = SimpleNamespace(watch=lambda core: None)
        self._members = SimpleNamespace(grow=lambda: None)
        self._run = SimpleNamespace(stop=False)
        self._fault = None

    def _come_to(self, part):
        self.order.append(part)
        if part in self._lost:
            self._lost.remove(part)
            raise ActorLost("the learner", "died")
        return part

    def _begin(self):
        self._come_to("begin")

    def _train(self):
        self._come_to("train")

    def _evaluate_finally(self):
        return self._come_to("evaluate")

    def _roll_back(self, lost):
        self.order.append("roll back")


@pytest.mark.parametrize("part", ["begin", "train", "evaluate"])
def test_wherever_the_learner_is_lost_the_run_goes_back_and_on(part):
    loop = Loop(lost=part)
    assert loop.run() == "evaluate"
    whole = ["begin", "train", "evaluate"]
    assert loop.order == [*whole[: whole.index(part) + 1], "roll back", *whole]
