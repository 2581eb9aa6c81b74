"""Further replicas of the learner as Ray actors, and how the learner leads them."""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

import numpy as np
import ray
import torch
import torch.distributed as dist
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError

from distributed_kd.actors.once import once
from distributed_kd.data_config import ReplayConfig
from distributed_kd.errors import InternalError
from distributed_kd.learning.learner import Learner
from distributed_kd.learning.lesson import Taken
from distributed_kd.learning.replicas import ALONE, SILENCE, ReplicaLost, Replicas
from distributed_kd.memory import keep_freed
from distributed_kd.records import Batch, Evaluation, State, Weights
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.shard import Stock
from distributed_kd.replay.shards import Dealt, Shards

KNOWN_WITHIN_SECONDS = 5.0
"""How long Ray may take to tell that an actor died, whose connections broke at once"""


@ray.remote(concurrency_groups={"lifeline": 1})
class LearnerReplica:
    """Holds one `Learner` more, which learns from its part of every batch that the leading one learns from.

    All calls but `live` come from that one, which is the only one to draw batches, to save and to tell of anything.
    """

    def __init__(
        self,
        rank: int,
        count: int,
        union: tuple[ReplayConfig, Pace, np.random.SeedSequence],
        threads: int,
        state: State | None,
        **parts: object,
    ):
        """The one of this `rank` among `count`; all else as of the `LearnerActor`."""
        keep_freed()
        torch.set_num_threads(threads)
        self._place, self._union, self._state, self._parts = (rank, count), union, state, parts
        self._ready: deque[Taken] = deque()
        self._failed: SimpleQueue[BaseException] = SimpleQueue()

    @ray.method(concurrency_group="lifeline")
    def live(self) -> None:
        """Never returns: raises what this replica failed with, or, as every call, that the actor died."""
        raise self._failed.get()

    @once
    def join(self, host: str, port: int) -> None:
        """Meet the others where the leading one waits, and begin as it does."""
        with self._telling():
            store = dist.TCPStore(host, port, timeout=SILENCE)
            here = ray.util.get_node_ip_address()
            replicas = Replicas.met(store, *self._place, self._parts["device"], here)
            self._learner = Learner(**self._parts, replicas=replicas)
            if self._state is not None:
                self._learner.restore(self._state)

    @once
    def take(self, dealt: Dealt, *drawn: tuple[Batch, Stock]) -> None:
        """Keep its part of what all shards gave of what was dealt out."""
        with self._telling():
            parts, stocks = zip(*drawn, strict=True)
            self._ready.extend(self._learner.taken(Shards(stocks, *self._union).merge(dealt, parts)))

    @once
    def learn(self, batches: int, progress: float) -> None:
        """From so many of the batches that it took."""
        with self._telling():
            for _ in range(batches):
                self._learner.learn(self._ready.popleft(), progress)

    def heed(self, evaluation: Evaluation) -> None:
        with self._telling():
            self._learner.heed(evaluation)

    def fingerprint(self) -> str:
        """Of its weights now."""
        with self._telling():
            return fingerprint(self._learner.weights())

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Let whoever waits at `live` know of a failure at once: nobody else may ask before the others' patience ends."""
        try:
            yield
        except ReplicaLost:
            raise  # why that one was lost, its own end tells
        except BaseException as error:
            self._failed.put(error)
            raise


class Led:
    """The other replicas as the leading learner sees them; none where it learns alone."""

    def __init__(self, actors: Sequence[ActorHandle], lifelines: Sequence[ray.ObjectRef]):
        """`lifelines` are calls of `live`, one for each of the actors."""
        self._actors, self._lifelines = actors, list(lifelines)
        self._told = 0

    def meet(self, device: torch.device) -> Replicas:
        """Bring all together at a port of this machine; gives the learner's own place among them."""
        if not self._actors:
            return ALONE
        host = ray.util.get_node_ip_address()
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=SILENCE)
        for actor in self._actors:
            actor.join.remote(host, store.port)
        return Replicas.met(store, 0, 1 + len(self._actors), device, host)

    def take(self, dealt: Dealt, drawn: Sequence[ray.ObjectRef]) -> None:
        """Hand on what came from the shards, as references."""
        for actor in self._actors:
            actor.take.remote(dealt, *drawn)

    def learn(self, batches: int, progress: float) -> None:
        """Before the learner learns from one batch of so many that are there: they learn from as many beside it.

        Told once for all of these, so that no one waits at an exchange for a batch that is still to come.
        """
        if not self._told:
            self._told = batches
            for actor in self._actors:
                actor.learn.remote(batches, progress)
        self._told -= 1

    def heed(self, evaluation: Evaluation) -> None:
        for actor in self._actors:
            actor.heed.remote(evaluation)

    def check_same(self, learner: Learner) -> None:
        """Raise InternalError unless all hold the learner's weights, to the bit."""
        if not self._actors:
            return
        mine = fingerprint(learner.weights())
        if any(theirs != mine for theirs in ray.get([actor.fingerprint.remote() for actor in self._actors])):
            raise InternalError(
                f"the learner's replicas hold different weights after {learner.updates} updates: they learn as one only on "
                "equal GPUs and versions. Set --learner.replicas 1, or make them equal"
            )

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Where one of them is lost in the block, raise what ended it, if that is to be known."""
        try:
            yield
        except ReplicaLost:
            ended, _ = ray.wait(self._lifelines, num_returns=1, timeout=KNOWN_WITHIN_SECONDS)
            try:
                ray.get(ended)
            except RayTaskError as error:
                raise error.cause from error
            except RayActorError as error:
                raise ReplicaLost(f"another replica of it died ({type(error).__name__})") from error
            raise


def fingerprint(weights: Weights) -> str:
    """A hash of all parameters and of the updates that they come from."""
    told = hashlib.sha256(str(weights.version).encode())
    for name in sorted(weights.flat):
        told.update(weights.flat[name].tobytes())
    return told.hexdigest()
