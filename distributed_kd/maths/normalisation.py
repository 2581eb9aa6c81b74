"""Running mean and spread of observations, and observations seen by them. Who keeps them lives in `learning/`."""

import torch
from torch import Tensor

LEAST_DEVIATION = 1e-2
"""Standard deviation that is divided by at least: a number that hardly changes is not blown up"""
LARGEST = 10.0
"""What is seen lies in [-LARGEST, LARGEST]: in standard deviations"""


def merged(count: Tensor, mean: Tensor, squares: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and sum of squared deviations of what was seen before together with `values`.

    count 0-d, mean and squares [*shape], values [M, *shape] with M at least 1; all float64. AssertionError where shapes
    differ. Chan, Golub and LeVeque 1983.
    """
    assert mean.shape == squares.shape == values.shape[1:] and len(values), (mean.shape, squares.shape, values.shape)
    theirs = values.mean(0)
    total = count + len(values)
    apart = theirs - mean
    new_squares = squares + ((values - theirs) ** 2).sum(0) + apart**2 * (count * len(values) / total)
    return total, mean + apart * (len(values) / total), new_squares


def normalised(observation: Tensor, normal: Tensor) -> Tensor:
    """Observations [B, ..., *shape] less their mean and divided by their standard deviation, within LARGEST of 0.

    normal [2, *shape] float32: mean and standard deviation. Gives float32 of the same shape.
    """
    mean, deviation = normal
    return (observation.to(torch.float32) - mean).div_(deviation.clamp(min=LEAST_DEVIATION)).clamp_(-LARGEST, LARGEST)
