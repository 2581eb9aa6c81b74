"""The replay: a ring of rows, what is drawn from it, and at what pace."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from distributed_kd.data_config import ReplayConfig
from distributed_kd.records import Batch, EnvSpec, Priorities, Receipt, Segment, State
from distributed_kd.replay.draws import Prioritised, Uniform
from distributed_kd.replay.own_steps import OwnSteps
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.ring import Ring
from distributed_kd.replay.segments import Ledger

OWN_BATCHES = 4
"""Batches of a student's own newest steps that are remembered: few, so that they are nearly its policy of now"""


class Replay:
    """Steps of all rollouts; only rows that are steps are drawn. Owns the counts of inserts, evictions and samples.

    Since every segment ends with a row that is no step, a walk along n steps never runs into the newest rows' edge, nor over
    the end of an episode.

    `own` names the students that learn from their own lanes, with their policy numbers: beside what is drawn for all they
    are given batches of their own newest steps.
    """

    def __init__(
        self,
        spec: EnvSpec,
        config: ReplayConfig,
        n_step: int,
        reward_clip: float,
        pace: Pace,
        seed: np.random.SeedSequence,
        own: Mapping[str, int] = {},
    ):
        """`reward_clip` as the teacher's; `pace` by which batches are given out."""
        self._n_step, self._reward_clip, self._pace = n_step, reward_clip, pace
        self._ring = Ring(spec, config.capacity)
        if config.prioritized:
            self._draws = Prioritised(self._ring, config.priority_exponent, seed)
        else:
            self._draws = Uniform(self._ring, seed)
        # A stream of its own, so that what the students are given changes nothing in what the teacher is.
        apart = config.prioritized and config.student_batches == "uniform"
        for_students = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 0))
        self._students = Uniform(self._ring, for_students) if apart else None
        newest = OWN_BATCHES * pace.batch_size
        self._own = {name: OwnSteps(name, policy, newest, config.capacity, seed) for name, policy in own.items()}
        self._ledger = Ledger()
        self._inserted = self._evicted = self._sampled = 0

    def receipt(self) -> Receipt:
        """The counts now; `size` is counted in the ring itself, not derived from the others."""
        return Receipt(
            inserted=self._inserted,
            evicted=self._evicted,
            size=self._ring.steps,
            sampled=self._sampled,
            insert_limit=self._pace.insert_limit(self._sampled),
            dropped=dict(self._ledger.dropped),
            prioritised=self._draws.prioritised,
            late_priorities=self._draws.late,
        )

    def add(self, segment: Segment) -> Receipt:
        """Copy a segment's rows into the ring, unless it was seen before.

        Raises ValueError where it is malformed or longer than the ring.
        """
        segment.check_valid()
        rows, shape = len(segment.observation), self._ring.rows["observation"].shape[1:]
        if segment.observation.shape[1:] != shape:
            raise ValueError(f"a segment's observations of {segment.observation.shape[1:]} do not fit those of {shape}")
        if rows > self._ring.capacity:
            raise ValueError(f"a segment of {rows} rows does not fit a replay of {self._ring.capacity}")
        if not self._ledger.accept(segment):
            return self.receipt()
        slots, cut, evicted = self._ring.write(segment)
        self._evicted += evicted
        self._draws.wrote(slots, cut)
        for own in self._own.values():
            own.follow(int(slots[0]), segment.policy, cut)
        self._inserted += segment.steps
        return self.receipt()

    def prioritise(self, priorities: Priorities) -> Receipt:
        """Take back what learning said of steps that were drawn; for those no longer there it is dropped, and counted."""
        self._draws.prioritise(priorities)
        return self.receipt()

    def sample(self, batches: int, priorities: Priorities | None = None) -> tuple[Batch | None, Receipt]:
        """Draw as many batches as asked for and as the pace allows: arrays [K, B, ...], or None where it allows none.

        `priorities` are taken in before. As many batches of their own go to each student that learns from its own lanes,
        once a batch of its steps is there, and to all students where theirs are drawn apart. The pace is that of the draws
        for the teacher: nothing else is counted in `sampled`.
        """
        if priorities is not None:
            self._draws.prioritise(priorities)
        size = self._pace.batch_size
        allowed = min(batches, self._pace.batches(self._inserted, self._sampled))
        if allowed <= 0:
            return None, self.receipt()
        slots, oversampling = self._draws.draw(allowed, size)
        self._sampled += len(slots)
        drawn = {name: own.draw(allowed, size) for name, own in self._own.items()}
        own = {name: self._gather(theirs) for name, theirs in drawn.items() if theirs is not None}
        students = self._gather(*self._students.draw(allowed, size)) if self._students else None
        return self._gather(slots, oversampling, own, students), self.receipt()

    def _gather(
        self,
        slots: NDArray[np.int64],
        oversampling: NDArray[np.float32] | None = None,
        own: Mapping[str, Batch] = {},
        students: Batch | None = None,
    ) -> Batch:
        """The n-step transitions from these slots [K * B], stacked as batches [K, B, ...]."""
        columns = self._ring.transitions(slots, self._n_step, self._reward_clip)
        columns["oversampling"] = np.ones(len(slots), np.float32) if oversampling is None else oversampling
        batches = {name: values.reshape(-1, self._pace.batch_size, *values.shape[1:]) for name, values in columns.items()}
        return Batch(**batches, own=own, students=students)

    def state(self) -> State:
        """All rows written so far and all counts."""
        return {
            **self._ring.state(),
            "counts": {"inserted": self._inserted, "evicted": self._evicted, "sampled": self._sampled},
            "ledger": self._ledger.state(),
            "draws": self._draws.state(),
            "students": self._students.state() if self._students else None,
            "own": {name: own.state() for name, own in self._own.items()},
        }

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises ValueError where its rows do not fit this ring."""
        self._ring.restore(state)
        counts = state["counts"]
        self._inserted, self._evicted, self._sampled = counts["inserted"], counts["evicted"], counts["sampled"]
        self._ledger.restore(state["ledger"])
        self._draws.restore(state["draws"])
        if self._students:
            self._students.restore(state["students"])
        for name, own in self._own.items():
            if name in state["own"]:  # a student that the run did not have begins with nothing
                own.restore(state["own"][name])
