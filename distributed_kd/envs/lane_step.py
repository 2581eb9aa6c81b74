"""What lanes of environments give: one step of all of them, and what every kind of lanes can do."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distributed_kd.records import Fault, State


@dataclass(frozen=True)
class LaneStep:
    """One step of N lanes.

    observation [N, *shape]: what to act on next; after [N, *shape]: what the step led to, the true final observation where
    the episode ended (equal to `observation` elsewhere); reward [N]; terminated, truncated [N] bool.
    A lane whose environment failed in this step stands in `faults`: it is truncated, its `after` and reward mean nothing.
    """

    observation: NDArray
    after: NDArray
    reward: NDArray
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    faults: tuple[Fault, ...] = ()


class Lanes(Protocol):
    def reset(self) -> NDArray:
        """Begin an episode in every lane: observations [N, *shape]."""

    def step(self, action: NDArray[np.int64]) -> LaneStep:
        """Step all lanes with actions [N] counted from 0."""

    def state(self) -> State:
        """All that decides the lanes' future; nothing where they cannot be repeated."""

    def restore(self, state: State) -> NDArray:
        """Go on from `state`: the observations [N, *shape] that stood when it was taken; new episodes where it is empty."""

    def close(self) -> None: ...
