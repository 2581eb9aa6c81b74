"""The replay in one process: its shards side by side, and the pace at which they are drawn from."""

from collections.abc import Mapping

import numpy as np

from distributed_kd.data_config import ReplayConfig
from distributed_kd.records import Batch, EnvSpec, Priorities, Receipt, Segment, State
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.segments import shard_of
from distributed_kd.replay.shard import Shard, Stock
from distributed_kd.replay.shards import Shards, in_one, of_each


class Replay:
    """Steps of all rollouts, given out in batches as the pace allows.

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
        self._union = config, pace, seed
        self.shards = [Shard(n, spec, config, n_step, reward_clip, pace, seed, own) for n in range(config.shards)]
        self._dealing = Shards(self._stocks(), *self._union)

    def _stocks(self) -> list[Stock]:
        return [shard.stock() for shard in self.shards]

    def receipt(self) -> Receipt:
        """The counts now."""
        self._dealing.take(self._stocks())
        return self._dealing.receipt

    def add(self, segment: Segment) -> Receipt:
        """Copy a segment's rows into the ring of its shard, unless it was seen before.

        Raises ValueError where it is malformed or longer than the ring.
        """
        self.shards[shard_of(segment.actor, segment.sequence, len(self.shards))].add(segment)
        return self.receipt()

    def prioritise(self, priorities: Priorities) -> Receipt:
        """Take back what learning said of steps that were drawn; for those no longer there it is dropped, and counted."""
        self._prioritise(priorities)
        return self.receipt()

    def _prioritise(self, priorities: Priorities) -> None:
        for shard, theirs in zip(self.shards, self._dealing.route(priorities), strict=True):
            if theirs is not None:
                shard.prioritise(theirs)

    def sample(self, batches: int, priorities: Priorities | None = None) -> tuple[Batch | None, Receipt]:
        """Draw as many batches as asked for and as the pace allows: arrays [K, B, ...], or None where it allows none.

        `priorities` are taken in before.
        """
        if priorities is not None:
            self._prioritise(priorities)
        self._dealing.take(self._stocks())
        dealt = self._dealing.deal(batches)
        if dealt is None:
            return None, self._dealing.receipt
        parts = [shard.draw(request) for shard, request in zip(self.shards, dealt.requests, strict=True)]
        receipt = self.receipt()
        return self._dealing.merge(dealt, parts), receipt

    def state(self) -> State:
        """All rows written so far and all counts."""
        return in_one([shard.state() for shard in self.shards])

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises ValueError where its rows do not fit."""
        for shard, theirs in zip(self.shards, of_each(state), strict=True):
            shard.restore(theirs)
        self._dealing = Shards(self._stocks(), *self._union)
