import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distributed_kd.maths import schedules


@pytest.mark.parametrize(
    ("progress", "expected"),
    [(0.0, 1.0), (0.05, 0.7625), (0.1, 0.525), (0.2, 0.05), (0.7, 0.05), (1.0, 0.05), (1.5, 0.05), (-0.1, 1.0)],
)
def test_linear_falls_over_its_share_of_the_run(progress, expected):
    # From 1 to .05 over a fifth: a quarter of the way at .05 is 1 - .25 * .95 = .7625.
    assert schedules.linear(1.0, 0.05, 0.2, progress) == pytest.approx(expected)


def test_linear_rises_as_well():
    assert schedules.linear(0.4, 1.0, 1.0, 0.5) == pytest.approx(0.7)


@pytest.mark.parametrize("progress", [-1.0, 0.0, 0.5, 1.0])
def test_linear_over_no_time_is_at_its_end_at_once(progress):
    assert schedules.linear(1.0, 0.05, 0.0, progress) == 0.05


SHARE = st.floats(0, 1)


@settings(deadline=None)
@given(start=SHARE, end=SHARE, fraction=SHARE, progress=st.floats(0, 2), later=st.floats(0, 2))
@example(start=0.3, end=0.1, fraction=1.0, progress=0.1, later=0.2)
def test_linear_stays_between_its_ends_and_never_turns_back(start, end, fraction, progress, later):
    value = schedules.linear(start, end, fraction, progress)
    assert isinstance(value, float)
    assert min(start, end) <= value <= max(start, end)
    after = schedules.linear(start, end, fraction, max(progress, later))
    assert abs(after - end) <= abs(value - end) + 1e-12


def test_linear_does_not_leave_its_ends_by_a_last_digit():
    # Plain interpolation between two equal numbers is off by a last digit for some of these.
    values = {schedules.linear(0.1, 0.1, 1.0, step / 1000) for step in range(1001)}
    assert values == {0.1}


def test_epsilon_ladder_by_hand():
    # Powers 1, 2, 3 of a half.
    np.testing.assert_allclose(schedules.epsilon_ladder(0.5, np.linspace(0.0, 1.0, 3), 2.0), [0.5, 0.25, 0.125])


def test_epsilon_ladder_of_ape_x():
    ladder = schedules.epsilon_ladder(0.4, np.linspace(0.0, 1.0, 8), 7.0)
    np.testing.assert_allclose(ladder, 0.4 ** np.arange(1, 9))


def test_epsilon_ladder_of_one_lane_and_of_none():
    np.testing.assert_array_equal(schedules.epsilon_ladder(0.05, np.linspace(0.0, 1.0, 1), 1.0), [0.05])
    assert schedules.epsilon_ladder(0.05, np.linspace(0.0, 1.0, 0), 1.0).shape == (0,)


def test_epsilon_ladder_at_its_borders():
    np.testing.assert_array_equal(schedules.epsilon_ladder(0.3, np.linspace(0.0, 1.0, 4), 0.0), [0.3] * 4)
    np.testing.assert_array_equal(schedules.epsilon_ladder(1.0, np.linspace(0.0, 1.0, 4), 7.0), [1.0] * 4)
    np.testing.assert_array_equal(schedules.epsilon_ladder(0.0, np.linspace(0.0, 1.0, 4), 7.0), [0.0] * 4)
