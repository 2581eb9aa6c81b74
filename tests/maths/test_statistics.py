import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.maths import statistics


@pytest.mark.parametrize(
    ("student", "expected"),
    [(20.0, 0.0), (500.0, 1.0), (260.0, 0.5), (8.0, -0.025), (548.0, 1.1)],
)
def test_normalised_score_by_hand(student, expected):
    # Random 20, teacher 500: 480 between them.
    assert statistics.normalised_score(student, 20.0, 500.0) == pytest.approx(expected)


def test_normalised_score_is_not_a_number_where_the_teacher_is_no_better_than_random():
    assert math.isnan(statistics.normalised_score(30.0, 20.0, 20.0))


def test_interquartile_mean_by_hand():
    # In order -50 1 | 2 3 4 5 | 6 100: the mean of the middle four.
    assert statistics.interquartile_mean([100, 3, 1, 2, 5, 4, -50, 6]) == 3.5


def test_interquartile_mean_of_few_values_is_their_mean():
    assert statistics.interquartile_mean([1.0, 2.0, 6.0]) == 3.0
    assert statistics.interquartile_mean([7.0]) == 7.0


def test_bootstrap_of_a_single_value():
    assert statistics.bootstrap_ci95([7.5]) == (7.5, 7.5)


def test_bootstrap_of_two_values_spans_both():
    # Means of resamples: 0, 1/2 and 1 with 1/4, 1/2 and 1/4, so both tails hold far more than 2.5 %.
    assert statistics.bootstrap_ci95([0.0, 1.0]) == (0.0, 1.0)


def test_bootstrap_is_as_wide_as_the_normal_interval_on_a_normal_sample():
    values = np.random.default_rng(3).normal(10.0, 2.0, size=200)
    low, high = statistics.bootstrap_ci95(values, resamples=5000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_repeats_itself_for_a_seed_and_only_then():
    values = np.random.default_rng(0).normal(size=20)
    assert statistics.bootstrap_ci95(values, seed=1) == statistics.bootstrap_ci95(values, seed=1)
    assert statistics.bootstrap_ci95(values, seed=1) != statistics.bootstrap_ci95(values, seed=2)


def test_bootstrap_of_the_interquartile_mean_by_hand():
    # Four draws from 0 0 0 100, the lowest and the highest cut: with at most one 100 the middle two give 0, with two 50,
    # with three or four 100. Three or more have 4 (1/4)^3 3/4 + (1/4)^4 = 13/256, 5.1 %: more than the upper 2.5 %.
    assert statistics.interquartile_ci95([0, 100, 0, 0]) == (0.0, 100.0)
    # The plain mean comes to 100 only with four of them, 0.4 %, so its interval ends at 75.
    assert statistics.bootstrap_ci95([0, 100, 0, 0]) == (0.0, 75.0)


def test_below_four_values_both_intervals_are_one():
    assert statistics.interquartile_ci95([3.0, 1.0, 8.0]) == pytest.approx(statistics.bootstrap_ci95([3.0, 1.0, 8.0]))


def test_over_tasks_by_hand():
    # Pooled 0 1 10 10, the lowest and the highest cut: (1 + 10) / 2. Of the first task's runs two draws are 0 0 (1/4), one
    # of each (1/2) or 1 1 (1/4), of the other's always 10 10: the middle two of four are 0 10 or 1 10.
    assert statistics.interquartile_over_tasks([[0.0, 1.0], [10.0, 10.0]]) == (5.5, 5.0, 5.5)


def test_tasks_of_which_each_is_certain_leave_no_doubt():
    # Drawn without regard to tasks, means would run from 0 to 1.
    assert statistics.interquartile_over_tasks([[0.0] * 4, [1.0] * 4]) == (0.5, 0.5, 0.5)


def test_over_one_task_is_the_interquartile_mean_with_its_interval():
    values = np.random.default_rng(0).normal(size=40)
    mean, low, high = statistics.interquartile_over_tasks([values], resamples=4000)
    assert mean == statistics.interquartile_mean(values)
    assert (low, high) == pytest.approx(statistics.interquartile_ci95(values, resamples=4000), abs=0.02)


@pytest.mark.parametrize("scores", [[], [[]], [[1.0], [[2.0]]]])
def test_over_tasks_wants_a_sample_of_each(scores):
    with pytest.raises(ValueError, match="at least one"):
        statistics.interquartile_over_tasks(scores)


def test_what_both_of_a_pair_share_drops_out():
    # 10 - 9 and 0 - (-1): one more each time, although either alone spans ten.
    assert statistics.paired_difference([10.0, 0.0], [9.0, -1.0]) == (1.0, 1.0, 1.0)


def test_paired_difference_by_hand():
    # Differences 2 and 0: means of resamples 0, 1 and 2 with 1/4, 1/2 and 1/4.
    assert statistics.paired_difference([5.0, 7.0], [3.0, 7.0]) == (1.0, 0.0, 2.0)
    # 1 2 3 100 -> the mean of 2 and 3.
    assert statistics.paired_difference([101.0, 2.0, 3.0, 4.0], [1.0, 1.0, 1.0, 1.0])[0] == 2.5


@settings(deadline=None, max_examples=50)
@given(pairs=st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=1, max_size=12))
def test_paired_difference_turns_its_sign_with_the_order(pairs):
    first, second = zip(*pairs, strict=True)
    difference, low, high = statistics.paired_difference(first, second)
    turned = statistics.paired_difference(second, first)
    assert turned == pytest.approx((-difference, -high, -low), abs=1e-6)
    assert low - 1e-9 <= high


@pytest.mark.parametrize(("first", "second"), [([1.0, 2.0], [1.0]), ([], []), ([[1.0]], [[1.0]])])
def test_pairs_have_two_sides(first, second):
    with pytest.raises(ValueError, match=r"pairs need|at least one"):
        statistics.paired_difference(first, second)


@pytest.mark.parametrize("values", [[], [[1.0, 2.0], [3.0, 4.0]]])
def test_a_sample_is_flat_and_not_empty(values):
    with pytest.raises(ValueError, match="at least one"):
        statistics.bootstrap_ci95(values)
    with pytest.raises(ValueError, match="at least one"):
        statistics.interquartile_mean(values)
    with pytest.raises(ValueError, match="at least one"):
        statistics.interquartile_ci95(values)


@settings(deadline=None, max_examples=50)
@given(values=st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), shift=st.floats(-100, 100))
def test_both_means_and_the_interval_move_with_the_values(values, shift):
    moved = [value + shift for value in values]
    low, high = statistics.bootstrap_ci95(values, resamples=200)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert statistics.bootstrap_ci95(moved, resamples=200) == pytest.approx((low + shift, high + shift), abs=1e-6)
    middle = statistics.interquartile_mean(values)
    assert statistics.interquartile_mean(moved) == pytest.approx(middle + shift, abs=1e-6)
