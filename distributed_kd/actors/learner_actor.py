"""The learner as a Ray actor."""

import time
from collections.abc import Sequence

import numpy as np
import ray
import torch

from distributed_kd.actors.learner_replica import Led
from distributed_kd.actors.once import once
from distributed_kd.actors.pulsed import GROUPS, Pulsed
from distributed_kd.actors.supply import Supply
from distributed_kd.data_config import ReplayConfig
from distributed_kd.learning.learner import Learner
from distributed_kd.memory import keep_freed
from distributed_kd.records import Evaluation, LearnerReport, State, Weights
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.shards import Shards


@ray.remote(concurrency_groups=GROUPS)
class LearnerActor(Pulsed):
    """Holds the `Learner` of a run, and the supply of batches that it learns from; it leads its replicas, if it has any."""

    def __init__(
        self,
        replays: Sequence[ray.actor.ActorHandle],
        union: tuple[ReplayConfig, Pace, np.random.SeedSequence],
        max_updates: int,
        threads: int,
        state: State | None,
        others: Sequence[ray.actor.ActorHandle] = (),
        lifelines: Sequence[ray.ObjectRef] = (),
        **parts: object,
    ):
        """`max_updates` bounds the batches ever drawn, 0 = no bound; `union` is by what the shards in `replays` are one.

        `others` are its replicas, of each of which a call of `live` is among the `lifelines`.
        """
        keep_freed()
        torch.set_num_threads(threads)
        self._led = Led(others, lifelines)
        with self._led.heard():
            replicas = self._led.meet(parts["device"])
        self._learner = Learner(**parts, replicas=replicas)
        if state is not None:
            self._learner.restore(state)
        stocks = ray.get([replay.stock.remote() for replay in replays])
        most = max_updates - self._learner.updates if max_updates else 2**62
        self._supply = Supply(replays, Shards(stocks, *union), most, self._learner.taken, self._led.take)

    @once
    @ray.method(num_returns=2)
    def train(self, updates: int, progress: float) -> tuple[LearnerReport, Weights]:
        """Learn from up to so many batches; fewer where the replay's pace gives no more."""
        with self._led.heard():
            return self._train(updates, progress, ask=True)

    @once
    @ray.method(num_returns=2)
    def finish(self, progress: float) -> tuple[LearnerReport, Weights]:
        """Learn from the batches that were drawn ahead, so that every sampled step has been used."""
        with self._led.heard():
            return self._train(2**62, progress, ask=False)

    def heed(self, evaluation: Evaluation) -> None:
        """Take in how well teacher and students play."""
        self._led.heed(evaluation)
        self._learner.heed(evaluation)

    def state(self) -> State:
        """The learner's state. Raises RuntimeError while batches drawn ahead are not used: call `finish` before.

        InternalError where a replica's weights are not the learner's own.
        """
        if not self._supply.is_drained:
            raise RuntimeError("batches drawn ahead would be lost")
        self._led.check_same(self._learner)
        return self._learner.state()

    def _train(self, updates: int, progress: float, ask: bool) -> tuple[LearnerReport, Weights]:
        began, before, busy = time.time(), self._learner.updates, 0.0
        while (left := updates - (self._learner.updates - before)) > 0:
            if ask:
                self._ask()
            if (batch := self._supply.next()) is None:
                break
            learning = time.perf_counter()
            self._led.learn(min(left, 1 + self._supply.ready), progress)
            self._learner.learn(batch, progress)
            busy += time.perf_counter() - learning
        if not ask:
            self._supply.give_back(self._learner.priorities())
        reading = time.perf_counter()
        losses = self._learner.losses()  # on a GPU the updates end here
        busy += time.perf_counter() - reading
        done = self._learner.updates - before
        report = LearnerReport(
            updates=self._learner.updates,
            done=done,
            busy_seconds=busy,
            started=began,
            ended=time.time(),
            starved=ask and done < updates,
            receipt=self._supply.receipt,
            updates_of=self._learner.updates_of,
            losses=losses,
            skipped=self._learner.skipped,
            diverged=self._learner.diverged,
            **self._supply.account(),
        )
        return report, self._learner.weights()

    def _ask(self) -> None:
        """Keep requests under way; where there is nothing left of what was allowed, see whether more is by now."""
        self._supply.ask_ahead(self._learner.priorities)
        if self._supply.is_drained:
            self._supply.look()
            self._supply.ask_ahead(self._learner.priorities)
