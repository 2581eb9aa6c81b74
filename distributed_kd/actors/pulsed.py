"""What every actor of a run answers beside its work, on a thread of its own: that it is alive, and what it holds."""

import os
from dataclasses import dataclass

import ray

from distributed_kd.envs.progress import begun
from distributed_kd.memory import resident

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


class Pulsed:
    """An actor with heartbeats; its class is made with the concurrency groups `GROUPS`."""

    @ray.method(concurrency_group="pulse")
    def pulse(self) -> Pulse:
        return Pulse(begun(), resident(), ray.get_runtime_context().get_node_id())

    @ray.method(concurrency_group="pulse", max_task_retries=0)
    def suffer(self, number: int) -> None:
        """Send its process a signal, such as SIGKILL: how `--chaos` kills and freezes, on whichever machine it is."""
        os.kill(os.getpid(), number)
