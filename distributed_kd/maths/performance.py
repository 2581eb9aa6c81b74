"""How methods stand beside each other over tasks and runs: profiles, who is better how often, what is missing, how fast.

All on normalised scores, for each task [N_t] of its runs; a task counts as much as any other, however many runs it has, and
every interval is the stratified bootstrap of `statistics.py`. A score that is NaN makes NaN of what it takes part in.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distributed_kd.maths.statistics import stratified_ci95, tasks_of

Scores = NDArray[np.float64]


def performance_profile(
    scores: Sequence[ArrayLike], taus: ArrayLike, seed: int = 0, resamples: int = 2000
) -> tuple[Scores, Scores, Scores]:
    """The share of runs whose score is above tau, for each tau, with pointwise 95 % bands.

    scores: for each task [N_t], normalised; taus [T]. Gives (share, low, high), each [T], from 0 to 1. ValueError where
    there is no task or no tau, or one is not flat. Agarwal et al. 2021, 2108.13264, section 4.2 (score distributions).
    """
    thresholds = np.asarray(taus, np.float64)
    if thresholds.ndim != 1 or thresholds.size == 0:
        raise ValueError(f"a profile needs a list of at least one tau, not an array of shape {thresholds.shape}")

    def shares(tasks: Sequence[Scores]) -> Scores:
        # One tau after the other: all of them at once would be resamples x runs x taus numbers.
        return np.stack([_over_tasks([_truth(task > tau, task) for task in tasks]) for tau in thresholds], axis=-1)

    low, high = stratified_ci95(scores, shares, seed, resamples)
    return shares(tasks_of(scores)), low, high


def probability_of_improvement(
    first: Sequence[ArrayLike], second: Sequence[ArrayLike], seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """How likely a run of the first method is better than one of the second, on a task taken at random; a tie is half.

    first, second: for each task [N_t] and [M_t], normalised, the same tasks in the same order. Gives (probability, low,
    high); 1/2 is no difference. ValueError where there is no task, one is empty or not flat, or the two have not as many.
    Agarwal et al. 2021, 2108.13264, section 4.3; Mann and Whitney 1947.
    """
    if len(first) != len(second):
        raise ValueError(f"both methods need the same tasks, not {len(first)} and {len(second)}")

    def probability(tasks: Sequence[Scores]) -> Scores:
        ones, others = tasks[: len(first)], tasks[len(first) :]
        return np.mean([_wins(one, other) for one, other in zip(ones, others, strict=True)], axis=0)

    low, high = stratified_ci95([*first, *second], probability, seed, resamples)
    return float(probability(tasks_of([*first, *second]))), float(low), float(high)


def optimality_gap(
    scores: Sequence[ArrayLike], gamma: float = 1.0, seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """By how much runs fall short of gamma on average; what is above it makes up for nothing.

    scores: for each task [N_t], normalised; with gamma = 1 it is what is missing to the teacher. Gives (gap, low, high).
    ValueError where there is no task, or one is empty or not flat. Agarwal et al. 2021, 2108.13264, section 4.3.
    """

    def gap(tasks: Sequence[Scores]) -> Scores:
        return gamma - _over_tasks([np.minimum(task, gamma) for task in tasks])

    low, high = stratified_ci95(scores, gap, seed, resamples)
    return float(gap(tasks_of(scores))), float(low), float(high)


def area_under_curve(steps: ArrayLike, values: ArrayLike) -> float:
    """The mean height of a learning curve: its area by the trapezoid rule, divided by the span of its steps.

    steps [N], rising; values [N] of any unit. Gives a number in the unit of the values; of a single point its value.
    ValueError where the two are not equally long, empty or not flat, or steps do not rise.
    """
    at, heights = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    if at.ndim != 1 or at.size == 0 or at.shape != heights.shape:
        raise ValueError(f"a curve needs as many steps as values, not {at.shape} and {heights.shape}")
    if not (np.diff(at) > 0).all():
        raise ValueError("the steps of a curve must rise")
    return float(np.trapezoid(heights, at) / (at[-1] - at[0])) if at.size > 1 else float(heights[0])


def _over_tasks(tasks: Sequence[Scores]) -> Scores:
    """The mean over the tasks of the mean over each task's runs; tasks [..., N_t]."""
    return np.mean([task.mean(axis=-1) for task in tasks], axis=0)


def _truth(said: NDArray[np.bool_], of: Scores) -> Scores:
    """1 and 0 for what is true and false, NaN for what was said of NaN."""
    return np.where(np.isnan(of), np.nan, said)


def _wins(one: Scores, other: Scores) -> Scores:
    """The share of pairs of runs in which `one` [..., N] is above `other` [..., M], ties being half."""
    ahead = one[..., :, None] - other[..., None, :]
    return ((np.sign(ahead) + 1) / 2).mean(axis=(-2, -1))
