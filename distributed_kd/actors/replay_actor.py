"""A shard of the replay as a Ray actor."""

import ray

from distributed_kd.actors.once import once
from distributed_kd.actors.pulsed import GROUPS, Pulsed
from distributed_kd.memory import keep_freed
from distributed_kd.records import Batch, Priorities, Receipt, Segment, State
from distributed_kd.replay.shard import Request, Shard, Stock


@ray.remote(concurrency_groups=GROUPS)
class ReplayActor(Pulsed):
    """Holds one `Shard`; arrays out of Ray are copied into its ring, so nothing of theirs is kept alive."""

    def __init__(self, state: State | None, **parts: object):
        keep_freed()
        self._shard = Shard(**parts)
        if state is not None:
            self._shard.restore(state)

    def stock(self) -> Stock:
        return self._shard.stock()

    @once
    def add(self, *segments: Segment) -> Receipt:
        for segment in segments:
            self._shard.add(segment)
        return self._shard.receipt()

    def fence(self, actor: int, incarnation: int) -> None:
        """Accept nothing any more from the earlier incarnations of a rollout."""
        self._shard.fence(actor, incarnation)

    @once
    def draw(self, request: Request, priorities: Priorities | None) -> tuple[Batch, Stock]:
        """Take the priorities in, and draw then."""
        if priorities is not None:
            self._shard.prioritise(priorities)
        return self._shard.draw(request), self._shard.stock()

    @once
    def prioritise(self, priorities: Priorities) -> Stock:
        self._shard.prioritise(priorities)
        return self._shard.stock()

    def state(self) -> State:
        """Its views are copied by Ray before the next call begins."""
        return self._shard.state()
