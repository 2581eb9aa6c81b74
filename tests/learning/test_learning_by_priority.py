"""Batches whose steps were drawn by priority: what takes the bias out of teacher and students, and what goes back."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch
from learning_samples import CPU, as_stored, at_zero, batches, by_priority, learner_of, steps, to_bytes, trained

from distributed_kd.learning.teacher import Importance, Teacher
from distributed_kd.learning.temperature import AutoTemperature
from distributed_kd.maths.priorities import SMALLEST_PRIORITY
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import Batch
from distributed_kd.student_config import BETWEEN_STATES, LossName, StudentConfig

IMPORTANCE = Importance(0.5, 1.0)
STILL = TeacherConfig(learning_rate=1e-30)


def batch_of(first, action, earned, oversampling, row=None):
    """Last steps of episodes, where the first of four numbers is seen: what is earned is the value itself."""
    count = len(first)
    observation = np.zeros((count, 4), np.float32)
    observation[:, 0] = first
    ones = np.ones(count, np.float32)
    return Batch(
        observation=observation,
        action=np.array(action),
        n_step_return=np.array(earned, np.float32),
        discount=0 * ones,
        next_observation=observation,
        probability=ones,
        row=np.arange(count) if row is None else np.array(row),
        oversampling=np.array(oversampling, np.float32),
    )


# From Q-values of 0 the errors are .4 and .2, and half of their squares .08 and .02. The first was drawn with four times the
# chance that it had uniformly.
TWO = batch_of([0.0, 0.0], [0, 1], [0.4, 0.2], [4.0, 1.0])


@pytest.mark.parametrize(
    ("importance", "progress", "loss", "norm"),
    [
        (None, 0.0, 0.05, 0.223607),  # gradients -.4 / 2 and -.2 / 2
        (IMPORTANCE, 0.0, 0.03, 0.141421),  # 4^-.5 = .5: (.5 * .08 + .02) / 2; gradients -.1 and -.1
        (IMPORTANCE, 0.5, 0.0241421, 0.122474),  # 4^-.75 = .353553; gradients -.0707107 and -.1
        (IMPORTANCE, 1.0, 0.02, 0.111803),  # 4^-1 = .25; gradients -.05 and -.1
    ],
)
def test_importance_weights_reach_the_teacher_with_the_exponent_of_the_progress(importance, progress, loss, norm):
    teacher = Teacher(at_zero(), TeacherConfig(), importance)
    logged = teacher.update(steps(TWO), progress).logged
    assert logged["loss"].item() == pytest.approx(loss, rel=1e-5)
    assert logged["grad_norm"].item() == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("teacher", [TeacherConfig(distribution="c51"), TeacherConfig(distribution="quantile")])
def test_they_reach_a_teacher_of_distributions_too(teacher):
    def loss(importance, oversampling):
        learner = learner_of((), teacher, importance=importance)
        learner.update(dataclasses.replace(TWO, oversampling=np.array(oversampling, np.float32)), 1.0)
        return learner.losses()["teacher"]["loss"]

    one, other = (loss(IMPORTANCE, oversampling) for oversampling in ([4.0, 1.0], [1.0, 4.0]))
    # Weights of 1/4 and 1, and the other way round: both together are 5/4 of the loss of all alike.
    assert one + other == pytest.approx(1.25 * loss(None, [4.0, 1.0]), rel=1e-4)
    assert one != pytest.approx(other, rel=1e-3)


def test_priorities_are_the_sizes_of_the_errors_in_the_order_of_learning():
    # A teacher that stands still at 0 outputs: errors are what is earned.
    learner = learner_of((), STILL, hidden=(), importance=IMPORTANCE)
    with torch.no_grad():
        for parameter in learner.teacher.network.parameters():
            parameter.zero_()
    assert learner.priorities() is None
    trained(learner, [batch_of([0, 0], [0, 1], [0.5, -3.0], [4, 1], row=[9, 2])])
    trained(learner, [batch_of([0, 0], [2, 2], [-0.25, 0.0], [1, 1], row=[9, 7])])
    found = learner.priorities()
    assert found.row.tolist() == [9, 2, 9, 7]
    np.testing.assert_allclose(found.priority, np.array([0.5, 3.0, 0.25, 0.0]) + SMALLEST_PRIORITY, rtol=1e-6)
    assert (found.row.dtype, found.priority.dtype) == (np.int64, np.float32)
    assert learner.priorities() is None, "each is told once"


@pytest.mark.parametrize("more", [{}, {"importance": IMPORTANCE}])
def test_there_are_none_where_nobody_draws_by_them_or_nobody_learns(more):
    teacher = TeacherConfig(source="elsewhere.zip") if more else TeacherConfig()
    assert trained(learner_of(["kl"], teacher, **more), batches(2)).priorities() is None


def test_priorities_that_nobody_asked_for_are_part_of_the_state():
    data = by_priority(batches(6))
    first, second = (learner_of(["kl"], importance=IMPORTANCE) for _ in range(2))
    trained(first, data[:3])
    trained(second, by_priority(batches(2, seed=9)))
    state = as_stored(first.state())
    second.restore(state)
    for learner in (first, second):
        trained(learner, data[3:])
    one, other = first.priorities(), second.priorities()
    assert one.row.tolist() == other.row.tolist() == [row for batch in data for row in batch.row]
    assert one.priority.tobytes() == other.priority.tobytes()
    assert to_bytes(first) == to_bytes(second)
    np.testing.assert_equal(as_stored(second.state()), as_stored(first.state()))


def test_a_priority_that_is_not_finite_is_told_to_nobody():
    learner = learner_of((), importance=IMPORTANCE)
    bad, good = batches(2)
    bad.n_step_return[3] = np.nan
    trained(learner, [bad])
    rows = [*range(3), *range(4, 16)]
    stored = as_stored(learner.state())["errors"]
    assert stored["row"].tolist() == rows and np.isfinite(stored["priority"]).all()
    assert learner.priorities().row.tolist() == rows
    bad.n_step_return[:] = np.inf
    assert trained(learner, [bad]).priorities() is None
    assert trained(learner, [good]).priorities().row.tolist() == good.row.tolist()


# ---- students


def taught(batch, student):
    """The losses of a student at 0 that learns from a teacher whose first action is worth the first number seen."""
    learner = learner_of({"tiny": student}, STILL, hidden=(), importance=IMPORTANCE)
    with torch.no_grad():
        for net in (learner.teacher.network, learner.students["tiny"].network):
            for parameter in net.parameters():
                parameter.zero_()
        learner.teacher.network.advantage.weight[0, 0] = 1.0
    learner.update(batch, 1.0)
    return learner.losses()["tiny"]


# Q-values of (1, 0, 0) and (2, 0, 0): squared errors of 1 and 4. Four times as likely as uniformly, and once: weights of
# 1/4 and 1, which with a mean of 1 are .4 and 1.6.
SEEN = batch_of([1.0, 2.0], [0, 1], [0.4, 0.2], [4.0, 1.0])


def test_students_get_weights_of_mean_one_worked_by_hand():
    assert taught(SEEN, StudentConfig(loss="mse"))["loss"] == pytest.approx((0.4 * 1 + 1.6 * 4) / 2)


def test_their_own_rewards_are_weighed_alike():
    # Half of the squares of .4 and .2, as the teacher's above.
    assert taught(SEEN, StudentConfig(loss="mse", td_weight=1.0))["td_loss"] == pytest.approx(
        (0.4 * 0.08 + 1.6 * 0.02) / 2, rel=1e-5
    )


def test_where_there_are_batches_for_students_they_learn_from_those_and_unweighted():
    apart = dataclasses.replace(SEEN, students=batch_of([3.0, 1.0], [0, 0], [1.0, 1.0], [1.0, 1.0]))
    told = taught(apart, StudentConfig(loss="mse", td_weight=1.0))
    assert told["td_loss"] == pytest.approx(0.5)
    assert told["loss"] == pytest.approx((9 + 1) / 2 + 0.5)


def test_an_importance_of_states_and_the_weights_have_a_mean_of_one_together():
    # Action gaps of 1 and 2, so that .4 * 1 and 1.6 * 2 are in the ratio 1 : 8, or 2/9 and 16/9.
    told = taught(SEEN, StudentConfig(loss="mse", importance="action_gap"))
    assert told["loss"] == pytest.approx((2 / 9 * 1 + 16 / 9 * 4) / 2, rel=1e-5)


def test_temperature_auto_follows_the_gaps_as_of_uniform_draws():
    temperature = AutoTemperature(CPU)
    q = torch.tensor([[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    # A third of the mean gap: (.4 * 1 + 1.6 * 2) / 2 = 1.8.
    assert temperature.follow(q, torch.tensor([0.4, 1.6])).item() == pytest.approx(0.6)
    assert taught(SEEN, StudentConfig(temperature="auto"))["temperature"] == pytest.approx(0.6)


# Four states that are drawn with 1/8, 1/8, 2/8 and 4/8 instead of a quarter each: exactly so in a batch of eight.
DRAWN = np.array([0, 1, 2, 2, 3, 3, 3, 3])
OVERSAMPLING = np.array([0.5, 0.5, 1.0, 1.0, 2.0, 2.0, 2.0, 2.0], np.float32)
EVERY_LOSS = [name for name in get_args(LossName) if name not in (*BETWEEN_STATES, "attention", "policy_gradient")]
CORRECTED = {name: StudentConfig(loss=name, temperature=1.0, max_grad_norm=1e9) for name in EVERY_LOSS}
CORRECTED |= {
    "own rewards": StudentConfig(loss="mse", td_weight=1.0, max_grad_norm=1e9),
    "entropy": StudentConfig(temperature=1.0, importance="entropy", max_grad_norm=1e9),
    "action gap": StudentConfig(temperature=1.0, importance="action_gap", max_grad_norm=1e9),
    "auto": StudentConfig(temperature="auto", smoothing=0.1, max_grad_norm=1e9),
}


@pytest.mark.parametrize("name", CORRECTED)
def test_mistake_17_prioritised_batches_fed_to_students_without_importance_weights(name):
    """In expectation a student learns from steps drawn by priority what it learns from uniform ones."""
    (four,) = batches(1, size=4, scale=3.0)
    eight = Batch(*(column[DRAWN] for column in four.columns))

    def gradient(batch, importance):
        learner = learner_of({"tiny": CORRECTED[name]}, STILL, importance=importance)
        trained(learner, [batch])
        return torch.cat([parameter.grad.reshape(-1) for parameter in learner.students["tiny"].network.parameters()])

    uniform = gradient(four, None)
    assert uniform.norm() > 1e-3
    corrected = gradient(dataclasses.replace(eight, oversampling=OVERSAMPLING), IMPORTANCE)
    torch.testing.assert_close(corrected, uniform, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(gradient(eight, None), uniform, rtol=1e-2), "or this test would see nothing"


def test_students_given_batches_apart_do_not_change_the_teacher():
    one, other = by_priority(batches(8)), by_priority(batches(8), apart=True)
    first, second = (trained(learner_of(["kl"], importance=IMPORTANCE), data) for data in (one, other))
    assert to_bytes(first)["teacher"] == to_bytes(second)["teacher"]
    assert to_bytes(first)["kl"] != to_bytes(second)["kl"]


def test_a_student_apart_is_the_one_of_uniform_batches_where_the_teacher_stands_still():
    data = by_priority(batches(6), apart=True)
    apart = trained(learner_of(["kl"], STILL, importance=IMPORTANCE), data)
    uniform = trained(learner_of(["kl"], STILL), [batch.students for batch in data])
    assert to_bytes(apart)["kl"] == to_bytes(uniform)["kl"]
