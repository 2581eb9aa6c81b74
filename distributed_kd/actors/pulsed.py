"""What every actor of a run answers beside its work, on a thread of its own: that it is alive, and what it holds."""

import os
from dataclasses import dataclass

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from distributed_kd.envs.progress import begun
from distributed_kd.memory import resident
from distributed_kd.processes import born, end

GROUPS = {"pulse": 1}
"""of threads beside the one that works"""


@dataclass(frozen=True)
class Pulse:
    """A sign of life."""

    steps: int
    """calls into environments so far: it grows as long as none of them hangs"""
    resident: int
    """bytes of memory that the process takes, what it shares with others counted too"""
    node: str
    """the id of the node that it runs on"""
    process: int
    """its number there"""
    born: int | None
    """when it was started, as `processes.born`"""

    def end(self) -> None:
        """Have its process killed on its node.

        Ray asks a frozen one first, for up to half a minute, and what it had reserved is free only when it has ended.
        """
        if self.node == _here():
            end(self.process, self.born)
        else:
            there = NodeAffinitySchedulingStrategy(self.node, soft=False)
            _end.options(scheduling_strategy=there).remote(self.process, self.born)


_end = ray.remote(num_cpus=0, max_retries=0)(end)


def _here() -> str:
    return ray.get_runtime_context().get_node_id()


class Pulsed:
    """An actor with heartbeats; its class is made with the concurrency groups `GROUPS`."""

    @ray.method(concurrency_group="pulse")
    def pulse(self) -> Pulse:
        return Pulse(begun(), resident(), _here(), os.getpid(), born(os.getpid()))

    @ray.method(concurrency_group="pulse", max_task_retries=0)
    def suffer(self, number: int) -> None:
        """Send its process a signal, such as SIGKILL: how `--chaos` kills and freezes, on whichever machine it is."""
        os.kill(os.getpid(), number)
