"""Observations by their mean and deviation: one account for teacher, students and whoever acts with them."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_samples import (
    CPU,
    SPEC,
    as_stored,
    batches,
    by_priority,
    learner_of,
    steps,
    to_bytes,
    trained,
    with_own_steps,
)

from distributed_kd.learning.normaliser import Normaliser
from distributed_kd.learning.teacher import Importance
from distributed_kd.maths.normalisation import LEAST_DEVIATION
from distributed_kd.networks.plain import PlainNetworks
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import EnvSpec
from distributed_kd.student_config import StudentConfig

GIVEN = np.stack([np.array([1.0, -2.0, 0.0, 5.0]), np.array([0.5, 2.0, 1.0, 0.0])]).astype(np.float32)
STUDENTS = {"kl": StudentConfig(temperature=1.0), "mse": StudentConfig(loss="mse", td_weight=1.0)}
OWN = {"own": StudentConfig(loss="policy_gradient", temperature=1.0)}


def shifted(with_batches, scale=3.0, shift=7.0):
    return [
        dataclasses.replace(
            batch,
            observation=scale * batch.observation + shift,
            next_observation=scale * batch.next_observation + shift,
        )
        for batch in with_batches
    ]


def learner_with(students=STUDENTS, teacher=None, given=None, **more):
    return learner_of(students, teacher, normaliser=Normaliser(SPEC, CPU, given), **more)


def all_of(with_batches):
    return np.concatenate([batch.observation for batch in with_batches])


def test_mean_and_deviation_are_numpys_over_all_batches():
    data = shifted(batches(7))
    learner = learner_with()
    for count in range(1, 8):
        learner.update(data[count - 1], 0.0)
        seen = all_of(data[:count])
        np.testing.assert_allclose(learner.weights().normal, [seen.mean(0), seen.std(0)], rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    shape=st.sampled_from([(3,), (2, 2), ()]),
    stack=st.sampled_from([0, 2]),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
)
def test_so_they_are_however_the_observations_come(sizes, shape, stack, scale):
    random = np.random.default_rng(sum(sizes))
    normaliser = Normaliser(EnvSpec("Any", shape, "float32", 2, frame_stack=max(stack, 1)), CPU)
    parts = [
        (scale * (random.normal(size=(size, *([stack] if stack else []), *shape)) + 3)).astype(np.float32) for size in sizes
    ]
    for part in parts:
        normaliser.follow(torch.tensor(part))
    each = np.concatenate([part[:, -1] if stack else part for part in parts]).astype(np.float64)  # the newest of a stack
    np.testing.assert_allclose(normaliser.normal, [each.mean(0), each.std(0)], rtol=1e-4, atol=1e-6 * scale)


def test_teacher_and_students_see_the_same_account_and_no_other(monkeypatch):
    learner = learner_with()
    (batch,) = shifted(batches(1))
    expected = torch.tensor((batch.observation - batch.observation.mean(0)) / batch.observation.std(0))
    seen = []
    computed = PlainNetworks.computed  # where all of these networks go through

    def noted(networks, given):
        seen.append(given)
        return computed(networks, given)

    monkeypatch.setattr(PlainNetworks, "computed", noted)
    trace = learner.students["mse"].network.trace  # but for one with a TD error of its own
    monkeypatch.setattr(learner.students["mse"].network, "trace", lambda given: seen.append(given) or trace(given))
    learner.update(batch, 0.0)
    following = learner.seen(torch.tensor(batch.next_observation))
    assert len(seen) == 5  # the teacher's network twice and its target's once, and each student's once
    assert sum(torch.equal(given, following) for given in seen) == 2
    assert sum(torch.allclose(given, expected, atol=1e-4) for given in seen) == 3


def test_what_a_network_learns_is_as_on_observations_normalised_beforehand():
    data = shifted(batches(6))
    normal = np.stack([all_of(data).mean(0), all_of(data).std(0)]).astype(np.float32)
    before = [
        dataclasses.replace(
            batch,
            observation=(batch.observation - normal[0]) / normal[1],
            next_observation=(batch.next_observation - normal[0]) / normal[1],
        )
        for batch in data
    ]
    here, there = trained(learner_with(given=normal), data).weights(), trained(learner_of(STUDENTS), before).weights()
    for name, flat in there.flat.items():
        np.testing.assert_allclose(here.flat[name], flat, rtol=1e-3, atol=1e-5)
    assert there.normal is None


def test_one_that_is_given_stays_as_it_is():
    learner = learner_with(given=GIVEN)
    trained(learner, shifted(batches(4)))
    assert learner.weights().normal.tobytes() == GIVEN.tobytes()
    # (3 - 1) / .5 = 4; (0 + 2) / 2 = 1; .5; a deviation of 0 counts as the least one, and what comes of it ends at 10.
    seen = learner.seen(torch.tensor([[3.0, 0.0, 0.5, 5.05], [1.0, -2.0, 0.0, 9.0]]))
    assert LEAST_DEVIATION == 0.01
    torch.testing.assert_close(seen, torch.tensor([[4.0, 1.0, 0.5, 5.0], [0.0, 0.0, 0.0, 10.0]]), rtol=1e-4, atol=1e-4)
    state = as_stored(learner.state())
    other = learner_with(given=GIVEN)
    other.restore(state)
    trained(other, shifted(batches(2)))
    assert other.weights().normal.tobytes() == GIVEN.tobytes()


def test_published_it_is_a_copy():
    learner = trained(learner_with(), shifted(batches(2)))
    published = learner.weights().normal
    kept = published.copy()
    trained(learner, shifted(batches(2, seed=1), shift=100.0))
    np.testing.assert_array_equal(published, kept)
    published[:] = 0
    assert learner.weights().normal.any()


def test_before_anything_was_seen_observations_are_as_they_are():
    normaliser = Normaliser(SPEC, CPU)
    observation = torch.tensor([[0.5, -1.0, 3.0, 0.0]])
    assert torch.equal(normaliser.seen(observation), observation)
    assert torch.equal(learner_of(STUDENTS).seen(40 * observation), 40 * observation), "nor is it without a normaliser"


def test_looking_through_it_teaches_it_nothing():
    learner = trained(learner_with(), batches(2))
    before = learner.weights().normal
    learner.seen(torch.full((5, 4), 1e6))
    np.testing.assert_array_equal(learner.weights().normal, before)


@pytest.mark.parametrize("given", [None, GIVEN])
def test_restored_it_goes_on_to_the_byte(given):
    data = shifted(batches(12))
    first, second = learner_with(given=given), learner_with(given=given)
    trained(first, data[:5])
    trained(second, shifted(batches(3, seed=4), shift=-50.0))  # a past of its own
    state = first.state()
    stored = as_stored(state)
    second.restore(stored)
    for learner in (first, second):
        trained(learner, data[5:])
    assert to_bytes(second) == to_bytes(first)
    assert second.weights().normal.tobytes() == first.weights().normal.tobytes()
    np.testing.assert_equal(as_stored(second.state()), as_stored(first.state()))
    np.testing.assert_equal(as_stored(state), stored)  # a snapshot: no training since has written into it


def test_counts_are_kept_beyond_what_float32_can_count():
    """After a day's batches of one mean, a batch of another moves it by its share, not by nothing."""
    normaliser = Normaliser(SPEC, CPU)
    state = normaliser.state()
    mean = torch.ones(4, dtype=torch.float64)
    normaliser.restore({**state, "count": torch.tensor(1e9, dtype=torch.float64), "mean": mean, "squares": 1e9 * mean})
    for _ in range(1_000):
        normaliser.follow(torch.full((1_000, 4), 2.0))
    # A million of 2 among a billion of 1: 1 + 1 / 1001.
    np.testing.assert_allclose(normaliser.normal[0], 1 + 1 / 1001, rtol=1e-6)


@pytest.mark.parametrize("apart", [False, True])
def test_whoever_learns_beside_it_the_teacher_sees_the_same(apart):
    """Neither the students' own steps nor batches of their own move what the teacher sees."""
    data = by_priority(shifted(batches(8)), apart=apart)
    alone = trained(learner_with({}, importance=Importance(0.4, 1.0)), data)
    beside = trained(learner_with(STUDENTS, importance=Importance(0.4, 1.0)), data)
    own = trained(learner_with(OWN, importance=Importance(0.4, 1.0)), with_own_steps(data, ["own"]))
    for learner in (beside, own):
        assert learner.weights().normal.tobytes() == alone.weights().normal.tobytes()
        assert to_bytes(learner)["teacher"] == to_bytes(alone)["teacher"]
    np.testing.assert_allclose(alone.weights().normal[0], all_of(data).mean(0), rtol=1e-5)


def test_a_frozen_teachers_students_learn_through_what_it_was_given():
    frozen = TeacherConfig(source="elsewhere.zip")
    learner = learner_with(teacher=frozen, given=GIVEN)
    (batch,) = batches(1)
    trained(learner, [batch])
    said = learner.teacher.lesson(learner.seen(steps(batch).observation)).q
    assert learner.losses()["kl"]["teacher_entropy"] == pytest.approx(
        torch.distributions.Categorical(logits=said).entropy().mean().item(), rel=1e-4
    )
