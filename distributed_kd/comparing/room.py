"""What is free of the machines that the runs of a comparison share, and who of them finds room. Pure arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from distributed_kd.training.plan import Node


@dataclass(frozen=True)
class Need:
    """What one run takes."""

    bundles: Sequence[Mapping[str, float]]
    """CPU and GPU of each of its parts; a part stands on one machine"""
    memory: int = 0
    """bytes of its replay"""


@dataclass(frozen=True)
class Share:
    """What one run was given, to be given back."""

    cpus: tuple[tuple[int, float], ...]
    """(machine, CPU) for each part"""
    gpus: tuple[tuple[int, int], ...]
    """(machine, the GPU's number on it)"""
    memory: int


@dataclass
class _Free:
    cpus: float
    gpus: list[int] = field(default_factory=list)


class Room:
    """The machines, and `memory` bytes of the one where all runs are; None where they are spread over a cluster."""

    def __init__(self, nodes: Sequence[Node], memory: int | None = None):
        self._free = [_Free(node.cpus, list(range(int(node.gpus)))) for node in nodes]
        self._memory = memory

    def take(self, need: Need) -> Share | None:
        """Room for all parts of a run, each on the first machine that has it; None where there is not enough now."""
        if self._memory is not None and need.memory > self._memory:
            return None
        cpus: list[tuple[int, float]] = []
        gpus: list[tuple[int, int]] = []
        for bundle in need.bundles:
            wanted, graphics = bundle["CPU"], int(bundle.get("GPU", 0))
            for place, free in enumerate(self._free):
                # The small constant: quarters of cores that were taken and given back must still fill a core.
                if free.cpus + 1e-6 >= wanted and len(free.gpus) >= graphics:
                    free.cpus -= wanted
                    cpus.append((place, wanted))
                    gpus += [(place, free.gpus.pop(0)) for _ in range(graphics)]
                    break
            else:
                self._return(cpus, gpus)
                return None
        if self._memory is not None:
            self._memory -= need.memory
        return Share(tuple(cpus), tuple(gpus), need.memory)

    def give_back(self, share: Share) -> None:
        """A run that had it is over."""
        self._return(share.cpus, share.gpus)
        if self._memory is not None:
            self._memory += share.memory

    def _return(self, cpus: Sequence[tuple[int, float]], gpus: Sequence[tuple[int, int]]) -> None:
        for place, wanted in cpus:
            self._free[place].cpus += wanted
        for place, number in gpus:
            self._free[place].gpus.append(number)
