"""Mistakes seen in published code that learning can make; each one a test that goes red when somebody makes it here."""

import dataclasses

import numpy as np
import pytest
import torch
from learning_samples import (
    FIVE_STUDENTS,
    as_stored,
    batches,
    learn,
    learner_of,
    network,
    steps,
    student_of,
    to_bytes,
    trained,
)

from distributed_kd.learning.teacher import Teacher
from distributed_kd.maths.distillation import LOSSES
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import StudentConfig


@pytest.mark.parametrize("loss", LOSSES)
def test_mistake_3_a_loss_with_no_path_to_the_students_parameters(loss):
    learner = learner_of({"tiny": StudentConfig(loss=loss, temperature=1.0)})
    before = {name: value.clone() for name, value in learner.students["tiny"].network.named_parameters()}
    trained(learner, batches(1))
    for name, value in learner.students["tiny"].network.named_parameters():
        assert not torch.equal(value, before[name]), name


def test_mistake_8_a_teacher_that_was_never_trained():
    learner = learner_of(["kl"], TeacherConfig(learning_rate=0.01, target_update=10))
    (batch,) = batches(1)
    # Ends of episodes only: Q of the action taken is drawn to the return itself.
    batch = dataclasses.replace(batch, discount=np.zeros_like(batch.discount))

    def error():
        q = learner.teacher.lesson(torch.tensor(batch.observation)).q.numpy()
        return np.abs(q[np.arange(16), batch.action] - batch.n_step_return).mean()

    before = error()
    trained(learner, [batch] * 400)
    assert error() < 0.1 * before
    assert learner.updates == learner.teacher.updates == 400


@pytest.mark.parametrize("loss", LOSSES)
def test_mistake_8_a_teacher_whose_gradient_is_not_cut(loss):
    teacher = Teacher(network(8), TeacherConfig())
    observation = steps(batches(1)[0]).observation
    assert not teacher.lesson(observation).q.requires_grad
    # Even from Q-values that carry a gradient, as a less careful teacher would give them, none comes back.
    careless = network(8, seed=3)
    student = student_of(network(8, seed=4), StudentConfig(loss=loss, temperature=1.0))
    learn(student, observation, careless(observation), torch.tensor(1.0), 0.0, measure=True)
    assert all(parameter.grad is None for parameter in careless.parameters())


@pytest.mark.parametrize("name", FIVE_STUDENTS)
def test_mistake_10_a_temporal_difference_term_on_a_head_of_logits(name):
    """With a teacher that stands still, a student learns the same whatever was done, earned and seen next."""
    still = TeacherConfig(learning_rate=1e-30)
    data = batches(20)
    other = [
        dataclasses.replace(batch, **{column: getattr(strange, column) for column in
                                      ("action", "n_step_return", "discount", "next_observation")})
        for batch, strange in zip(data, batches(20, seed=9, scale=100.0), strict=True)
    ]  # fmt: skip
    first, second = trained(learner_of([name], still), data), trained(learner_of([name], still), other)
    assert to_bytes(first)["teacher"] == to_bytes(second)["teacher"]
    assert to_bytes(first)[name] == to_bytes(second)[name]
    assert to_bytes(first)[name] != to_bytes(learner_of([name]))[name]


def test_mistake_12_one_gradient_clip_or_optimizer_over_all_networks():
    """A neighbour whose gradients are huge, or no numbers at all, leaves teacher and student as they are without it."""
    loud = StudentConfig(loss="mse", learning_rate=1e20, max_grad_norm=1e-9)
    calm = {"kl": FIVE_STUDENTS["kl"]}
    beside = trained(learner_of({"loud": loud, **calm}), batches(20))
    without = trained(learner_of(calm), batches(20))
    beside.losses()
    assert beside.skipped["loud"] > 10 and set(beside.skipped) == {"loud"}
    for name in ("teacher", "kl"):
        assert to_bytes(beside)[name] == to_bytes(without)[name]


def test_mistake_12_one_networks_clip_for_another():
    """Each clip holds for its own network: the learner's updates are those of teachers and students on their own."""
    clips = {"teacher": 0.01, "tight": 0.02, "wide": 1e6}
    students = {name: StudentConfig(loss="mse", max_grad_norm=clips[name]) for name in ("tight", "wide")}
    learner = learner_of(students, TeacherConfig(max_grad_norm=clips["teacher"]))
    trained(learner, batches(1, scale=5.0))
    norms = {name: values["grad_norm"] for name, values in learner.losses().items()}
    for name, clip in clips.items():
        network_of_name = learner.teacher.network if name == "teacher" else learner.students[name].network
        left = sum(parameter.grad.square().sum() for parameter in network_of_name.parameters()).sqrt().item()
        assert left == pytest.approx(min(norms[name], clip), rel=1e-3)
    assert norms["teacher"] > 0.02
    assert norms["tight"] > 0.04


def test_mistake_13_bootstrapping_zero_where_the_discount_is_not():
    """A truncated episode comes as a discount above 0: the value of its true final observation counts."""
    (batch,) = batches(1)
    losses = []
    for discount in (0.0, 0.9):
        teacher = Teacher(network(8), TeacherConfig())
        same = dataclasses.replace(batch, discount=np.full(16, discount, np.float32))
        q = teacher.lesson(torch.tensor(batch.observation)).q.numpy()[np.arange(16), batch.action]
        following = teacher.lesson(torch.tensor(batch.next_observation)).q.numpy().max(1)
        error = np.abs(batch.n_step_return + discount * following - q)
        losses.append(np.where(error <= 1, 0.5 * error**2, error - 0.5).mean())
        assert teacher.update(steps(same), 0.0).logged["loss"].item() == pytest.approx(losses[-1], rel=1e-4)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_mistake_14_the_discount_of_one_step_for_that_of_n():
    """The batch's own discount is used, whatever gamma is: .729 stands for three steps."""
    (batch,) = batches(1)
    results = [Teacher(network(8), TeacherConfig(gamma=gamma)).update(steps(batch), 0.0).logged for gamma in (0.9, 0.1)]
    assert results[0]["loss"] == results[1]["loss"]
    once = dataclasses.replace(batch, discount=np.where(batch.discount > 0, 0.9, 0.0).astype(np.float32))
    assert Teacher(network(8), TeacherConfig()).update(steps(once), 0.0).logged["loss"] != results[0]["loss"]


def test_mistake_21_networks_that_share_memory():
    learner = trained(learner_of(FIVE_STUDENTS), batches(4))
    kept = as_stored(learner.state())
    for name, student in learner.students.items():
        before = to_bytes(learner)
        with torch.no_grad():
            for parameter in student.network.parameters():
                parameter.zero_()
        after = to_bytes(learner)
        assert [other for other in after if after[other] != before[other]] == [name]
    np.testing.assert_equal(as_stored(learner.teacher.state()), kept["teacher"])
    with torch.no_grad():
        for parameter in learner.teacher.network.parameters():
            parameter.zero_()
    np.testing.assert_equal(as_stored(learner.teacher.state())["target"], kept["teacher"]["target"])


def test_mistake_21_a_state_whose_learners_go_on_in_the_same_tensors():
    source = trained(learner_of(FIVE_STUDENTS), batches(4))
    state = source.state()
    kept = as_stored(state)
    first, second = learner_of(FIVE_STUDENTS), learner_of(FIVE_STUDENTS)
    first.restore(state)
    second.restore(state)
    trained(first, batches(6, seed=2))
    trained(source, batches(2, seed=3))
    np.testing.assert_equal(as_stored(state), kept)
    np.testing.assert_equal(as_stored(second.state()), kept)
