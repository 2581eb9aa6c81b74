"""The newest observations of each lane, stacked as a network sees them."""

import numpy as np
from numpy.typing import NDArray

from distributed_kd.records import EnvSpec, State


class Frames:
    """`frame_stack` observations of each of N lanes, the oldest first; an episode begins with its first one repeated."""

    def __init__(self, spec: EnvSpec, lanes: int):
        self._frames = np.zeros((lanes, spec.frame_stack, *spec.observation_shape), spec.observation_dtype)
        self._known = np.ones(lanes, np.int64)  # frames of the episode so far, those of the stack at most

    @property
    def newest(self) -> NDArray:
        """The last observation of each lane [N, *shape], as a view."""
        return self._frames[:, -1]

    @property
    def seen(self) -> NDArray:
        """What a network sees [N, *input_shape], as a view."""
        return self._frames if self._frames.shape[1] > 1 else self._frames[:, 0]

    @property
    def before(self) -> tuple[NDArray, NDArray[np.int64]]:
        """The frames before the newest [N, frame_stack - 1, *shape], and how many of them are of the episode [N]; copies."""
        return self._frames[:, :-1].copy(), self._known - 1

    def begin(self, observation: NDArray, lanes: NDArray | slice = slice(None)) -> None:
        """Start an episode in these lanes with observations [L, *shape]."""
        self._frames[lanes] = observation[:, None]
        self._known[lanes] = 1

    def push(self, observation: NDArray) -> None:
        """Take in one more observation of every lane [N, *shape]; a copy is kept."""
        if self._frames.shape[1] > 1:
            self._frames[:, :-1] = self._frames[:, 1:].copy()
            self._known = np.minimum(self._known + 1, self._frames.shape[1])
        self._frames[:, -1] = observation

    def state(self) -> State:
        return {"frames": self._frames.copy(), "known": self._known.copy()}

    def restore(self, state: State) -> None:
        self._frames[:] = state["frames"]
        self._known = state["known"].copy()
