"""Whether an exported file gives what its policy gives, and how far apart the two are."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distributed_kd.exports.states import BATCH

TOLERANCE = 1e-5
"""Of outputs, as a share of a state's scale; a float32 has 7 digits, of which sums over many numbers cost one or two"""

Outputs = Callable[[NDArray], NDArray[np.float32]]


@dataclass(frozen=True)
class Parity:
    """Outputs of a file beside those of its policy, over N states."""

    states: int
    largest_difference: float
    """between two outputs"""
    largest_share: float
    """the same, as a share of the state's scale"""
    other_actions: int
    """states with another best action, ties left out"""
    ties: int
    """states whose two best outputs lie within TOLERANCE of each other, so that rounding may decide between them"""
    agreement: float
    """share of all states with the same best action"""


def outputs_of(act: Outputs, observations: NDArray) -> NDArray[np.float32]:
    """[N, *input_shape] -> [N, A], BATCH by BATCH."""
    batches = [act(observations[start : start + BATCH]) for start in range(0, len(observations), BATCH)]
    return np.concatenate(batches)


def compare(policy: NDArray[np.float32], file: NDArray[np.float32]) -> Parity:
    """Outputs [N, A] of a policy and of the file that was made of it.

    A state's scale is its largest |output|, but at least the median of those over all states, and 1: what rounding costs
    grows with the numbers that were added, which may cancel in one state.
    """
    policy, file = policy.astype(np.float64), file.astype(np.float64)
    largest = np.abs(policy).max(1)
    scale = np.maximum(largest, max(float(np.median(largest)), 1.0))
    apart = np.abs(policy - file).max(1)
    best = np.sort(policy, axis=1)
    is_tie = best[:, -1] - best[:, -2] <= TOLERANCE * scale
    differ = policy.argmax(1) != file.argmax(1)
    return Parity(
        len(policy), float(apart.max()), float((apart / scale).max()), int((differ & ~is_tie).sum()),
        int(is_tie.sum()), float(1 - differ.mean()),
    )  # fmt: skip
