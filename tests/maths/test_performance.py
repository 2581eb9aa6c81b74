"""Profiles, probabilities of improvement, gaps and areas: worked by hand, and beside Agarwal et al.'s own in their words."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from distributed_kd.maths.performance import (
    area_under_curve,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from distributed_kd.maths.statistics import stratified_ci95

MATRICES = st.integers(1, 4).flatmap(
    lambda tasks: st.lists(
        st.lists(st.sampled_from([-0.5, 0.0, 0.25, 0.5, 0.95, 1.0, 1.5]), min_size=tasks, max_size=tasks),
        min_size=1,
        max_size=6,
    )
)
"""scores[run][task], as rliable has them, with many ties"""


def by_task(matrix) -> list[list[float]]:
    return [list(task) for task in zip(*matrix, strict=True)]


def test_a_profile_by_hand():
    # Above 0: 1 of 2 and 2 of 2; above 0.5: 1 of 2 and 1 of 2 (0.5 is not above itself); above 1: none and 1 of 2.
    share, low, high = performance_profile([[0.0, 1.0], [0.5, 2.0]], [0.0, 0.5, 1.0])
    assert share.tolist() == [0.75, 0.5, 0.25]
    # Each task's two draws hold its better run never, once or twice (1/4, 1/2, 1/4): a band is as wide as can be.
    assert low.tolist() == [0.5, 0.0, 0.0]
    assert high.tolist() == [1.0, 1.0, 0.5]


def test_a_task_counts_as_much_as_another_however_many_runs_it_has():
    scores = [[1.0], [0.0] * 9]
    assert performance_profile(scores, [0.5])[0].tolist() == [0.5]
    assert optimality_gap(scores)[0] == 0.5
    assert probability_of_improvement(scores, [[0.5], [0.5]])[0] == 0.5


def test_a_probability_of_improvement_by_hand():
    # First task: 3 > 1, 3 > 2, 2 > 1 and 2 = 2: (3 + 1/2) / 4. Second: never.
    assert probability_of_improvement([[3.0, 2.0], [0.0]], [[1.0, 2.0], [1.0]])[0] == pytest.approx((3.5 / 4 + 0) / 2)
    # What differs between tasks is no doubt: here the first is always ahead, by however little.
    assert probability_of_improvement([[0.1, 0.1], [9.0]], [[0.0, 0.0], [8.0]]) == (1.0, 1.0, 1.0)
    # One against two: 1 is drawn twice with 1/4, each once with 1/2, 3 twice with 1/4.
    assert probability_of_improvement([[2.0]], [[1.0, 3.0]]) == (0.5, 0.0, 1.0)


def test_a_gap_by_hand():
    # Short of 1 by 0.5 and 0 (2 makes up for nothing), and by 1.5 and 0: the mean of 0.25 and 0.75.
    assert optimality_gap([[0.5, 2.0], [-0.5, 1.0]])[0] == 0.5
    # Resamples of the one pair are short by 0, 0.25 or 0.5.
    assert optimality_gap([[0.5, 2.0]]) == (0.25, 0.0, 0.5)
    assert optimality_gap([[0.5, 2.0]], gamma=2.0)[0] == 0.75


def test_an_area_by_hand():
    # 0 to 10 at a mean of 1, 10 to 40 at a mean of 3: (10 + 90) / 40.
    assert area_under_curve([0, 10, 40], [0.0, 2.0, 4.0]) == 2.5
    # Where it begins is no matter, nor in what unit steps are counted.
    assert area_under_curve([7000, 17000, 47000], [0.0, 2.0, 4.0]) == 2.5
    assert area_under_curve([5], [3.0]) == 3.0


def test_an_interval_of_any_aggregate_by_hand():
    # The best of two draws from 0 and 1 is 0 with 1/4; beside a task that is always 5 the mean of the bests is 2.5 or 3.
    low, high = stratified_ci95([[0.0, 1.0], [5.0]], lambda tasks: np.mean([task.max(axis=-1) for task in tasks], axis=0))
    assert (low, high) == (2.5, 3.0)


@settings(deadline=None, max_examples=40)
@given(matrix=MATRICES)
def test_profiles_and_gaps_are_those_of_rliable(matrix):
    scores, taus = np.array(matrix), np.array([-1.0, 0.0, 0.3, 0.95, 2.0])
    share, low, high = performance_profile(by_task(matrix), taus, resamples=200)
    assert share == pytest.approx([np.mean(scores > tau) for tau in taus])
    assert (np.diff(share) <= 0).all() and (low <= share + 1e-9).all() and (share <= high + 1e-9).all()
    gap, low, high = optimality_gap(by_task(matrix), resamples=200)
    assert gap == pytest.approx(1 - np.mean(np.minimum(scores, 1)))
    assert low - 1e-9 <= gap <= high + 1e-9


@settings(deadline=None, max_examples=40)
@given(first=MATRICES, second=MATRICES)
def test_probabilities_are_those_of_rliable(first, second):
    tasks = min(len(first[0]), len(second[0]))
    one, other = np.array(first)[:, :tasks], np.array(second)[:, :tasks]
    theirs = [
        0.5 if np.array_equal(x, y) else mannwhitneyu(x, y, alternative="greater")[0] / (len(x) * len(y))
        for x, y in zip(one.T, other.T, strict=True)
    ]
    ours, low, high = probability_of_improvement(list(one.T), list(other.T), resamples=200)
    assert ours == pytest.approx(np.mean(theirs))
    assert low - 1e-9 <= ours <= high + 1e-9
    assert probability_of_improvement(list(other.T), list(one.T), resamples=2)[0] == pytest.approx(1 - ours)


def test_bands_are_as_wide_as_a_binomial_says():
    scores = np.random.default_rng(1).uniform(size=400)
    share, low, high = performance_profile([scores], [0.3])
    half = 1.96 * np.sqrt(share * (1 - share) / 400)
    assert low == pytest.approx(share - half, abs=0.2 * half[0])
    assert high == pytest.approx(share + half, abs=0.2 * half[0])


def test_what_was_not_measured_stays_unknown():
    scores = [[float("nan"), 1.0], [1.0]]
    assert np.isnan(performance_profile(scores, [0.0, 2.0])).all()
    assert np.isnan(optimality_gap(scores)).all()
    assert np.isnan(probability_of_improvement(scores, [[0.0], [0.0]])).all()


@pytest.mark.parametrize("scores", [[], [[]], [[1.0], [[2.0]]]])
def test_they_want_a_sample_of_each_task(scores):
    for told in (lambda: performance_profile(scores, [0.5]), lambda: optimality_gap(scores)):
        with pytest.raises(ValueError, match="at least one"):
            told()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (lambda: performance_profile([[1.0]], []), "at least one tau"),
        (lambda: performance_profile([[1.0]], 0.5), "at least one tau"),
        (lambda: probability_of_improvement([[1.0]], [[1.0], [1.0]]), "the same tasks, not 1 and 2"),
        (lambda: probability_of_improvement([], []), "at least one"),
        (lambda: area_under_curve([1, 2], [1.0]), "as many steps as values"),
        (lambda: area_under_curve([], []), "as many steps as values"),
        (lambda: area_under_curve([2, 2], [1.0, 1.0]), "must rise"),
    ],
)
def test_what_they_cannot_tell_of(told, words):
    with pytest.raises(ValueError, match=words):
        told()
