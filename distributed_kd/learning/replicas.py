"""Several learners that learn as one: each from its part of every batch, all with the same weights at every update.

A loss is a mean over states, so the mean of the parts' gradients is the gradient of the whole batch but for rounding; it is
taken before the gradient's norm and the clip. What is relative to all states of a batch, such as importance weights, is
taken over all of them. Only losses that compare states with each other (`BETWEEN_STATES`) see no more than a part, and are
means over the parts.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from distributed_kd.errors import InternalError

SILENCE = timedelta(seconds=120)
"""How long the others may take to come to the same point: all that lies between are milliseconds of learning"""

Rows = TypeVar("Rows", Tensor, NDArray)


class ReplicaLost(InternalError):
    """Another replica ended, or did not come to where all of them meet."""


class Replicas:
    """A learner's place among its replicas, and what they do together; alone, nothing.

    Every one of them must come to the same calls in the same order. All calls give the same bits everywhere, `part` aside.
    """

    def __init__(self, rank: int = 0, count: int = 1, group: dist.ProcessGroup | None = None):
        """One of `count`, of which that of rank 0 leads; `group` by which they reach each other, None for one alone."""
        self.rank, self.count, self._group = rank, count, group

    @classmethod
    def met(cls, store: dist.Store, rank: int, count: int, device: torch.device, host: str) -> "Replicas":
        """Wait for all others at a store; `host` is the address at which they reach this machine.

        Raises ReplicaLost where they do not come in time.
        """
        try:
            if device.type == "cuda":
                dist.init_process_group("nccl", store=store, rank=rank, world_size=count, timeout=SILENCE)
                return cls(rank, count, dist.group.WORLD)
            # Left to itself, gloo listens where the machine's own name leads, which often is the loopback alone.
            options = dist.ProcessGroupGloo._Options()
            options._devices, options._timeout = [dist.ProcessGroupGloo.create_device(hostname=host)], SILENCE
            return cls(rank, count, dist.ProcessGroupGloo(store, rank, count, options))
        except RuntimeError as error:
            raise _lost(error) from error

    @property
    def leads(self) -> bool:
        """It is the one that others outside are told of."""
        return self.rank == 0

    def part(self, rows: Rows, axis: int = 0) -> Rows:
        """This replica's rows of a batch that lies along `axis`, whose length all replicas part evenly."""
        if self.count == 1:
            return rows
        size = rows.shape[axis] // self.count
        return rows[(slice(None),) * axis + (slice(self.rank * size, (self.rank + 1) * size),)]

    def whole(self, part: Tensor) -> Tensor:
        """The rows of all replicas, from the part [B / count, ...] of each: [B, ...] in the order of the batch."""
        if self.count == 1:
            return part
        parts = torch.empty((self.count, *part.shape), dtype=part.dtype, device=part.device)
        self._meet(dist.all_gather, list(parts.unbind()), part.detach().contiguous())
        return parts.flatten(0, 1)

    def mean_(self, values: Tensor) -> Tensor:
        """Replace values of any shape by their mean over all replicas; gives the same tensor."""
        if self.count == 1:
            return values
        self._meet(dist.all_reduce, values)
        return values.div_(self.count)

    def _meet(self, collective: Callable[..., None], *given: object) -> None:
        try:
            collective(*given, group=self._group)
        except RuntimeError as error:
            raise _lost(error) from error


def _lost(error: RuntimeError) -> ReplicaLost:
    why = " ".join(str(error).split())[:200]
    return ReplicaLost(f"the learner's replicas lost each other ({type(error).__name__}): {why}")


ALONE = Replicas()
"""A learner without others"""
