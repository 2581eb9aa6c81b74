"""Segments on their way from the rollouts to the shards of the replay: handed over by reference, unread."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import ray
from ray.actor import ActorHandle

from distributed_kd.records import EpisodeStats, Receipt
from distributed_kd.replay.segments import shard_of
from distributed_kd.training.calls import Call, Calls


@dataclass(frozen=True, eq=False)
class _Parcel:
    segment: ray.ObjectRef
    stats: EpisodeStats
    since: float
    """time.monotonic() when it was collected"""


class Deliveries:
    """What was collected and is not yet known to be stored.

    A shard takes all that came while it was busy in one call: so a request for batches never stands behind more than one
    call that stores.
    """

    def __init__(
        self,
        calls: Calls,
        shards: int,
        stored: Callable[[int, Receipt, list[float]], None],
        lost: Callable[[int], None],
        fenced: Callable[[bool], None],
    ):
        """`stored` is told the shard, its receipt and the seconds that each segment took; `lost` the steps of a segment that
        is gone, as with the node that held it; `fenced` whether all that was to be refused, and nothing else, was."""
        self._calls, self._stored, self._lost, self._fenced = calls, stored, lost, fenced
        self._fences: dict[int, int] = {}  # actor -> the first incarnation that may be accepted
        self._fences_to_tell: list[dict[int, int]] = [{} for _ in range(shards)]
        self._fencing = [0] * shards  # calls that fence
        self._refused = [0] * shards  # steps of fenced incarnations, as each shard counts them
        self._replays: Sequence[ActorHandle] = ()
        self._waiting: list[list[_Parcel]] = [[] for _ in range(shards)]
        self._under_way: list[list[_Parcel]] = [[] for _ in range(shards)]  # in calls of theirs
        self._holds = False

    def address(self, replays: Sequence[ActorHandle], receipts: Sequence[Receipt]) -> None:
        """Deliver to these shards, which now count so; what was fenced off before stays so."""
        self._replays, self._holds = replays, False
        self._refused = [_refused(receipt) for receipt in receipts]
        self._fences_to_tell = [dict(self._fences) for _ in receipts]
        self._go_on()

    def leave(self) -> None:
        """The shards are gone: what they were not known to have stored waits until there are others."""
        self._replays, self._fencing = (), [0] * len(self._waiting)
        self._waiting = [parcels + waiting for parcels, waiting in zip(self._under_way, self._waiting, strict=True)]
        self._under_way = [[] for _ in self._waiting]

    def fence(self, actor: int, incarnation: int) -> None:
        """Let nothing be accepted any more from the earlier incarnations of a rollout."""
        self._fences[actor] = incarnation
        for fences in self._fences_to_tell:
            fences[actor] = incarnation
        self._go_on()

    def take(self, segment: ray.ObjectRef, stats: EpisodeStats) -> None:
        """Hand a segment over, as soon as its shard is free."""
        shard = shard_of(stats.actor, stats.sequence, len(self._waiting))
        self._waiting[shard].append(_Parcel(segment, stats, time.monotonic()))
        self._send(shard)

    def hold(self) -> None:
        """Let no more be handed over until `release`."""
        self._holds = True

    def release(self) -> None:
        self._holds = False
        self._go_on()

    @property
    def is_storing(self) -> bool:
        """A call that stores is under way."""
        return any(self._under_way)

    @property
    def count(self) -> int:
        """Segments that no receipt tells of."""
        return sum(map(len, self._waiting)) + sum(map(len, self._under_way))

    @property
    def steps(self) -> int:
        """Their steps."""
        return sum(parcel.stats.steps for parcels in (*self._waiting, *self._under_way) for parcel in parcels)

    def _go_on(self) -> None:
        for shard in range(len(self._replays)):
            self._send(shard)

    def _send(self, shard: int) -> None:
        """What a shard is to be told next. Never both at once: a call that is lost on the way comes behind later ones."""
        if not self._replays or self._under_way[shard] or self._fencing[shard]:
            return
        fences, self._fences_to_tell[shard] = self._fences_to_tell[shard], {}
        for actor, incarnation in fences.items():
            self._fencing[shard] += 1
            call = self._replays[shard].fence.remote(actor, incarnation)
            self._calls.expect(call, Call("the replay", partial(self._on_fenced, shard)))
        if fences or self._holds or not self._waiting[shard]:
            return
        parcels, self._waiting[shard] = self._waiting[shard], []
        self._store(shard, parcels)

    def _store(self, shard: int, parcels: list[_Parcel]) -> None:
        self._under_way[shard] += parcels
        call = self._replays[shard].add.remote(*(parcel.segment for parcel in parcels))
        stats = [parcel.stats for parcel in parcels]
        refused = sum(one.steps for one in stats if one.incarnation < self._fences.get(one.actor, 0))
        done = partial(self._on_stored, shard, parcels, refused)
        self._calls.expect(call, Call("the replay", done, given_lost=partial(self._on_given_lost, shard, parcels)))

    def _on_fenced(self, shard: int, _: None) -> None:
        self._fencing[shard] -= 1
        self._send(shard)

    def _done_with(self, shard: int, parcels: list[_Parcel]) -> None:
        self._under_way[shard] = [parcel for parcel in self._under_way[shard] if parcel not in parcels]

    def _on_stored(self, shard: int, parcels: list[_Parcel], refused: int, receipt: Receipt) -> None:
        self._done_with(shard, parcels)
        self._fenced(_refused(receipt) == self._refused[shard] + refused)
        self._refused[shard] = _refused(receipt)
        now = time.monotonic()
        self._stored(shard, receipt, [now - parcel.since for parcel in parcels])
        self._send(shard)

    def _on_given_lost(self, shard: int, parcels: list[_Parcel]) -> None:
        """A call whose segments are not all there has stored none of them: the others are handed over one by one."""
        self._done_with(shard, parcels)
        if len(parcels) == 1:
            self._lost(parcels[0].stats.steps)
            self._send(shard)
            return
        for parcel in parcels:
            self._store(shard, [parcel])


def _refused(receipt: Receipt) -> int:
    return receipt.dropped.get("fenced", 0)
