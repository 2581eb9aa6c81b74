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


def test_weights_of_fewer_updates_than_were_told_already_are_not_played():
    """Where a call is lost on the way, Ray has the next one done first."""
    receipt, told = SimpleNamespace(inserted=0), SimpleNamespace(updates=0, counted=lambda receipt: None)
    loop = object.__new__(_Loop)
    loop._training, loop._weights, loop._journal = 2, None, told
    loop._crew = SimpleNamespace(at_work=lambda *lives: None, lives=lambda *kinds: [])
    loop._tally = SimpleNamespace(take_all=lambda receipt: None)
    loop._run = SimpleNamespace(
        learned=lambda report: setattr(loop._journal, "updates", max(loop._journal.updates, report.updates))
    )
    for weights, updates in (("of 20", 20), ("of 10", 10)):
        loop._on_trained(weights, SimpleNamespace(updates=updates, receipt=receipt, starved=False))
    assert (loop._weights, loop._training) == ("of 20", 0)
    loop._on_trained("of 30", SimpleNamespace(updates=30, receipt=receipt, starved=False))
    assert loop._weights == "of 30"
