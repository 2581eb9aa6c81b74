from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import build, load_flat, parameter_count, to_flat
from distributed_kd.records import EnvSpec
from distributed_kd.training.offline import HeldOut


def learner_of(*names):
    """What HeldOut sees of a learner: the networks of its students."""
    spec = EnvSpec("Numbers", (2,), "float32", 2)
    return SimpleNamespace(students={name: SimpleNamespace(network=build(NetworkConfig(hidden=()), spec)) for name in names})


def set_to(learner, name, value):
    network = learner.students[name].network
    load_flat(network, np.full(parameter_count(network), value, np.float32))


def weights(learner, name):
    """The one number that all parameters of a student are."""
    flat = to_flat(learner.students[name].network)
    assert (flat == flat[0]).all()
    return flat[0]


def look(best, learner, looks):
    """One look after another; a student's weights are the number of the look, from 1, while it learns."""
    for number, losses in enumerate(looks, start=1):
        for name in losses:
            set_to(learner, name, number)
        best.look(learner, losses)


@pytest.mark.parametrize(
    ("losses", "patience", "done", "restored"),
    [
        ([5.0, 4.0, 3.0], 1, False, 3),
        ([5.0, 6.0], 1, True, 1),
        ([5.0, 5.0], 1, True, 1),  # as good is not better
        ([5.0, 6.0, 6.0], 3, False, 1),
        ([5.0, 6.0, 6.0, 5.0], 3, True, 1),
        # What is better makes it wait anew.
        ([5.0, 6.0, 6.0, 4.0, 6.0, 6.0], 3, False, 4),
        ([5.0, 6.0, 6.0, 4.0, 6.0, 6.0, 4.5], 3, True, 4),
        ([5.0, float("nan"), float("nan")], 2, True, 1),
        ([-1.0, -2.0, -1.5], 2, False, 2),
    ],
)
def test_patience_and_the_best_weights(losses, patience, done, restored):
    best, learner = HeldOut(("a",), patience), learner_of("a")
    look(best, learner, [{"a": loss} for loss in losses])
    assert best.learning == (frozenset() if done else {"a"})
    best.restore_best(learner)
    assert weights(learner, "a") == restored


def test_everyone_learns_before_the_first_look_and_nothing_is_restored():
    best, learner = HeldOut(("a", "b"), 1), learner_of("a", "b")
    assert best.learning == {"a", "b"}
    before = to_flat(learner.students["a"].network)
    best.restore_best(learner)
    np.testing.assert_array_equal(to_flat(learner.students["a"].network), before)


def test_one_that_is_done_stays_as_it_was_while_the_other_goes_on():
    best, learner = HeldOut(("a", "b"), 2), learner_of("a", "b")
    looks = [{"a": 1.0, "b": 9.0}, {"a": 2.0, "b": 8.0}, {"a": 2.0, "b": 7.0}]
    look(best, learner, looks)
    assert best.learning == {"b"}
    # It is no longer looked at; its weights are the last that it had, and nobody's but its own best are given back.
    for number, loss in ((4, 6.0), (5, 6.5)):
        set_to(learner, "b", number)
        best.look(learner, {"b": loss})
    assert best.learning == {"b"}
    assert weights(learner, "a") == 3
    best.restore_best(learner)
    assert (weights(learner, "a"), weights(learner, "b")) == (1, 4)


def test_the_best_weights_are_a_copy():
    best, learner = HeldOut(("a",), 3), learner_of("a")
    look(best, learner, [{"a": 1.0}])
    set_to(learner, "a", 7)
    best.restore_best(learner)
    assert weights(learner, "a") == 1
    set_to(learner, "a", 8)
    best.restore_best(learner)
    assert weights(learner, "a") == 1


LOSSES = st.lists(st.sampled_from([1.0, 2.0, 3.0, float("nan")]), max_size=8)


@settings(deadline=None, max_examples=40)
@given(before=LOSSES, after=LOSSES, patience=st.integers(1, 3))
def test_restored_it_goes_on_as_it_would_have(before, after, patience):
    first, second, learner = HeldOut(("a", "b"), patience), HeldOut(("a", "b"), patience), learner_of("a", "b")
    look(first, learner, [{"a": loss, "b": -loss} for loss in before])
    state = first.state()
    assert all(np.isfinite(loss) for loss in state["best"].values()), "infinity has no place in a checkpoint"
    second.restore(state)
    for best in (first, second):
        look(best, learner, [{"a": loss} for loss in after])
        best.restore_best(learner)
        set_to(learner, "b", 0)
    assert second.learning == first.learning
    np.testing.assert_equal(second.state(), first.state())
