"""learning.together: students that share their computation learn what they would learn alone."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch
from learning_samples import (
    CPU,
    FIVE_STUDENTS,
    SPEC,
    as_stored,
    batches,
    by_priority,
    learner_of,
    lessons,
    network,
    recruit_of,
    steps,
    students_of,
    trained,
)

from distributed_kd import networks
from distributed_kd.learning.teacher import Importance
from distributed_kd.learning.together import Together
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import to_flat
from distributed_kd.student_config import LossConfig, OutputLossName, StudentConfig

MIXED = {
    "a": ((8, 8), StudentConfig(temperature="auto")),
    "b": ((8, 8), StudentConfig(temperature="auto", learning_rate=3e-3, max_grad_norm=0.05)),
    "c": ((5, 4), StudentConfig(temperature="auto", learning_rate_end=0.0)),
    "d": ((6,), StudentConfig(loss="mse")),
    "e": ((8, 8), StudentConfig(losses=(LossConfig("kl"), LossConfig("hint", weight=0.1)))),
    "f": ((8, 8), StudentConfig(loss="kl_q", td_weight=1.0, target_update=2)),
    "g": ((6, 6), StudentConfig(observation_noise=0.1)),
    "h": ((7, 7), StudentConfig(trainable="head", temperature="auto")),
    "i": ((8, 8), StudentConfig(temperature="auto", importance="action_gap")),
}


def learned(members, joint, updates=6, weighted=False):
    """The students after some updates, together or each by itself, and what they logged last."""
    students, logged = students_of(members), {}
    group = Together(students) if joint else None
    for number, (lesson, batch) in enumerate(zip(lessons(updates, weighted), batches(updates), strict=True)):
        lesson = dataclasses.replace(lesson, observation=torch.tensor(batch.observation))
        with torch.no_grad():
            q, layers = network(16, seed=99).trace(lesson.observation)
        lesson = dataclasses.replace(lesson, q=q, layers=layers)
        say = torch.tensor(0.1), number / updates, True, steps(batch)
        apart = {} if group else students
        logged = {name: one.update(lesson, *say) for name, one in apart.items()} or group.update(lesson, *say)
    return students, logged


@pytest.mark.parametrize("weighted", [False, True])
def test_students_of_all_kinds_learn_what_they_would_alone(weighted):
    alone, said_alone = learned(MIXED, joint=False, weighted=weighted)
    joint, said = learned(MIXED, joint=True, weighted=weighted)
    for name in MIXED:
        np.testing.assert_allclose(to_flat(joint[name].network), to_flat(alone[name].network), atol=2e-5, err_msg=name)
        assert said[name].keys() == said_alone[name].keys()
        for key, value in said[name].items():
            torch.testing.assert_close(value, said_alone[name][key], atol=1e-5, rtol=1e-4)
        assert joint[name].updates == 6


@pytest.mark.parametrize("loss", [*get_args(OutputLossName), "hard_soft"])
def test_every_loss_on_outputs_is_taken_once_for_all(loss):
    members = {name: ((8, 8), StudentConfig(loss=loss)) for name in "abc"}
    group = Together(students_of(members))
    assert len(group._choirs) == 1
    alone, joint = learned(members, joint=False)[0], learned(members, joint=True)[0]
    for name in members:
        np.testing.assert_allclose(to_flat(joint[name].network), to_flat(alone[name].network), atol=2e-5)


def test_neighbours_change_nothing_beyond_rounding():
    few, many = ({name: MIXED[name] for name in names} for names in ("ac", MIXED))
    with_few, with_many = learned(few, joint=True)[0], learned(many, joint=True)[0]
    for name in few:
        np.testing.assert_allclose(to_flat(with_few[name].network), to_flat(with_many[name].network), atol=1e-6)


def test_a_student_leaves_with_its_own_moments():
    joint = learned(MIXED, joint=True)[0]
    alone = learned(MIXED, joint=False)[0]
    for name, one in joint.items():
        mine, theirs = as_stored(one.state()["trained"]["adam"]), as_stored(alone[name].state()["trained"]["adam"])
        assert mine.keys() == theirs.keys()
        for key, value in mine.items():
            np.testing.assert_allclose(value, theirs[key], atol=1e-5, err_msg=f"{name} {key}")
    # And goes on by them, alone or together.
    fresh = students_of(MIXED)
    for name, one in fresh.items():
        one.restore(as_stored(joint[name].state()))
    (lesson,) = lessons(1)
    (batch,) = batches(1, seed=5)
    said = lesson, torch.tensor(0.1), 0.5, True, steps(batch)
    Together(fresh).update(*said)
    for one in alone.values():
        one.update(*said)
    for name in fresh:
        np.testing.assert_allclose(to_flat(fresh[name].network), to_flat(alone[name].network), atol=5e-6, err_msg=name)


@pytest.mark.parametrize("priorities", [False, True])
def test_a_learner_learns_the_same_both_ways(priorities):
    more = {"importance": Importance(0.4, 1.0)} if priorities else {}
    data = by_priority(batches(10)) if priorities else batches(10)
    loop, joint = (trained(learner_of(FIVE_STUDENTS, together=how, **more), data) for how in ("loop", "together"))
    for name, flat in loop.weights().flat.items():
        np.testing.assert_allclose(joint.weights().flat[name], flat, atol=2e-5, err_msg=name)
    assert loop.losses().keys() == joint.losses().keys()
    assert joint.updates_of == dict.fromkeys(FIVE_STUDENTS, 10)


def test_a_learner_that_goes_on_learns_the_same():
    data = batches(10)
    whole = trained(learner_of(FIVE_STUDENTS, together="together"), data)
    first = trained(learner_of(FIVE_STUDENTS, together="together"), data[:5])
    second = learner_of(FIVE_STUDENTS, together="together")
    second.restore(as_stored(first.state()))
    trained(second, data[5:])
    for name, flat in whole.weights().flat.items():
        np.testing.assert_array_equal(second.weights().flat[name], flat)


def test_a_layer_norm_or_a_convolution_may_stand_beside_plain_networks():
    members = {name: StudentConfig(temperature="auto") for name in "ab"}
    recruit = recruit_of(members)
    normed = networks.build(NetworkConfig(hidden=(8,), layer_norm=True), SPEC, 1)
    students = {"a": recruit("a", normed.to(CPU)), "b": recruit("b", network(8))}
    group = Together(students)
    before = {name: to_flat(one.network) for name, one in students.items()}
    (lesson,) = lessons(1)
    group.update(lesson, torch.tensor(0.1), 0.0, False)
    for name, one in students.items():
        assert not np.array_equal(to_flat(one.network), before[name])
