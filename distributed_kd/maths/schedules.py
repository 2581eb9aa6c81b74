"""Numbers that change over a run or over lanes. Who holds the progress of a run lives elsewhere."""

import numpy as np
from numpy.typing import NDArray


def linear(start: float, end: float, fraction: float, progress: float) -> float:
    """The value that moves in a straight line from start to end over the first share of a run, and stays there.

    progress is the share of the run that is done, from 0; fraction the share over which the value moves, from 0 to 1;
    0 means end at once. Gives a value between start and end, in their unit. Raises nothing. Mnih et al. 2015 (epsilon).
    """
    if fraction <= 0.0 or progress >= fraction:
        return float(end)
    moved = progress / fraction
    value = (1.0 - moved) * start + moved * end
    # Rounding may carry the sum a last digit past either end; so does a progress below 0 carry it past start.
    return float(min(max(value, min(start, end)), max(start, end)))


def epsilon_ladder(epsilon: float, rung: NDArray[np.float64], ladder: float) -> NDArray[np.float64]:
    """Each lane's share of random actions: epsilon ** (1 + ladder * rung).

    epsilon from 0 to 1, that of the most curious lane; rung [N], i / (N - 1) for lane i of N; ladder at least 0, where 0
    makes all lanes alike. Gives [N]. Ape-X: Horgan et al. 2018, 1803.00933.
    """
    return epsilon ** (1.0 + ladder * rung)
