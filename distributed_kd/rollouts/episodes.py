"""The account of the episodes in each lane: what those under way have brought so far, and what those that end came to."""

import numpy as np
from numpy.typing import NDArray

from distributed_kd.records import State


class Episodes:
    """Return and length so far of the episode in each of N lanes."""

    def __init__(self, lanes: int):
        self._return = np.zeros(lanes)
        self._length = np.zeros(lanes, np.int64)

    def over(
        self, reward: NDArray[np.float64], ended: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Take in T steps of all lanes: reward and ended [T, N].

        Gives lane, return and length [E] of each episode that ended in them, in the order of `np.nonzero(ended)`.
        """
        step, lane = np.nonzero(ended)
        if not len(lane):
            self._return += reward.sum(0)
            self._length += len(reward)
            return lane, np.empty(0), np.empty(0, np.int64)
        # As if no episode had ended; what the lane had come to at the end before is then taken off.
        returns = np.cumsum(reward, 0) + self._return
        by_lane = np.argsort(lane, kind="stable")
        ends, at = lane[by_lane], step[by_lane]
        gained, taken = returns[at, ends], at + 1 + self._length[ends]
        is_first = np.append(True, ends[1:] != ends[:-1])
        episode_return, episode_length = np.empty(len(lane)), np.empty(len(lane), np.int64)
        episode_return[by_lane] = gained - np.where(is_first, 0.0, np.roll(gained, 1))
        episode_length[by_lane] = taken - np.where(is_first, 0, np.roll(taken, 1))
        is_last = np.append(is_first[1:], True)
        self._return = returns[-1]
        self._return[ends[is_last]] -= gained[is_last]
        self._length += len(reward)
        self._length[ends[is_last]] -= taken[is_last]
        return lane, episode_return, episode_length

    def state(self) -> State:
        return {"return": self._return.copy(), "length": self._length.copy()}

    def restore(self, state: State) -> None:
        self._return, self._length = state["return"].copy(), state["length"].copy()
