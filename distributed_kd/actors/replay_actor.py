"""The replay as a Ray actor."""

import ray

from distributed_kd.records import Batch, Priorities, Receipt, Segment, State
from distributed_kd.replay.replay import Replay


@ray.remote
class ReplayActor:
    """Holds the one `Replay` of a run; arrays out of Ray are copied into its ring, so nothing of theirs is kept alive."""

    def __init__(self, state: State | None, **parts: object):
        self._replay = Replay(**parts)
        if state is not None:
            self._replay.restore(state)

    def receipt(self) -> Receipt:
        return self._replay.receipt()

    def add(self, segment: Segment) -> Receipt:
        return self._replay.add(segment)

    def sample(self, batches: int, priorities: Priorities | None) -> tuple[Batch | None, Receipt]:
        return self._replay.sample(batches, priorities)

    def prioritise(self, priorities: Priorities) -> Receipt:
        return self._replay.prioritise(priorities)

    def state(self) -> State:
        return self._replay.state()
