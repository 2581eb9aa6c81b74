"""The learner as a Ray actor: sampling runs ahead of learning here."""

import time
from collections import deque

import ray
import torch

from distributed_kd.learning.learner import Learner
from distributed_kd.records import Batch, Evaluation, LearnerReport, Receipt, State, Weights

BATCHES_PER_REQUEST = 8
REQUESTS_IN_FLIGHT = 2


@ray.remote
class LearnerActor:
    """Holds the one `Learner` of a run and keeps requests for batches under way while it learns."""

    def __init__(
        self,
        replay: ray.actor.ActorHandle,
        receipt: Receipt,
        max_updates: int,
        threads: int,
        state: State | None,
        **parts: object,
    ):
        """`max_updates` bounds the batches ever drawn, 0 = no bound; `receipt` is the replay's newest."""
        torch.set_num_threads(threads)
        self._learner = Learner(**parts)
        if state is not None:
            self._learner.restore(state)
        self._replay, self._receipt, self._max_updates = replay, receipt, max_updates
        self._requests: deque[ray.ObjectRef] = deque()
        self._ready: deque[Batch] = deque()
        self._busy = self._waited = 0.0

    @ray.method(num_returns=2)
    def train(self, updates: int, progress: float) -> tuple[LearnerReport, Weights]:
        """Learn from up to so many batches; fewer where the replay's pace gives no more."""
        return self._train(updates, progress, ask=True)

    @ray.method(num_returns=2)
    def finish(self, progress: float) -> tuple[LearnerReport, Weights]:
        """Learn from the batches that were drawn ahead, so that every sampled step has been used."""
        return self._train(2**62, progress, ask=False)

    def heed(self, evaluation: Evaluation) -> None:
        """Take in how well teacher and students play."""
        self._learner.heed(evaluation)

    def state(self) -> State:
        """The learner's state. Raises RuntimeError while batches drawn ahead are not used: call `finish` before."""
        if self._requests or self._ready:
            raise RuntimeError("batches drawn ahead would be lost")
        return self._learner.state()

    def _train(self, updates: int, progress: float, ask: bool) -> tuple[LearnerReport, Weights]:
        began, before = time.time(), self._learner.updates
        self._busy = self._waited = 0.0
        while self._learner.updates - before < updates:
            if ask:
                self._ask_ahead()
            if not self._ready and not self._receive():
                break
            learning = time.perf_counter()
            self._learner.update(self._ready.popleft(), progress)
            self._busy += time.perf_counter() - learning
        if not ask and (priorities := self._learner.priorities()) is not None:
            self._receipt = ray.get(self._replay.prioritise.remote(priorities))
        reading = time.perf_counter()
        losses = self._learner.losses()  # on a GPU the updates end here
        self._busy += time.perf_counter() - reading
        done = self._learner.updates - before
        report = LearnerReport(
            updates=self._learner.updates,
            done=done,
            busy_seconds=self._busy,
            wait_seconds=self._waited,
            started=began,
            ended=time.time(),
            starved=ask and done < updates,
            receipt=self._receipt,
            updates_of=self._learner.updates_of,
            losses=losses,
        )
        return report, self._learner.weights()

    def _ask_ahead(self) -> None:
        """Top up the requests under way, never beyond the last update that this run may do."""
        while len(self._requests) < REQUESTS_IN_FLIGHT:
            wanted = BATCHES_PER_REQUEST
            if self._max_updates:
                ahead = len(self._ready) + BATCHES_PER_REQUEST * len(self._requests)
                wanted = min(wanted, self._max_updates - self._learner.updates - ahead)
            if wanted <= 0:
                break
            # What was learned of earlier steps travels with the next request: no call of its own, and nothing to wait for.
            self._requests.append(self._replay.sample.remote(wanted, self._learner.priorities()))

    def _receive(self) -> bool:
        """Wait for the oldest request; False where nothing is under way or the replay gave nothing."""
        while self._requests:
            waiting = time.perf_counter()
            batches, self._receipt = ray.get(self._requests.popleft())
            self._waited += time.perf_counter() - waiting
            if batches is not None:
                self._ready.extend(batches.split())
                return True
        return False
