"""What is said of scores: a share of the teacher's, an interval, a robust mean. How they are measured lives elsewhere."""

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
    sample = _sample(values)
    drawn = np.random.default_rng(seed).integers(sample.size, size=(resamples, sample.size))
    low, high = np.percentile(sample[drawn].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of what is left when a quarter of the values is cut off at each end.

    values [N] of any unit; N // 4 are cut at each end, so below four values it is the plain mean. ValueError where
    values is empty or not flat. Agarwal et al. 2021, 2108.13264.
    """
    return float(stats.trim_mean(_sample(values), QUARTILE))
