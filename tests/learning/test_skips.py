"""learning.adam and learning.skips: an update that is not finite is left out, counted, and touches no other network."""

import math

import numpy as np
import pytest
import torch
from learning_samples import FIVE_STUDENTS, as_stored, batches, learner_of, to_bytes, trained
from tape import Tape, as_on_a_gpu, without_waiting

from distributed_kd.errors import DivergedError
from distributed_kd.learning.adam import Adam
from distributed_kd.learning.skips import Skips, read
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import StudentConfig

FAR = 12
"""Good batches before the bad one: where updates are recorded, that one is repeated from a recording"""
STILL = TeacherConfig(source="elsewhere.zip")
FAR_TARGET = TeacherConfig(target_update=1_000)
OWN_REWARDS = StudentConfig(loss="kl_q", td_weight=1.0, target_update=1_000)
WAYS = [{"together": "loop"}, {"together": "together"}]
WAYS += [{**way, "recorder": Tape} for way in WAYS]
NAMES = ["loop", "together", "loop recorded", "together recorded"]


@pytest.fixture(autouse=True)
def _recorded_as_on_a_gpu(request, monkeypatch):
    if "recorded" in request.node.name:
        as_on_a_gpu(monkeypatch)


def made(way, students, teacher=FAR_TARGET, **more):
    recorder = {"recorder": way["recorder"]()} if "recorder" in way else {}
    return learner_of(students, teacher, **{**way, **recorder}, **more)


def poisoned(column, value=math.nan):
    """Good batches, a bad one, good ones; and the same without the bad one."""
    good = batches(FAR + 6)
    (bad,) = batches(1, seed=77)
    getattr(bad, column)[2] = value
    return [*good[:FAR], bad, *good[FAR:]], good


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_batch_that_no_network_can_learn_from_leaves_all_of_them_as_they_were(way, value):
    """Behind it they are, to the bit, as if it had never been: weights, moments, steps, the temperature of the teacher."""
    with_it, without = poisoned("observation", value)
    seen, never = trained(made(way, FIVE_STUDENTS), with_it), trained(made(way, FIVE_STUDENTS), without)
    assert to_bytes(seen) == to_bytes(never)
    told, expected = as_stored(seen.state()), as_stored(never.state())
    for state in (told, expected):
        state["teacher"].pop("updates")
        for student in state["students"].values():
            student.pop("updates")
    np.testing.assert_equal(told, expected)
    losses = seen.losses()
    assert seen.skipped == dict.fromkeys(["teacher", *FIVE_STUDENTS], 1)
    assert all(math.isfinite(value) for values in losses.values() for value in values.values())
    assert seen.diverged is None


@pytest.mark.parametrize("way", WAYS, ids=NAMES)
def test_neighbours_of_a_student_that_skips_learn_as_ever(way):
    """A reward that is none reaches the one student that learns from rewards."""
    students = {"kl": FIVE_STUDENTS["kl"], "mse": FIVE_STUDENTS["mse"], "own": OWN_REWARDS, "auto": FIVE_STUDENTS["auto"]}
    with_it, without = poisoned("n_step_return")
    seen, never = trained(made(way, students, STILL), with_it), trained(made(way, students, STILL), without)
    with_it[FAR].n_step_return[2] = 0.0
    healthy = trained(made(way, students, STILL), with_it)
    assert to_bytes(seen)["own"] == to_bytes(never)["own"] != to_bytes(healthy)["own"]
    for name in ("kl", "mse", "auto"):
        assert to_bytes(seen)[name] == to_bytes(healthy)[name] != to_bytes(never)[name]
        assert float(seen.students[name].trained.moments()["step"]) == FAR + 7
    assert float(seen.students["own"].trained.moments()["step"]) == FAR + 6
    seen.losses()
    assert seen.skipped == {"own": 1}


def test_the_teacher_skips_what_its_students_can_learn_from():
    with_it, without = poisoned("n_step_return")
    seen, never = trained(learner_of(["kl"], FAR_TARGET), with_it), trained(learner_of(["kl"], FAR_TARGET), without)
    assert to_bytes(seen)["teacher"] == to_bytes(never)["teacher"]
    assert to_bytes(seen)["kl"] != to_bytes(never)["kl"]
    seen.losses()
    assert seen.skipped == {"teacher": 1}


def test_a_loss_that_overflows_is_skipped_though_its_clipped_gradient_is_finite():
    """Huber's error of 3e38 has a gradient of 1, but two of them have no finite sum."""
    (bad,) = batches(1)
    bad.n_step_return[:] = 3e38
    learner = learner_of((), FAR_TARGET)
    before = to_bytes(learner)
    trained(learner, [bad])
    learner.losses()
    assert learner.skipped == {"teacher": 1}
    assert to_bytes(learner) == before


def test_on_a_gpu_nothing_waits_to_know_what_is_skipped():
    flat, gradient = torch.zeros(2, 3), torch.ones(2, 3)
    adam = Adam(flat, gradient, [3, 2])
    finite = torch.tensor([True, False])
    without_waiting(lambda: adam.step([0.5, 0.5], finite))
    # Adam's first step is the rate, whatever the gradient.
    torch.testing.assert_close(flat, torch.tensor([[-0.5] * 3, [0.0] * 3]))
    assert [float(adam.moments(row)["step"]) for row in range(2)] == [1.0, 0.0]
    assert [float(adam.skipped(row)) for row in range(2)] == [0.0, 1.0]
    assert not adam.moments(1)["exp_avg"].any()


# ---- in a row


def test_too_many_in_a_row_are_told_with_the_batch_that_the_last_was_to_learn_from():
    learner = learner_of({"calm": StudentConfig(), "wild": StudentConfig(loss="mse", learning_rate=1e30)}, skips=3)
    data = batches(16)
    trained(learner, data[:3])
    # Its second update is of outputs beyond all numbers, and so is every one behind it.
    learner.losses()
    assert learner.skipped == {"wild": 2}
    trained(learner, data[3:6])
    learner.losses()
    assert learner.skipped == {}, "no update was measured since: it is told with the next that is"
    assert learner.diverged is None
    trained(learner, data[6:])
    learner.losses()
    found = learner.diverged
    assert learner.skipped == {"wild": 13}
    assert (found.network, found.update, found.skipped) == ("wild", 16, 13)
    assert not math.isfinite(found.loss)
    np.testing.assert_array_equal(found.batch["observation"], data[-1].observation)
    np.testing.assert_array_equal(found.batch["row"], data[-1].row)
    assert all(np.isfinite(flat).all() for flat in learner.weights().flat.values())


def test_weights_that_are_not_finite_are_in_no_checkpoint():
    learner = learner_of(["kl"])
    with torch.no_grad():
        learner.students["kl"].network.advantage.bias[0] = math.inf
    with pytest.raises(DivergedError, match=r"kl\.weights=nan.*Lower the learning rate of kl"):
        learner.state()


@pytest.mark.parametrize(
    ("looks", "row"),
    [
        ([(4, 4)], 4),
        ([(2, 2), (4, 4)], 4),
        ([(4, 1), (8, 5)], 4),
        # Where in the first look the skipped ones lie is not known, so only the second counts.
        ([(4, 3), (6, 5)], None),
        ([(4, 4), (4, 4)], 4),
        ([(3, 3), (6, 3), (9, 6)], None),
    ],
)
def test_what_counts_as_a_row(looks, row):
    skips, found = Skips(allowed=4), {}
    for look in looks:
        found = skips.look({"a": look, "b": (look[0], 0)})
    assert found == ({} if row is None else {"a": row})


def test_from_a_checkpoint_on_it_counts_anew():
    skips = Skips(allowed=4)
    skips.look({"a": (3, 3)})
    skips.begin({"a": 100})
    assert skips.look({"a": (102, 2)}) == {}
    assert skips.new == {"a": 2}


def test_means_are_of_what_is_finite():
    logged = {
        ("a", "loss"): [torch.tensor(1.0), torch.tensor(math.nan), torch.tensor(3.0)],
        ("b", "loss"): [torch.tensor(-math.inf)],
    }
    found = read(logged, {"a": torch.tensor(7.0)})
    assert found.means == {"a": {"loss": 2.0}}
    assert found.losses == {"a": 3.0, "b": -math.inf}
    assert found.skipped == {"a": 7}
