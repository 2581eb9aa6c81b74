"""The n-step walk through a ring of rows. NumPy alone: a replay starts the sooner for not waiting for PyTorch."""

import numpy as np
from numpy.typing import NDArray


def n_step(
    reward: NDArray[np.float32],
    discount: NDArray[np.float32],
    is_step: NDArray[np.bool_],
    starts: NDArray[np.integer],
    n: int,
    clip: float = np.inf,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Sum the rewards of up to n steps from each start, within its episode.

    reward [S], discount [S] (gamma * (1 - terminated)) and is_step [S] are the rows of a ring: row S - 1 is followed by
    row 0. starts [B] are numbers of rows that are steps; n at least 1; each reward is cut to [-clip, clip]. A walk ends
    after n steps, before a row that is no step (its observation is the one to bootstrap from), or after one with discount 0.

    Gives n_step_return [B] float32 = sum_k (product of the discounts before step k) * reward_k, discount_product [B]
    float32 of all steps walked, and bootstrap_offset [B] int64, the steps walked: row (start + offset) % S holds the
    observation to bootstrap from. AssertionError where n is below 1, shapes differ or a start is no step.
    Sutton and Barto 2018, section 7.1.
    """
    assert n >= 1, n
    assert reward.ndim == 1 and reward.shape == discount.shape == is_step.shape, (reward.shape, discount.shape)
    assert is_step.take(starts).all(), "every start must be a step"
    rows = len(reward)
    # The first step is walked by all; `take` costs half of what an index does.
    n_step_return = reward.take(starts).clip(-clip, clip).astype(np.float64)
    discount_product = discount.take(starts).astype(np.float64)
    bootstrap_offset = np.ones(starts.shape, np.int64)
    # After a termination the next row belongs to another episode, whether it is a step or not.
    walking = discount_product != 0.0
    for k in range(1, n):
        row = (starts + k) % rows
        walking &= is_step.take(row)
        n_step_return += np.where(walking, discount_product * reward.take(row).clip(-clip, clip), 0.0)
        factor = discount.take(row)
        discount_product = np.where(walking, discount_product * factor, discount_product)
        bootstrap_offset += walking
        walking &= factor != 0.0
    return n_step_return.astype(np.float32), discount_product.astype(np.float32), bootstrap_offset
