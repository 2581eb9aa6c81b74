"""The replay: a ring of rows written by slices, from which n-step transitions are gathered when they are drawn."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from distributed_kd.maths.temporal_difference import n_step
from distributed_kd.records import Batch, EnvSpec, Receipt, Segment, State
from distributed_kd.replay.own_steps import OwnSteps
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.segments import Ledger

OWN_BATCHES = 4
"""Batches of a student's own newest steps that are remembered: few, so that they are nearly its policy of now"""


class Replay:
    """Rows of segments, one behind the other, oldest overwritten first; only rows that are steps are drawn.

    Since every segment ends with a row that is no step, a walk along n steps never runs into the newest rows' edge, nor over
    the end of an episode. Owns the counts of inserts, evictions and samples.

    `own` names the students that learn from their own lanes, with their policy numbers: beside what is drawn for all they
    are given batches of their own newest steps.
    """

    def __init__(
        self,
        spec: EnvSpec,
        capacity: int,
        n_step: int,
        pace: Pace,
        seed: np.random.SeedSequence,
        own: Mapping[str, int] = {},
    ):
        self._capacity = capacity
        self._n_step = n_step
        self._pace = pace
        self._random = np.random.default_rng(seed)
        self._rows = {
            "observation": np.zeros((capacity, *spec.observation_shape), spec.observation_dtype),
            "action": np.zeros(capacity, np.int64),
            "reward": np.zeros(capacity, np.float32),
            "discount": np.zeros(capacity, np.float32),
            "is_step": np.zeros(capacity, np.bool_),
            "policy": np.full(capacity, -1, np.int16),
            "version": np.full(capacity, -1, np.int64),
            "probability": np.zeros(capacity, np.float32),
        }
        newest = OWN_BATCHES * pace.batch_size
        self._own = {name: OwnSteps(name, policy, newest, capacity, seed) for name, policy in own.items()}
        self._head = 0  # the row written next
        self._filled = 0  # rows written at least once
        self._ledger = Ledger()
        self._inserted = self._evicted = self._sampled = 0

    def receipt(self) -> Receipt:
        """The counts now; `size` is counted in the ring itself, not derived from the others."""
        return Receipt(
            inserted=self._inserted,
            evicted=self._evicted,
            size=int(np.count_nonzero(self._rows["is_step"])),
            sampled=self._sampled,
            insert_limit=self._pace.insert_limit(self._sampled),
            dropped=dict(self._ledger.dropped),
        )

    def add(self, segment: Segment) -> Receipt:
        """Copy a segment's rows into the ring, unless it was seen before.

        Raises ValueError where it is malformed or longer than the ring.
        """
        segment.check_valid()
        rows, shape = len(segment.observation), self._rows["observation"].shape[1:]
        if segment.observation.shape[1:] != shape:
            raise ValueError(f"a segment's observations of {segment.observation.shape[1:]} do not fit those of {shape}")
        if rows > self._capacity:
            raise ValueError(f"a segment of {rows} rows does not fit a replay of {self._capacity}")
        if not self._ledger.accept(segment):
            return self.receipt()
        before_end = min(rows, self._capacity - self._head)
        for ring, part in (
            (slice(self._head, self._head + before_end), slice(0, before_end)),
            (slice(0, rows - before_end), slice(before_end, rows)),
        ):
            self._evicted += int(np.count_nonzero(self._rows["is_step"][ring]))
            for name, column in self._rows.items():
                column[ring] = getattr(segment, name)[part]
        for own in self._own.values():
            own.follow(self._head, segment.policy)
        self._head = (self._head + rows) % self._capacity
        self._filled = min(self._filled + rows, self._capacity)
        self._inserted += segment.steps
        return self.receipt()

    def sample(self, batches: int) -> tuple[Batch | None, Receipt]:
        """Draw as many batches as asked for and as the pace allows: arrays [K, B, ...], or None where it allows none.

        As many of their own go to each student that learns from its own lanes, once a batch of its steps is there. The pace
        is that of the draws for all: a student's own are not counted in `sampled`.
        """
        allowed = min(batches, self._pace.batches(self._inserted, self._sampled))
        if allowed <= 0:
            return None, self.receipt()
        starts = self._draw(allowed * self._pace.batch_size)
        self._sampled += len(starts)
        drawn = {name: own.draw(allowed, self._pace.batch_size) for name, own in self._own.items()}
        own = {name: self._gather(theirs, {}) for name, theirs in drawn.items() if theirs is not None}
        return self._gather(starts, own), self.receipt()

    def _gather(self, starts: NDArray[np.int64], own: Mapping[str, Batch]) -> Batch:
        """The n-step transitions from these rows [K * B], stacked as batches [K, B, ...]."""
        rows = self._rows
        n_step_return, discount, offset = n_step(rows["reward"], rows["discount"], rows["is_step"], starts, self._n_step)

        def stacked(values: NDArray) -> NDArray:
            return values.reshape(-1, self._pace.batch_size, *values.shape[1:])

        return Batch(
            observation=stacked(rows["observation"][starts]),
            action=stacked(rows["action"][starts]),
            n_step_return=stacked(n_step_return),
            discount=stacked(discount),
            next_observation=stacked(rows["observation"][(starts + offset) % self._capacity]),
            probability=stacked(rows["probability"][starts]),
            own=own,
        )

    def _draw(self, count: int) -> NDArray[np.int64]:
        """Rows drawn uniformly, with replacement, from those that are steps."""
        drawn = self._random.integers(0, self._filled, count)
        while True:
            wrong = np.flatnonzero(~self._rows["is_step"][drawn])
            if not len(wrong):
                return drawn
            drawn[wrong] = self._random.integers(0, self._filled, len(wrong))

    def state(self) -> State:
        """All rows written so far and all counts."""
        return {
            "rows": {name: column[: self._filled].copy() for name, column in self._rows.items()},
            "head": self._head,
            "counts": {"inserted": self._inserted, "evicted": self._evicted, "sampled": self._sampled},
            "ledger": self._ledger.state(),
            "random": self._random.bit_generator.state,
            "own": {name: own.state() for name, own in self._own.items()},
        }

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises ValueError where its rows do not fit this ring."""
        rows = state["rows"]
        filled = len(rows["is_step"])
        if filled > self._capacity or rows["observation"].shape[1:] != self._rows["observation"].shape[1:]:
            raise ValueError(f"{filled} rows {rows['observation'].shape[1:]} do not fit this replay of {self._capacity}")
        if filled < self._capacity and state["head"] != filled:
            raise ValueError(f"a full ring of {filled} rows does not fit this replay of {self._capacity}")
        for name, column in self._rows.items():
            column[:filled] = rows[name]
        self._head, self._filled = state["head"], filled
        counts = state["counts"]
        self._inserted, self._evicted, self._sampled = counts["inserted"], counts["evicted"], counts["sampled"]
        self._ledger.restore(state["ledger"])
        self._random.bit_generator.state = state["random"]
        for name, own in self._own.items():
            if name in state["own"]:  # a student that the run did not have begins with nothing
                own.restore(state["own"][name])
