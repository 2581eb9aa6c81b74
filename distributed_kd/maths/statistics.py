"""What is said of scores: a share of the teacher's, an interval, a robust mean. How they are measured lives elsewhere.

What is told of methods beside each other (profiles, who is better how often, what is missing) is in `performance.py`.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

QUARTILE = 0.25


def _sample(values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"a sample is a list of at least one number, not an array of shape {sample.shape}")
    return sample


def normalised_score(student: float, random: float, teacher: float) -> float:
    """How far the student has come from the random policy (0) to the teacher (1).

    All three are mean returns on the same evaluation seeds, of either sign. Gives (student - random) /
    (teacher - random), NaN where the teacher is as good as random. Raises nothing. Mnih et al. 2015, with the teacher
    in the human's place.
    """
    if teacher == random:
        return float("nan")
    return float((student - random) / (teacher - random))


def bootstrap_ci95(values: ArrayLike, seed: int = 0, resamples: int = 2000) -> tuple[float, float]:
    """The 95 % interval of the mean: the 2.5th and 97.5th percentile of the means of resamples.

    values [N] of any unit; the same seed gives the same interval. Gives (low, high) in that unit; a single value v
    gives (v, v). ValueError where values is empty or not flat. Efron 1979.
    """
    low, high = np.percentile(_resampled(_sample(values), seed, resamples).mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of what is left when a quarter of the values is cut off at each end.

    values [N] of any unit; N // 4 are cut at each end, so below four values it is the plain mean. ValueError where
    values is empty or not flat. Agarwal et al. 2021, 2108.13264.
    """
    return float(stats.trim_mean(_sample(values), QUARTILE))


def interquartile_ci95(values: ArrayLike, seed: int = 0, resamples: int = 2000) -> tuple[float, float]:
    """The 95 % interval of the interquartile mean, by the same bootstrap as `bootstrap_ci95`.

    values [N] of any unit. Gives (low, high) in that unit. ValueError where values is empty or not flat. Agarwal et al.
    2021, 2108.13264.
    """
    means = stats.trim_mean(_resampled(_sample(values), seed, resamples), QUARTILE, axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def stratified_ci95(
    scores: Sequence[ArrayLike],
    aggregate: Callable[[Sequence[NDArray[np.float64]]], NDArray[np.float64]],
    seed: int = 0,
    resamples: int = 2000,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of any aggregate over tasks, by the stratified bootstrap.

    scores: for each task [N_t], normalised, so that tasks can stand together; N_t may differ. A resample draws each task's
    runs among themselves, so a task that is harder than another is no spread. `aggregate` takes the tasks, each [R, N_t],
    where a row is one resample, and gives [R], or [R, T] for T numbers at once. Gives (low, high), numbers or [T].
    ValueError where there is no task, or one is empty or not flat. Agarwal et al. 2021, 2108.13264.
    """
    samples = tasks_of(scores)
    draws = np.random.default_rng(seed).spawn(len(samples))
    drawn = [sample[draw.integers(sample.size, size=(resamples, sample.size))]
             for sample, draw in zip(samples, draws, strict=True)]  # fmt: skip
    low, high = np.percentile(aggregate(drawn), (2.5, 97.5), axis=0)
    return low, high


def tasks_of(scores: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    """The runs' scores of each task as an array; ValueError where there is no task, or one is empty or not flat."""
    if not len(scores):
        raise ValueError("what is told over tasks needs at least one task")
    return [_sample(task) for task in scores]


def interquartile_over_tasks(
    scores: Sequence[ArrayLike], seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """The interquartile mean over all runs of several tasks, and its 95 % interval as in `stratified_ci95`.

    scores: for each task [N_t], normalised. Gives (mean, low, high). ValueError where there is no task, or one is empty or
    not flat. Agarwal et al. 2021, 2108.13264.
    """

    def pooled(tasks: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        return stats.trim_mean(np.concatenate(tasks, axis=-1), QUARTILE, axis=-1)

    low, high = stratified_ci95(scores, pooled, seed, resamples)
    return float(pooled(tasks_of(scores))), float(low), float(high)


def paired_difference(
    first: ArrayLike, second: ArrayLike, seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """By how much the first is above the second where both were measured in the same runs: what runs share drops out.

    first, second [N] of any unit, entry i of both from the same run. Gives (difference, low, high): the interquartile mean
    of the N differences and its 95 % interval, pairs being drawn whole. ValueError where the two are not equally long, empty
    or not flat. Efron 1979; Agarwal et al. 2021, 2108.13264.
    """
    one, other = _sample(first), _sample(second)
    if one.shape != other.shape:
        raise ValueError(f"pairs need as many numbers on both sides, not {one.size} and {other.size}")
    differences = one - other
    return interquartile_mean(differences), *interquartile_ci95(differences, seed, resamples)


def _resampled(sample: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """`resamples` rows of as many values as there are, drawn from the sample with replacement."""
    drawn = np.random.default_rng(seed).integers(sample.size, size=(resamples, sample.size))
    return sample[drawn]
