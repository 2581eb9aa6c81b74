import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.data_config import BehaviourConfig
from distributed_kd.rollouts.exploration import plan_lanes, sample_softmax


def counts(plans, policies):
    return np.bincount(np.concatenate([plan.policy for plan in plans]), minlength=policies).tolist()


@pytest.mark.parametrize(
    ("teacher", "students", "actors", "envs", "expected"),
    [
        (0.5, 2, 2, 16, [16, 8, 8]),
        (1.0, 2, 2, 4, [8, 0, 0]),
        (0.0, 3, 1, 9, [0, 3, 3, 3]),
        (0.5, 5, 1, 4, [2, 1, 1, 0, 0, 0]),  # .4 of a lane for each student: the first two get one
        (0.5, 2, 1, 1, [1, 0, 0]),
        (0.7, 1, 1, 10, [7, 3]),  # .7 * 10 is 7 also where floating point says 6.999...
        (0.25, 0, 2, 3, [6]),  # no students: all lanes are the teacher's
    ],
)
def test_lanes_worked_by_hand(teacher, students, actors, envs, expected):
    plans = plan_lanes(BehaviourConfig(teacher, 1 - teacher), list(range(1, students + 1)), actors, envs)
    assert counts(plans, students + 1) == expected


def test_students_that_do_not_drive_have_no_lanes_and_the_others_share_theirs():
    # 16 of 32 lanes, for the second and the fifth student.
    plans = plan_lanes(BehaviourConfig(0.5, 0.5), [2, 5], 2, 16)
    assert counts(plans, 7) == [16, 0, 8, 0, 0, 8, 0]
    assert plans[0].policy.tolist() == [0] * 8 + [2] * 4 + [5] * 4
    # Without drivers there is nobody but the teacher, whatever its share.
    assert counts(plan_lanes(BehaviourConfig(0.0, 1.0), [], 1, 4), 3) == [4, 0, 0]


@settings(deadline=None, max_examples=200)
@given(
    teacher=st.floats(0, 1),
    students=st.integers(0, 9),
    actors=st.integers(1, 6),
    envs=st.integers(1, 24),
)
def test_every_lane_is_dealt_once_and_fairly(teacher, students, actors, envs):
    plans = plan_lanes(BehaviourConfig(teacher, 1 - teacher), list(range(1, students + 1)), actors, envs)
    lanes = actors * envs
    assert len(plans) == actors
    for plan in plans:
        assert plan.policy.shape == plan.rung.shape == (envs,)
        assert plan.policy.dtype == np.int16
        assert (np.diff(plan.policy) >= 0).all(), "lanes of one policy stand side by side"
    shared = counts(plans, students + 1)
    assert sum(shared) == lanes
    shares = [teacher, *[(1 - teacher) / students] * students] if students else [1.0]
    for count, share in zip(shared, shares, strict=True):
        assert abs(count - share * lanes) < 1 + 1e-6
    if students:
        assert max(shared[1:]) - min(shared[1:]) <= 1
    for policy in range(students + 1):
        dealt = [int((plan.policy == policy).sum()) for plan in plans]
        assert max(dealt) - min(dealt) <= 1, "every actor has its share of each policy"
    rungs = np.sort(np.concatenate([plan.rung[plan.policy == 0] for plan in plans]))
    np.testing.assert_allclose(rungs, np.linspace(0, 1, shared[0]), atol=1e-12)


def test_the_ladder_spans_all_actors():
    first, second = plan_lanes(BehaviourConfig(0.75, 0.25), [1], 2, 4)
    # Six lanes of the teacher at 0, 1/5, ... 1, dealt in turn; two of the student.
    np.testing.assert_allclose(first.rung[:3], [0, 0.4, 0.8])
    np.testing.assert_allclose(second.rung[:3], [0.2, 0.6, 1.0])
    assert first.policy.tolist() == second.policy.tolist() == [0, 0, 0, 1]


class Noise:
    """A random stream that gives this Gumbel noise."""

    def __init__(self, noise):
        self.noise = np.array(noise)

    def gumbel(self, size):
        assert size == self.noise.shape
        return self.noise


def test_sampling_worked_by_hand():
    outputs = np.log(np.array([[1, 2, 5], [1, 2, 5], [4, 4, 2]], np.float32))
    # log 1 + 2 against log 2 + 1 = 1.69 and log 5 = 1.61; without noise the largest; log 4 + .1 against log 4.
    action, probability = sample_softmax(outputs, Noise([[2, 1, 0], [0, 0, 0], [0, 0.1, 0]]))
    assert action.tolist() == [0, 2, 1]
    assert action.dtype == np.int64
    np.testing.assert_allclose(probability, [1 / 8, 5 / 8, 4 / 10], rtol=1e-6)


def test_large_outputs_are_sampled_without_overflow():
    action, probability = sample_softmax(np.array([[1000, 0], [-1000, -1000]], np.float32), Noise([[0, 9], [1, 0]]))
    assert action.tolist() == [0, 0]
    assert probability.tolist() == [1.0, 0.5]
