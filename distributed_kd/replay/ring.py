"""The rows of the replay: written by slices, read as n-step transitions whose frames are stacked when they are read."""

import numpy as np
from numpy.typing import NDArray

from distributed_kd.errors import InternalError
from distributed_kd.maths.n_step import n_step
from distributed_kd.records import EnvSpec, Segment, State


class Ring:
    """Rows of segments one behind the other, the oldest overwritten first. A row's number counts all rows ever written.

    So a number tells which life of a slot it means: `slot = number % capacity`, and whatever was overwritten has a number
    below `written - capacity`. `steps` counts the rows that are steps, as they are written and overwritten.
    """

    def __init__(self, spec: EnvSpec, capacity: int):
        self.capacity, self._stack = capacity, spec.frame_stack
        self.written = self.steps = 0
        self.rows = {
            "observation": np.zeros((capacity, *spec.observation_shape), spec.observation_dtype),
            "action": np.zeros(capacity, np.int64),
            "reward": np.zeros(capacity, np.float32),
            "discount": np.zeros(capacity, np.float32),
            "is_step": np.zeros(capacity, np.bool_),
            "begins": np.zeros(capacity, np.bool_),
            "policy": np.full(capacity, -1, np.int16),
            "version": np.full(capacity, -1, np.int64),
            "probability": np.zeros(capacity, np.float32),
        }

    @property
    def nbytes(self) -> int:
        """Memory of all rows."""
        return sum(column.nbytes for column in self.rows.values())

    @property
    def filled(self) -> int:
        """Slots written at least once."""
        return min(self.written, self.capacity)

    def write(self, segment: Segment) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Copy a segment's rows over the oldest ones.

        Gives the slots written [R], the slots behind them whose steps can no longer be drawn, since the frames that they
        stack are overwritten (at most frame_stack - 1), and how many steps there are fewer, both taken together.
        """
        rows, head = len(segment.observation), self.written % self.capacity
        before_end = min(rows, self.capacity - head)
        evicted = 0
        for ring, part in (
            (slice(head, head + before_end), slice(0, before_end)),
            (slice(0, rows - before_end), slice(before_end, rows)),
        ):
            evicted += int(np.count_nonzero(self.rows["is_step"][ring]))
            for name, column in self.rows.items():
                column[ring] = getattr(segment, name)[part]
        self.written += rows
        cut = self._cut()
        evicted += len(cut)
        self.steps += segment.steps - evicted
        return (head + np.arange(rows)) % self.capacity, cut, evicted

    def _cut(self) -> NDArray[np.int64]:
        """Let no stack reach over the seam between the newest row and the oldest."""
        if self._stack == 1 or self.written < self.capacity:
            return np.empty(0, np.int64)
        is_step = self.rows["is_step"]
        oldest = (self.written + np.arange(self._stack - 1)) % self.capacity
        whole = np.flatnonzero(self.rows["begins"][oldest])
        cut = oldest[: whole[0]] if len(whole) else oldest
        cut = cut[is_step[cut]]
        is_step[cut] = False  # it stays as a frame of the steps behind it
        return cut

    def number(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the rows that stand in these slots now."""
        newest = self.written - 1
        return newest - (newest - slots) % self.capacity

    def is_there(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the rows of these numbers still stand, and are steps that can be drawn."""
        # A ring that was restored has not yet given all the numbers that the one before it gave.
        held = (numbers >= self.written - self.capacity) & (numbers < self.written)
        return held & self.rows["is_step"].take(numbers % self.capacity)

    def transitions(self, slots: NDArray[np.int64], n: int, reward_clip: float) -> dict[str, NDArray]:
        """The n-step transitions from these slots [M], all of them steps: arrays [M, ...] named as in `records.Batch`.

        Rewards are stored as they came; here they are cut to [-reward_clip, reward_clip], where that is not 0.
        """
        rows = self.rows
        n_step_return, discount, offset = n_step(
            rows["reward"], rows["discount"], rows["is_step"], slots, n, reward_clip or np.inf
        )
        return {
            "observation": self.stacked(slots),
            "action": rows["action"].take(slots),
            "n_step_return": n_step_return,
            "discount": discount,
            "next_observation": self.stacked((slots + offset) % self.capacity),
            "probability": rows["probability"].take(slots),
            "row": self.number(slots),
        }

    def stacked(self, slots: NDArray[np.int64]) -> NDArray:
        """What a network sees in these slots [M]: [M, *input_shape].

        The first observation of an episode stands for those that would come before it.
        """
        observation = self.rows["observation"]
        if self._stack == 1:
            return observation.take(slots, axis=0)  # a sixth of the time of observation[slots] where rows are short
        places = np.empty((len(slots), self._stack), np.int64)
        places[:, -1] = here = slots
        for age in range(1, self._stack):
            here = np.where(self.rows["begins"].take(here), here, (here - 1) % self.capacity)
            places[:, -1 - age] = here
        return observation.take(places, axis=0)

    def state(self) -> State:
        """All rows written so far, as views: a replay of images may be most of a machine's memory, and none is copied.

        Whoever keeps them while more is written copies them. Raises InternalError where fewer or more of them are steps than
        were counted.
        """
        if (found := int(np.count_nonzero(self.rows["is_step"]))) != self.steps:
            raise InternalError(
                f"the replay's counts do not add up (size={self.steps}): {found} were found. Please report it"
            )
        return {"rows": {name: column[: self.filled] for name, column in self.rows.items()}, "written": self.written}

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises ValueError where its rows do not fit this ring."""
        rows, written = state["rows"], int(state["written"])
        filled, shape = len(rows["is_step"]), self.rows["observation"].shape[1:]
        if filled > self.capacity or rows["observation"].shape[1:] != shape:
            raise ValueError(f"{filled} rows {rows['observation'].shape[1:]} do not fit this replay of {self.capacity}")
        if filled != min(written, self.capacity):
            raise ValueError(f"a full ring of {filled} rows does not fit this replay of {self.capacity}")
        for name, column in self.rows.items():
            column[:filled] = rows[name]
        self.rows["is_step"][filled:] = False  # whatever stood there before
        self.written, self.steps = written, int(np.count_nonzero(rows["is_step"]))
