"""Updates that are recorded once and then repeated: on a GPU as CUDA graphs, each of which is one launch for all networks.

What is recorded is operations on places in memory. So the batch is copied into the same places before each update, numbers
that move are written into theirs (`moving`), and what an update gives is copied out of them.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.learning.lesson import Taken
from distributed_kd.learning.moving import Numbers, Progress

WARM_UPS = 3
"""Updates of a kind that are done as they are before one is recorded, as libraries set themselves up in the first"""


@dataclass(frozen=True)
class Outcome:
    """What an update gives: 0-d tensors to log, by network and what they are, and each step's priority [B] or None."""

    logged: Mapping[tuple[str, str], Tensor]
    priority: Tensor | None

    def copied(self) -> "Outcome":
        logged = {place: value.clone() for place, value in self.logged.items()}
        return Outcome(logged, None if self.priority is None else self.priority.clone())


Work = Callable[[], Outcome]


class Recorder(Protocol):
    """Takes down what happens on a device."""

    def warm_up(self, work: Work) -> Outcome:
        """Do it without recording."""

    def record(self, work: Work, generators: Sequence[torch.Generator]) -> tuple[Outcome, Callable[[], None]]:
        """Do it and record it, with the `generators` that it may draw from.

        Gives the outcome, and what does all of it again and writes into the same outcome.
        """


class CudaGraphs:
    """Records on a GPU."""

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream()  # made where it is used: what holds this may come from a machine without a GPU

    def warm_up(self, work: Work) -> Outcome:
        # On the stream on which it will be recorded, whose memory and libraries' workspaces are then there.
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outcome = work()
        torch.cuda.current_stream().wait_stream(self._stream)
        return outcome

    def record(self, work: Work, generators: Sequence[torch.Generator]) -> tuple[Outcome, Callable[[], None]]:
        """As `Recorder`. Raises ConfigurationError where something in it cannot be part of a graph."""
        try:
            graph = torch.cuda.CUDAGraph()
            for generator in generators:
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph, stream=self._stream):
                outcome = work()
        except RuntimeError as error:
            what, why = "an update that cannot be recorded", str(error).partition("\n")[0].removesuffix(".")
            problem = Problem(what, "learner.cuda_graph", "true", why, "Set --learner.cuda_graph false")
            raise ConfigurationError(problem) from error
        graph.replay()  # while it is recorded nothing is computed
        return outcome, graph.replay


class Recorded:
    """The updates of a learner, recorded for as long as they are the same operations."""

    def __init__(self, recorder: Recorder, device: torch.device, generators: Sequence[torch.Generator]):
        self._recorder, self._device, self._generators = recorder, device, generators
        self.drop()

    def drop(self) -> None:
        """Forget all recordings: tensors that they work on are no longer those of the learner."""
        self._phase: Hashable = None
        self._kinds: dict[bool, _Kind] = {}

    def update(
        self, learn: Callable[[Taken, Progress], Outcome], batch: Taken, progress: float, phase: Hashable, measure: bool
    ) -> Outcome:
        """Do one update, by its recording where there is one.

        `phase` is equal in updates that are the same operations, apart from `measure`, and each phase is recorded anew.
        """
        phase = phase, tuple((tensor.shape, tensor.dtype) for tensor in batch.tensors), tuple(batch.own)
        if phase == self._phase:
            for mine, theirs in zip(self._batch.tensors, batch.tensors, strict=True):
                mine.copy_(theirs)
        else:
            self._phase, self._batch, self._kinds = phase, batch.copied(), {}
        kind = self._kinds.setdefault(measure, _Kind(self._device))
        at = kind.numbers.tell(progress)
        return kind.update(lambda: learn(self._batch, at), self._recorder, self._generators)


class _Kind:
    """Updates that are the same operations."""

    def __init__(self, device: torch.device):
        self.numbers = Numbers(device)
        self._done = 0
        self._outcome: Outcome | None = None
        self._again: Callable[[], None] | None = None

    def update(self, work: Work, recorder: Recorder, generators: Sequence[torch.Generator]) -> Outcome:
        if self._again:
            self._again()
        elif self._done < WARM_UPS:
            self._done += 1
            self._outcome = recorder.warm_up(work)
        else:
            self._outcome, self._again = recorder.record(work, generators)
        return self._outcome.copied()  # what is logged may be a number that the next update is told anew
