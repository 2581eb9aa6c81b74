import copy
import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch
from learning_samples import (
    as_stored,
    bare_dqn,
    batches,
    learner_of,
    network,
    scores,
    steps,
    to_bytes,
    trained,
    with_own_steps,
)

from distributed_kd.learning.teacher import FrozenTeacher, Learned, Teacher
from distributed_kd.networks import to_flat
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import LossName, StudentConfig

OBSERVATION = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
FROZEN = TeacherConfig(source="elsewhere.zip")
EVERY_LOSS = {
    name: StudentConfig(loss=name, temperature=1.0)
    for name in get_args(LossName)
    if name != "attention"  # there are no convolutions here
}


def average_of(flats, rate):
    """An average of weights that begins with the first and lets in a share of each later one."""
    average = flats[0].astype(np.float64)
    for flat in flats[1:]:
        average = (1 - rate) * average + rate * flat
    return average


def network_with(flat, hidden=8):
    net = network(hidden)
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(torch.tensor(flat, dtype=torch.float32), net.parameters())
    return net


def test_a_frozen_teacher_is_the_same_after_students_of_every_loss_learned_from_it():
    learner = learner_of(EVERY_LOSS, FROZEN)
    assert isinstance(learner.teacher, FrozenTeacher)
    before, said = to_bytes(learner), learner.teacher.lesson(OBSERVATION)
    trained(learner, with_own_steps(batches(10), ["policy_gradient"]))
    learner.heed(scores(teacher=5.0, **dict.fromkeys(EVERY_LOSS, 9.0)))
    after, losses = to_bytes(learner), learner.losses()
    assert after["teacher"] == before["teacher"]
    assert [name for name in EVERY_LOSS if after[name] == before[name]] == []
    assert torch.equal(learner.teacher.lesson(OBSERVATION).q, said.q)
    assert not any(parameter.requires_grad for parameter in learner.teacher.network.parameters())
    assert learner.updates == learner.teacher.updates == 10
    assert "teacher" not in losses


def test_a_frozen_teacher_says_what_its_network_does_and_takes_its_count_along():
    net = network(8, 6)
    teacher, other = FrozenTeacher(net), FrozenTeacher(network(8, 6, seed=1))
    lesson = teacher.lesson(OBSERVATION)
    assert torch.equal(lesson.q, net(OBSERVATION))
    assert [layer.shape for layer in lesson.layers] == [(8, 8), (8, 6)]
    for _ in range(3):
        teacher.begin()
        assert teacher.learn(steps(batches(1)[0]), 0.5) == Learned({}, None)
    other.restore(as_stored(teacher.state()))
    assert other.updates == 3
    assert torch.equal(other.lesson(OBSERVATION).q, lesson.q)


def test_students_of_a_frozen_teacher_go_on_to_the_byte():
    first, second = learner_of(EVERY_LOSS, FROZEN), learner_of(EVERY_LOSS, FROZEN)
    data = with_own_steps(batches(8), ["policy_gradient"])
    trained(first, data[:4])
    second.restore(as_stored(first.state()))
    assert to_bytes(trained(second, data[4:])) == to_bytes(trained(first, data[4:]))
    np.testing.assert_equal(as_stored(second.state()), as_stored(first.state()))


def test_a_given_teacher_that_learns_on_is_a_dqn_which_began_with_its_weights():
    config = TeacherConfig(source="elsewhere.zip", frozen=False, target_update=4, learning_rate=0.02)
    given = network(16, seed=1000)
    with torch.no_grad():
        given.advantage.bias += 1.0  # it has learned something
    learner = learner_of((), config)
    learner.teacher = Teacher(copy.deepcopy(given), config)
    assert isinstance(learner_of((), config).teacher, Teacher)
    for batch, (expected, _) in zip(batches(12), bare_dqn(given, config, batches(12), [0.5] * 12), strict=True):
        learner.update(batch, 0.5)
        np.testing.assert_allclose(to_flat(learner.teacher.network), expected, rtol=1e-3, atol=1e-5)


def test_the_target_network_teaches_where_it_is_asked_to():
    teacher = Teacher(network(8), TeacherConfig(teaches="target", target_update=3, learning_rate=0.1))
    fresh = network(8)(OBSERVATION)
    data = [steps(batch) for batch in batches(4)]
    for batch in data[:2]:
        teacher.update(batch, 0.0)
        assert torch.equal(teacher.lesson(OBSERVATION).q, fresh)
    teacher.update(data[2], 0.0)
    copied = teacher.network(OBSERVATION).detach()
    assert torch.equal(teacher.lesson(OBSERVATION).q, copied)
    teacher.update(data[3], 0.0)
    assert torch.equal(teacher.lesson(OBSERVATION).q, copied)
    assert not torch.equal(copied, teacher.network(OBSERVATION))


@pytest.mark.parametrize("rate", [0.25, 0.001])
def test_an_average_of_weights_teaches_worked_by_hand(rate):
    teacher = Teacher(network(8), TeacherConfig(teaches="average", average_rate=rate, learning_rate=0.1))
    flats = [to_flat(teacher.network)]
    for batch in batches(6):
        teacher.update(steps(batch), 0.0)
        flats.append(to_flat(teacher.network))
        lesson = teacher.lesson(OBSERVATION)
        expected, (layer,) = network_with(average_of(flats, rate)).trace(OBSERVATION)
        torch.testing.assert_close(lesson.q, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(lesson.layers[0], layer, rtol=1e-4, atol=1e-5)
        assert not lesson.q.requires_grad
        assert not torch.equal(lesson.q, teacher.network(OBSERVATION))


def test_the_best_so_far_teaches_once_there_is_one():
    teacher = Teacher(network(8), TeacherConfig(teaches="best"))
    kept, better = (network(8, seed=seed) for seed in (5, 6))

    def says(net):
        return torch.equal(teacher.lesson(OBSERVATION).q, net(OBSERVATION))

    teacher.update(steps(batches(1)[0]), 0.0)
    assert says(teacher.network), "until an evaluation the newest teaches"
    teacher.heed(scores(to_flat(kept), teacher=-100.0))
    assert says(kept)
    teacher.update(steps(batches(1)[0]), 0.0)
    for mean in (-101.0, -100.0):
        teacher.heed(scores(to_flat(better), teacher=mean))
        assert says(kept)
    teacher.heed(scores(to_flat(better), teacher=-99.0))
    assert says(better)
    assert torch.equal(teacher.lesson(OBSERVATION).layers[0], better.trace(OBSERVATION)[1][0])


def test_whoever_teaches_the_teacher_learns_the_same():
    learners = {teaches: learner_of((), TeacherConfig(teaches=teaches)) for teaches in ("now", "target", "average", "best")}
    for learner in learners.values():
        trained(learner, batches(4))
        learner.heed(scores(to_flat(network(16, seed=3)), teacher=1.0))
        trained(learner, batches(4, seed=1))
    assert len({to_bytes(learner)["teacher"] for learner in learners.values()}) == 1


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("teaches", ["target", "average", "best"])
def test_restored_the_same_one_teaches_to_the_byte(teaches, evaluated):
    config = TeacherConfig(teaches=teaches, average_rate=0.1, target_update=3)
    student = {"a": StudentConfig(temperature=1.0)}
    first, second = learner_of(student, config), learner_of(student, config)
    trained(first, batches(4))
    if evaluated:
        first.heed(scores(to_flat(network(16, seed=3)), teacher=1.0, a=0.5))
    trained(second, batches(2, seed=9))
    second.heed(scores(to_flat(network(16, seed=4)), teacher=50.0, a=0.5))
    second.restore(as_stored(first.state()))
    for learner in (first, second):
        trained(learner, batches(3, seed=1))
        learner.heed(scores(to_flat(network(16, seed=5)), teacher=0.5, a=0.5))
        trained(learner, batches(3, seed=2))
    assert to_bytes(second) == to_bytes(first)
    np.testing.assert_equal(as_stored(second.state()), as_stored(first.state()))


def test_every_student_hears_the_same_teacher():
    """Students ask nothing of its kind: one learns from a frozen teacher as from one that stands still."""
    still = TeacherConfig(learning_rate=1e-30)
    students = {"kl": StudentConfig(temperature=1.0), "hint": StudentConfig(loss="hint", temperature=1.0)}
    first, second = (trained(learner_of(students, config), batches(6)) for config in (still, FROZEN))
    assert to_bytes(second) == to_bytes(first)
    moved = dataclasses.replace(still, learning_rate=0.1)
    assert to_bytes(trained(learner_of(students, moved), batches(6)))["kl"] != to_bytes(first)["kl"]
