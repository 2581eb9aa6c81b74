import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.config import BehaviourConfig
from distributed_kd.rollouts.exploration import plan_lanes


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
    plans = plan_lanes(BehaviourConfig(teacher, 1 - teacher), students, actors, envs)
    assert counts(plans, students + 1) == expected


@settings(deadline=None, max_examples=200)
@given(
    teacher=st.floats(0, 1),
    students=st.integers(0, 9),
    actors=st.integers(1, 6),
    envs=st.integers(1, 24),
)
def test_every_lane_is_dealt_once_and_fairly(teacher, students, actors, envs):
    plans = plan_lanes(BehaviourConfig(teacher, 1 - teacher), students, actors, envs)
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
    first, second = plan_lanes(BehaviourConfig(0.75, 0.25), 1, 2, 4)
    # Six lanes of the teacher at 0, 1/5, ... 1, dealt in turn; two of the student.
    np.testing.assert_allclose(first.rung[:3], [0, 0.4, 0.8])
    np.testing.assert_allclose(second.rung[:3], [0.2, 0.6, 1.0])
    assert first.policy.tolist() == second.policy.tolist() == [0, 0, 0, 1]
