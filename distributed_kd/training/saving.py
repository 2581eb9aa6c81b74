"""A run's checkpoints as they are written: one at a time, when they are due, and beside the loop where it can go on.

What a checkpoint holds is the loop's business, and how it comes to the disk that of `storage/checkpoints.py`.
"""

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from distributed_kd.config import CheckpointConfig
from distributed_kd.errors import RunError
from distributed_kd.records import State
from distributed_kd.storage import checkpoints
from distributed_kd.training.timer import Timer

STALL_SHARE = 0.1
"""Share of its time that the learner may stand still for checkpoints"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was committed, and what it cost."""

    step: int
    bytes: int
    seconds: float
    """that writing it took"""
    stall_seconds: float
    """that the learner stood still for it; 0 where it had nothing more to learn"""


class Costs:
    """What the checkpoints cost that this process has committed."""

    def __init__(self) -> None:
        self._count = 0
        self._last: Saved | None = None
        self._stalled = self._longest = 0.0

    def take(self, saved: Saved) -> None:
        self._count += 1
        self._last = saved
        self._stalled += saved.stall_seconds
        self._longest = max(self._longest, saved.stall_seconds)

    def told(self, learning_seconds: float) -> dict[str, object]:
        """As the summary tells it; the learner's share of time is that of so many seconds."""
        return {
            "count": self._count,
            "last_step": self._last.step if self._last else None,
            "last_bytes": self._last.bytes if self._last else None,
            "largest_stall_seconds": self._longest,
            "stall_share": self._stalled / learning_seconds if learning_seconds > 0 else 0.0,
        }


class Saving:
    """Writes the checkpoints of one run. Only the thread of the loop calls it."""

    def __init__(self, where: Path | str, config: CheckpointConfig, told: Callable[[Saved], None]):
        """`where` is a folder or a URL; `told` is given each checkpoint, in the loop's thread, once it is committed."""
        self._where, self._keep, self._told = where, config.keep, told
        self._timer = Timer(config.every_seconds)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._under_way: Future[Saved] | None = None
        self.has_committed = False

    @property
    def is_due(self) -> bool:
        """It is time for the next one, and none is being written.

        Raises StorageError where the disk refused the one before.
        """
        if self._under_way is not None and not self._under_way.done():
            return False
        self.wait()
        return self._timer.due

    def restart_timer(self) -> None:
        self._timer.restart()

    def save(
        self, step: int, parts: Mapping[str, State], about: Mapping[str, object], stalled_since: float | None, aside: bool
    ) -> None:
        """Commit a checkpoint, after the one under way; gives control back at once where it is written `aside`.

        What is written aside may not change any more. The learner has stood still since `stalled_since` (time.monotonic()),
        None: it has nothing more to learn. Raises as `checkpoints.save` does; of what is written aside, a later call does.
        """
        self.wait()
        if aside:
            stall = _since(stalled_since)
            self._under_way = self._thread.submit(self._write, step, parts, about, stall)
        else:
            saved = self._write(step, parts, about, 0.0)
            stall = _since(stalled_since)
            self._committed(replace(saved, stall_seconds=stall))
        self._timer.restart(at_least=stall * (1 / STALL_SHARE - 1))

    def wait(self) -> None:
        """Wait until none is being written. Raises StorageError where the disk refused it."""
        future, self._under_way = self._under_way, None
        if future is not None:
            self._committed(future.result())

    def close(self) -> None:
        """Let the one under way come to its end; what it ends with is told, and no more: the run is over."""
        try:
            self.wait()
        except RunError as error:
            logger.warning("warning: %s", error)
        finally:
            self._thread.shutdown()

    def _write(self, step: int, parts: Mapping[str, State], about: Mapping[str, object], stall: float) -> Saved:
        began = time.monotonic()
        committed = checkpoints.save(self._where, step, parts, about, self._keep)
        return Saved(step, committed.bytes, time.monotonic() - began, stall)

    def _committed(self, saved: Saved) -> None:
        self.has_committed = True
        self._told(saved)


def _since(began: float | None) -> float:
    return 0.0 if began is None else time.monotonic() - began
