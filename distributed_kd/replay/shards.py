"""Several shards of a replay as one: what is drawn from each, and how batches, priorities and counts go together.

Nothing is held here but the shards' newest words on what they hold. Whoever draws asks all of them by it, in this process
(`replay`) or across processes; the steps themselves stand in `shard`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from distributed_kd.data_config import ReplayConfig
from distributed_kd.records import COLUMNS, Batch, Priorities, Receipt, State
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.shard import Request, Stock


class Tally:
    """The newest receipt of each shard, and their sum."""

    def __init__(self, receipts: Sequence[Receipt], pace: Pace):
        self._receipts, self._pace = list(receipts), pace

    def take(self, shard: int, receipt: Receipt) -> Receipt:
        """Take in one shard's receipt, unless a later one is known; gives the sum."""
        if receipt.order >= self._receipts[shard].order:
            self._receipts[shard] = receipt
        return self.total

    def take_all(self, total: Receipt) -> Receipt:
        """Take in every shard's receipt out of a sum that was made elsewhere."""
        for shard, receipt in enumerate(total.shards):
            self.take(shard, receipt)
        return self.total

    @property
    def total(self) -> Receipt:
        """The counts of all shards; how far inserting may run is told by the steps drawn from all of them."""
        receipts = self._receipts
        sampled = sum(one.sampled for one in receipts)
        return Receipt(
            inserted=sum(one.inserted for one in receipts),
            evicted=sum(one.evicted for one in receipts),
            size=sum(one.size for one in receipts),
            sampled=sampled,
            insert_limit=self._pace.insert_limit(sampled),
            dropped=dict(sum((Counter(one.dropped) for one in receipts), Counter())),
            prioritised=sum(one.prioritised for one in receipts),
            late_priorities=sum(one.late_priorities for one in receipts),
            shards=tuple(receipts),
        )


@dataclass(frozen=True)
class Dealt:
    """How the steps of K batches were dealt out to N shards: counts [K, N], and by which shares [N] of all there is.

    `own` and `students` [K, N] as in `Request`.
    """

    counts: NDArray[np.int64]
    shares: NDArray[np.float64]
    own: Mapping[str, NDArray[np.int64]]
    students: NDArray[np.int64] | None

    @property
    def requests(self) -> list[Request]:
        """What each shard is asked for."""
        return [
            Request(
                self.counts[:, shard],
                None if self.students is None else self.students[:, shard],
                {name: counts[:, shard] for name, counts in self.own.items()},
            )
            for shard in range(len(self.shares))
        ]


class Shards:
    """Deals draws out to shards in proportion to what they hold, so that their union is drawn from as one replay would be.

    What they hold is known from the newest word of each, which may be a moment old: the pace is kept all the same, since the
    steps inserted only grow in number, and `oversampling` tells with which probability each step was drawn indeed.

    A row's number in the union is number * shards + shard.
    """

    def __init__(self, stocks: Sequence[Stock], config: ReplayConfig, pace: Pace, seed: np.random.SeedSequence):
        """`stocks` are the shards' words now, with nothing under way; `seed` as the replay's."""
        self._stocks, self._config, self._pace, self._seed = list(stocks), config, pace, seed
        self._asked = sum(stock.receipt.sampled for stock in stocks)

    @property
    def receipt(self) -> Receipt:
        """The counts of all shards, as far as they are known."""
        return Tally([stock.receipt for stock in self._stocks], self._pace).total

    @property
    def written(self) -> int:
        """Rows ever written, as far as is known."""
        return sum(stock.written for stock in self._stocks)

    def take(self, stocks: Sequence[Stock]) -> None:
        """Take in the newest word of every shard."""
        self._stocks = list(stocks)

    def deal(self, batches: int) -> Dealt | None:
        """As many batches as asked for and as the pace allows, dealt out to the shards; None where it allows none.

        Batches of their own go to each student that learns from its own lanes, once a batch of its steps is there, and to
        all students where theirs are drawn apart. The pace is that of the draws for the teacher.
        """
        size, inserted = self._pace.batch_size, sum(stock.receipt.inserted for stock in self._stocks)
        allowed = min(batches, self._pace.batches(inserted, self._asked))
        if allowed <= 0:
            return None
        dealer = _Dealer(allowed, size, self._seed, self._asked)
        masses = np.array([stock.mass for stock in self._stocks])
        counts = dealer.by_parts(masses) if self._config.prioritized else dealer.each_alone(masses)
        own = {}
        for name in self._stocks[0].own:
            held = np.array([stock.own[name] for stock in self._stocks])
            if held.sum() >= size:
                own[name] = dealer.each_alone(held)
        students = None
        if self._config.students_apart:
            students = dealer.each_alone(np.array([stock.receipt.size for stock in self._stocks]))
        self._asked += allowed * size
        return Dealt(counts, masses / masses.sum(), own, students)

    def merge(self, dealt: Dealt, parts: Sequence[Batch]) -> Batch:
        """What the shards gave of what was dealt out, as batches [K, B, ...]. Take in their words after it before."""
        # A shard that got more than its share of the steps: each of its steps was as many times more likely.
        sizes = np.array([max(stock.receipt.size, 1) for stock in self._stocks])
        factor = (dealt.shares / (sizes / sizes.sum())).astype(np.float32)
        own = {}
        for name, counts in dealt.own.items():
            # A shard may have lost all that it held of a student's: then there is no batch of those.
            if all(name in part.own or not asked.any() for part, asked in zip(parts, counts.T, strict=True)):
                own[name] = self._merged(counts, [part.own.get(name) for part in parts])
        students = None if dealt.students is None else self._merged(dealt.students, [part.students for part in parts])
        return self._merged(dealt.counts, parts, factor, own, students)

    def _merged(
        self,
        counts: NDArray[np.int64],
        parts: Sequence[Batch | None],
        factor: NDArray[np.float32] | None = None,
        own: Mapping[str, Batch] = {},
        students: Batch | None = None,
    ) -> Batch:
        shape, shards = (len(counts), self._pace.batch_size), len(parts)
        if shards == 1:
            columns = [column.reshape(*shape, *column.shape[1:]) for column in parts[0].columns]
            return Batch(*columns, own=own, students=students)
        ends = counts.cumsum(axis=0)
        pieces = [
            (shard, slice(end - count, end))
            for batch, batch_ends in zip(counts.tolist(), ends.tolist(), strict=True)
            for shard, (count, end) in enumerate(zip(batch, batch_ends, strict=True))
            if count
        ]
        columns = {}
        for name in COLUMNS:
            given = [None if part is None else getattr(part, name) for part in parts]
            if name == "row":
                given = [None if one is None else one * shards + shard for shard, one in enumerate(given)]
            if name == "oversampling" and factor is not None:
                given = [one * times for one, times in zip(given, factor, strict=True)]
            column = np.concatenate([given[shard][piece] for shard, piece in pieces])
            columns[name] = column.reshape(*shape, *column.shape[1:])
        return Batch(**columns, own=own, students=students)

    def route(self, priorities: Priorities | None) -> list[Priorities | None]:
        """To each shard the priorities of its own rows, numbered as it numbers them; None where there are none."""
        shards = len(self._stocks)
        if priorities is None or shards == 1:
            return [priorities] * shards
        shard = priorities.row % shards
        theirs = [np.flatnonzero(shard == place) for place in range(shards)]
        return [
            Priorities(priorities.row[rows] // shards, priorities.priority[rows]) if len(rows) else None for rows in theirs
        ]


class _Dealer:
    """Deals K batches of B steps out to shards [K, N] in proportion to masses [N]; a shard without any is given none."""

    def __init__(self, batches: int, size: int, seed: np.random.SeedSequence, asked: int):
        """`asked` steps were dealt out before."""
        self._batches, self._size, self._seed, self._asked = batches, size, seed, asked

    @cached_property
    def _random(self) -> np.random.Generator:
        """A stream for these batches alone, named by the count of steps: there is none to keep beside the shards' own."""
        key = (*self._seed.spawn_key, 2, self._asked)
        return np.random.default_rng(np.random.SeedSequence(self._seed.entropy, spawn_key=key))

    def each_alone(self, masses: NDArray) -> NDArray[np.int64]:
        """Each step comes from a shard of its own choice: as many from each as uniform draws from the union would hit."""
        return self._dealt(masses, lambda shares: self._random.multinomial(self._size, shares, self._batches))

    def by_parts(self, masses: NDArray) -> NDArray[np.int64]:
        """One step from each of B equal parts of the sum of all masses, as prioritised draws from the union would be."""

        def deal(shares: NDArray) -> NDArray:
            parts = (np.arange(self._size) + self._random.random((self._batches, self._size))) / self._size
            before = [np.count_nonzero(parts < edge, axis=1) for edge in shares.cumsum()[:-1]]
            return np.diff(np.stack(before, axis=1), axis=1, prepend=0, append=self._size)

        return self._dealt(masses, deal)

    def _dealt(self, masses: NDArray, deal: Callable[[NDArray], NDArray]) -> NDArray[np.int64]:
        """`deal` gives counts by the shares of the shards that have any; where there is one, no number is drawn."""
        counts = np.zeros((self._batches, len(masses)), np.int64)
        there = np.flatnonzero(masses > 0)
        if len(there) == 1:
            counts[:, there] = self._size
        else:
            counts[:, there] = deal(masses[there] / masses[there].sum())
        return counts


def in_one(states: Sequence[State]) -> State:
    """The shards' states as that of the replay; of one shard it is its own."""
    return states[0] if len(states) == 1 else {"shards": {str(shard): state for shard, state in enumerate(states)}}


def of_each(state: State) -> list[State]:
    """The states of the shards, out of that of the replay."""
    if "shards" not in state:
        return [state]
    return [state["shards"][str(shard)] for shard in range(len(state["shards"]))]
