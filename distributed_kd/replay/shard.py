"""One shard of the replay: a ring of rows and what is drawn from it. How much of a batch comes from here is told it.

A replay of one shard is that shard's alone; what several share, and at what pace, stands in `shards`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True)
class Stock:
    """What there is to draw from a shard, by which draws are dealt out to it, and its counts."""

    receipt: Receipt
    written: int
    """rows ever written"""
    mass: float
    """the sum that its draws are in proportion to: of priority ** exponent, or of its steps where all are alike"""
    own: Mapping[str, int] = field(default_factory=dict)
    """steps remembered of each student that learns from its own lanes"""


@dataclass(frozen=True)
class Request:
    """What one shard is to draw: how many steps of each of K batches, every array [K] int64."""

    counts: NDArray[np.int64]
    students: NDArray[np.int64] | None = None
    """uniformly, for the students, where theirs are drawn apart"""
    own: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """of the newest steps of students that learn from their own lanes"""


class Shard:
    """A part of the steps of all rollouts; only rows that are steps are drawn. Owns its counts.

    Since every segment ends with a row that is no step, a walk along n steps never runs into the newest rows' edge, nor over
    the end of an episode.
    """

    def __init__(
        self,
        place: int,
        spec: EnvSpec,
        config: ReplayConfig,
        n_step: int,
        reward_clip: float,
        pace: Pace,
        seed: np.random.SeedSequence,
        own: Mapping[str, int] = {},
    ):
        """The shard in that place of `config.shards`; all else is the replay's, as `Replay` takes it."""
        self._n_step, self._reward_clip = n_step, reward_clip
        shards = config.shards
        if shards > 1:  # a stream of each shard's own
            seed = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 1, place))
        self._ring = Ring(spec, config.capacity // shards + (place < config.capacity % shards))
        if config.prioritized:
            self.draws = Prioritised(self._ring, config.priority_exponent, seed)
        else:
            self.draws = Uniform(self._ring, seed)
        # A stream of its own, so that what the students are given changes nothing in what the teacher is.
        for_students = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 0))
        self._students = Uniform(self._ring, for_students) if config.students_apart else None
        newest = -(-OWN_BATCHES * pace.batch_size // shards)
        self._own = {name: OwnSteps(name, policy, newest, self._ring.capacity, seed) for name, policy in own.items()}
        self._ledger = Ledger(shards)
        self._inserted = self._evicted = self._sampled = 0

    @property
    def nbytes(self) -> int:
        """Memory of the rows and of what they are drawn by."""
        return self._ring.nbytes + self.draws.nbytes

    def receipt(self) -> Receipt:
        """The counts now; how far inserting may run is not a shard's to say."""
        return Receipt(
            inserted=self._inserted,
            evicted=self._evicted,
            size=self._ring.steps,
            sampled=self._sampled,
            insert_limit=0,
            dropped=dict(self._ledger.dropped),
            prioritised=self.draws.prioritised,
            late_priorities=self.draws.late,
        )

    def stock(self) -> Stock:
        """What there is to draw now."""
        own = {name: len(own) for name, own in self._own.items()}
        return Stock(self.receipt(), self._ring.written, self.draws.mass, own)

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
        self.draws.wrote(slots, cut)
        for own in self._own.values():
            own.follow(int(slots[0]), segment.policy, cut)
        self._inserted += segment.steps
        return self.receipt()

    def fence(self, actor: int, incarnation: int) -> None:
        """Accept nothing any more from the earlier incarnations of an actor."""
        self._ledger.fence(actor, incarnation)

    def prioritise(self, priorities: Priorities) -> None:
        """Take back what learning said of steps that were drawn; for those no longer there it is dropped, and counted."""
        self.draws.prioritise(priorities)

    def draw(self, request: Request) -> Batch:
        """The steps asked for, those of one batch behind those of the one before: arrays [M, ...].

        Rows are numbered as in this shard alone, and `oversampling` compares with uniform draws from it alone. Of a student
        whose own steps are all gone there are none.
        """
        drawn = {name: self._own[name].draw(int(counts.sum())) for name, counts in request.own.items()}
        own = {name: self._gather(slots) for name, slots in drawn.items() if slots is not None}
        students = None if request.students is None else self._gather(*self._students.draw(request.students))
        slots, oversampling = self.draws.draw(request.counts)
        self._sampled += len(slots)
        return self._gather(slots, oversampling, own, students)

    def _gather(
        self,
        slots: NDArray[np.int64],
        oversampling: NDArray[np.float32] | None = None,
        own: Mapping[str, Batch] = {},
        students: Batch | None = None,
    ) -> Batch:
        """The n-step transitions from these slots [M]."""
        columns = self._ring.transitions(slots, self._n_step, self._reward_clip)
        oversampling = np.ones(len(slots), np.float32) if oversampling is None else oversampling
        return Batch(**columns, oversampling=oversampling, own=own, students=students)

    def state(self) -> State:
        """All rows written so far and all counts."""
        return {
            **self._ring.state(),
            "counts": {"inserted": self._inserted, "evicted": self._evicted, "sampled": self._sampled},
            "ledger": self._ledger.state(),
            "draws": self.draws.state(),
            "students": self._students.state() if self._students else None,
            "own": {name: own.state() for name, own in self._own.items()},
        }

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises ValueError where its rows do not fit this ring."""
        self._ring.restore(state)
        counts = state["counts"]
        self._inserted, self._evicted, self._sampled = counts["inserted"], counts["evicted"], counts["sampled"]
        self._ledger.restore(state["ledger"])
        self.draws.restore(state["draws"])
        if self._students:
            self._students.restore(state["students"])
        for name, own in self._own.items():
            if name in state["own"]:  # a student that the run did not have begins with nothing
                own.restore(state["own"][name])
