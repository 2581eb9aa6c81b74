"""Operations on places in memory that stay, made ready once and then called again and again.

A small network's product takes less time than PyTorch needs to begin it. On a processor, NumPy does the small ones in the
same memory; the large ones, and all on a GPU, are PyTorch's.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

ONE_THREAD = 2**18
"""Multiplications in one product up to which OpenBLAS, which NumPy uses, keeps to one thread. Beyond them it wakes one for
each core and waits for all: where the cores are busy, 16 microseconds become milliseconds."""
FEW_NUMBERS = 8192
"""Numbers up to which NumPy is done with them before PyTorch has begun"""
ZERO = np.float32(0)

Call = Callable[[], object]


def do(calls: Sequence[Call]) -> None:
    """One after the other. Of numbers that are not finite NumPy says no more than PyTorch does: nothing."""
    with np.errstate(all="ignore"):
        for call in calls:
            call()


def by_numpy(*places: Tensor) -> bool:
    """Whether these lie where NumPy can reach them."""
    return all(place.device.type == "cpu" for place in places)


def product(left: Tensor, right: Tensor, out: Tensor) -> Call:
    """out[..., N, M] = left[..., N, P] @ right[..., P, M], of one matrix or of several; `right` may be the same for all."""
    if by_numpy(left, right, out) and out.shape[-2] * left.shape[-1] * out.shape[-1] <= ONE_THREAD:
        # `dot` costs less to call, and can write into whole arrays only.
        times = np.dot if out.ndim == 2 and out.is_contiguous() else np.matmul
        return partial(times, left.numpy(), right.numpy(), out.numpy())
    if out.ndim == 2:
        return partial(torch.mm, left, right, out=out)
    return partial(torch.bmm, left, right.expand(len(out), -1, -1), out=out)


def rectified(features: Tensor) -> Call:
    """ReLU in place."""
    if by_numpy(features) and features.numel() <= FEW_NUMBERS:
        numbers = features.numpy()
        return partial(np.maximum, numbers, ZERO, out=numbers)
    return partial(torch.relu_, features)


def gated(gradient: Tensor, features: Tensor) -> Call:
    """The way back through a ReLU that gave `features`: no gradient where these are 0."""
    if by_numpy(gradient, features) and features.numel() <= FEW_NUMBERS:
        numbers, gave = gradient.numpy(), features.numpy()
        passes = np.empty(gave.shape, bool)

        def gate() -> None:
            np.greater(gave, ZERO, out=passes)
            np.multiply(numbers, passes, out=numbers)

        return gate
    return partial(torch.ops.aten.threshold_backward.grad_input, gradient, features, 0, grad_input=gradient)
