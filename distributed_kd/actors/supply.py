"""Batches for the learner, asked of the replay's shards ahead of time. What is dealt to whom, `replay.shards` says."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import ray
from ray.actor import ActorHandle

from distributed_kd.records import Batch, Priorities, Receipt
from distributed_kd.replay.shards import Dealt, Shards

Taken = TypeVar("Taken")
BATCHES_PER_REQUEST = 8
REQUESTS_IN_FLIGHT = 2


class Supply(Generic[Taken]):
    """Keeps requests for batches under way while the learner learns from those that have come."""

    def __init__(
        self,
        replays: Sequence[ActorHandle],
        shards: Shards,
        most: int,
        taken: Callable[[Batch], Sequence[Taken]] = Batch.split,
        came: Callable[[Dealt, Sequence[ray.ObjectRef]], None] = lambda dealt, drawn: None,
    ):
        """One actor for each of the shards; `most` batches are asked for in all.

        `taken` makes of batches that travelled together (arrays [K, B, ...]) the K that are given out; `came` is told what
        the shards gave of what was dealt out, as references that are ready.
        """
        self._replays, self._shards, self._left, self._taken, self._came = replays, shards, most, taken, came
        self._under_way: deque[tuple[Dealt, list[ray.ObjectRef]]] = deque()
        self._ready: deque[tuple[Taken, float]] = deque()  # with the mean number of the rows that came with it
        self._waited, self._waits, self._ages = 0.0, 0, []

    @property
    def receipt(self) -> Receipt:
        """The replay's counts with the newest batches."""
        return self._shards.receipt

    @property
    def ready(self) -> int:
        """Batches that have come and were not given out."""
        return len(self._ready)

    @property
    def is_drained(self) -> bool:
        """Nothing is under way, and nothing has come that was not given out."""
        return not (self._under_way or self._ready)

    def ask_ahead(self, priorities: Callable[[], Priorities | None]) -> None:
        """Top up the requests under way, as far as the pace is known to allow.

        What was learned of earlier steps, as `priorities` tells, travels with them: no call of its own, and nothing to wait
        for.
        """
        while len(self._under_way) < REQUESTS_IN_FLIGHT:
            dealt = self._shards.deal(min(BATCHES_PER_REQUEST, self._left))
            if dealt is None:
                break
            self._left -= len(dealt.counts)
            asked = zip(self._replays, dealt.requests, self._shards.route(priorities()), strict=True)
            self._under_way.append((dealt, [replay.draw.remote(request, theirs) for replay, request, theirs in asked]))

    def look(self) -> None:
        """Ask what the shards hold now, where all that was known to be allowed is used up."""
        if self.is_drained and self._left > 0:
            self._shards.take(self._got([replay.stock.remote() for replay in self._replays]))

    def next(self) -> Taken | None:
        """The next batch, waited for where none has come; None where nothing is under way."""
        if not self._ready:
            if not self._under_way:
                return None
            dealt, calls = self._under_way.popleft()
            parts, stocks = zip(*self._got(calls), strict=True)
            self._came(dealt, calls)
            self._shards.take(stocks)
            batches = self._shards.merge(dealt, parts)
            mean_row = float(batches.row.mean())
            self._ready.extend((batch, mean_row) for batch in self._taken(batches))
        batch, mean_row = self._ready.popleft()
        self._ages.append(self._shards.written - mean_row)
        return batch

    def give_back(self, priorities: Priorities | None) -> None:
        """Hand in what was learned of the last steps, with which nothing else is asked for."""
        routed = list(zip(self._replays, self._shards.route(priorities), strict=True))
        if priorities is not None:
            calls = [replay.stock.remote() if own is None else replay.prioritise.remote(own) for replay, own in routed]
            self._shards.take(ray.get(calls))

    def account(self) -> dict[str, float]:
        """What `LearnerReport` tells of the waits and the ages of batches since the last call."""
        ages = self._ages
        told = {
            "wait_seconds": self._waited,
            "waits": self._waits,
            "sample_age_rows": sum(ages) / len(ages) if ages else math.nan,
        }
        self._waited, self._waits, self._ages = 0.0, 0, []
        return told

    def _got(self, calls: list[ray.ObjectRef]) -> list:
        began = time.perf_counter()
        values = ray.get(calls)
        self._waited += time.perf_counter() - began
        self._waits += 1
        return values
