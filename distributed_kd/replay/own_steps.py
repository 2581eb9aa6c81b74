"""Which rows of the replay's ring are the newest steps of one policy. The rows themselves stand in `replay`."""

import zlib

import numpy as np
from numpy.typing import NDArray

from distributed_kd.records import State


class OwnSteps:
    """The newest steps of one student, as rows of the ring, and a random stream of its own that draws from them.

    So what is drawn here changes nothing in what the replay draws for all, nor do other students' steps.
    """

    def __init__(self, name: str, policy: int, newest: int, ring: int, seed: np.random.SeedSequence):
        """`policy` is the student's number, `newest` how many steps are remembered, `ring` the rows of the replay."""
        self._policy, self._newest, self._ring = policy, newest, ring
        self._rows = np.empty(0, np.int64)  # oldest first
        # The name's child of the seed, whichever other students there are; `spawn` would count them.
        child = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, zlib.crc32(name.encode())))
        self._random = np.random.default_rng(child)

    def follow(self, head: int, policy: NDArray[np.int16], cut: NDArray[np.int64]) -> None:
        """Forget the rows that a segment overwrites from `head` on, and those in `cut`; remember its own.

        policy [R], of its rows; cut: the rows behind them whose steps can no longer be drawn.
        """
        held = self._rows[(self._rows - head) % self._ring >= len(policy)]
        held = held[~np.isin(held, cut)]
        new = (head + np.flatnonzero(policy == self._policy)) % self._ring
        self._rows = np.concatenate([held, new])[-self._newest :]

    def __len__(self) -> int:
        """Steps remembered."""
        return len(self._rows)

    def draw(self, count: int) -> NDArray[np.int64] | None:
        """Rows [count], uniformly with replacement, or None where none are remembered."""
        if not len(self._rows):
            return None
        return self._rows[self._random.integers(0, len(self._rows), count)]

    def state(self) -> State:
        return {"rows": self._rows.copy(), "random": self._random.bit_generator.state}

    def restore(self, state: State) -> None:
        self._rows = state["rows"].copy()
        self._random.bit_generator.state = state["random"]
