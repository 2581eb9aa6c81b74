"""Which steps are drawn: all alike, or in proportion to their priorities."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from distributed_kd.records import Priorities, State
from distributed_kd.replay.ring import Ring
from distributed_kd.replay.sum_tree import SumTree


class Draws(Protocol):
    """A random stream that draws slots of the ring which hold steps. Owns the counts of the priorities it was given."""

    prioritised: int
    late: int

    @property
    def mass(self) -> float:
        """The sum that the draws are in proportion to."""

    @property
    def nbytes(self) -> int:
        """Memory of what is kept for each row."""

    def wrote(self, slots: NDArray[np.int64], cut: NDArray[np.int64]) -> None:
        """Take in that these slots were written, and that the steps in `cut` can no longer be drawn."""

    def draw(self, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """So many slots for each batch, counts [K], one batch behind the other and with replacement: [sum of counts].

        Beside them how many times as likely as uniformly each was drawn.
        """

    def prioritise(self, priorities: Priorities) -> None:
        """Take in what learning said of steps that were drawn before."""

    def state(self) -> State: ...

    def restore(self, state: State) -> None: ...


class Uniform:
    """Every step alike."""

    nbytes = 0

    def __init__(self, ring: Ring, seed: np.random.SeedSequence):
        self._ring, self._random = ring, np.random.default_rng(seed)
        self.prioritised = self.late = 0

    def wrote(self, slots: NDArray[np.int64], cut: NDArray[np.int64]) -> None:
        """The ring itself tells what is a step."""

    @property
    def mass(self) -> float:
        return float(self._ring.steps)

    def draw(self, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        count, filled = int(counts.sum()), self._ring.filled
        drawn = self._random.integers(0, filled, count) if count else np.empty(0, np.int64)
        while len(wrong := np.flatnonzero(~self._ring.rows["is_step"].take(drawn))):
            drawn[wrong] = self._random.integers(0, filled, len(wrong))
        return drawn, np.ones(count, np.float32)

    def prioritise(self, priorities: Priorities) -> None:
        """Nothing depends on them."""

    def state(self) -> State:
        return {"random": self._random.bit_generator.state}

    def restore(self, state: State) -> None:
        self._random.bit_generator.state = state["random"]


class Prioritised:
    """In proportion to priority ** exponent; a new step has the greatest priority so far, so that each is soon seen.

    Schaul et al. 2016, 1511.05952: proportional, one draw from each of B equal parts of the sum, for a batch of B steps.
    """

    def __init__(self, ring: Ring, exponent: float, seed: np.random.SeedSequence):
        self._ring, self._exponent, self._random = ring, exponent, np.random.default_rng(seed)
        self._tree = SumTree(ring.capacity)
        self._greatest = 1.0
        self.prioritised = self.late = 0

    def wrote(self, slots: NDArray[np.int64], cut: NDArray[np.int64]) -> None:
        new = np.where(self._ring.rows["is_step"][slots], self._greatest**self._exponent, 0.0)
        self._tree.set(slots, new)
        if len(cut):
            self._tree.set(cut, np.zeros(len(cut)))

    @property
    def mass(self) -> float:
        return self._tree.total

    @property
    def nbytes(self) -> int:
        return self._tree.nbytes

    def draw(self, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        total, count = self._tree.total, int(counts.sum())
        part = np.arange(count) - np.repeat(counts.cumsum() - counts, counts)
        masses = (part + self._random.random(count)) * np.repeat(total / np.maximum(counts, 1), counts)
        slots = self._tree.sample(np.minimum(masses, np.nextafter(total, 0.0)))
        mean = total / max(self._ring.steps, 1)
        return slots, (self._tree.values(slots) / mean).astype(np.float32)

    def prioritise(self, priorities: Priorities) -> None:
        there = self._ring.is_there(priorities.row)
        rows, values = priorities.row[there], priorities.priority[there].astype(np.float64)
        self.late += len(there) - len(rows)
        self.prioritised += len(rows)
        if len(rows):
            self._greatest = max(self._greatest, float(values.max()))
            self._tree.set(rows % self._ring.capacity, values**self._exponent)

    def state(self) -> State:
        return {
            "random": self._random.bit_generator.state,
            "priority": self._tree.values(np.arange(self._ring.filled)),
            "greatest": self._greatest,
            "prioritised": self.prioritised,
            "late": self.late,
        }

    def restore(self, state: State) -> None:
        self._random.bit_generator.state = state["random"]
        priority = np.zeros(self._ring.capacity)
        priority[: len(state["priority"])] = state["priority"]
        self._tree.set(np.arange(len(priority)), priority)
        self._greatest = state["greatest"]
        self.prioritised, self.late = state["prioritised"], state["late"]
