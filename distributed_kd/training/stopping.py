"""Signals: the first asks the loop to stop, a second one ends the process at once."""

import os
import signal
from types import FrameType

from distributed_kd.errors import INTERRUPTED, PREEMPTED

STATUS = {signal.SIGINT: ("interrupted", INTERRUPTED), signal.SIGTERM: ("preempted", PREEMPTED)}


class StopSignal:
    """Catches SIGINT and SIGTERM while it is installed. `ray.init` replaces handlers: install it after."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def install(self) -> "StopSignal":
        for number in STATUS:
            before = signal.signal(number, self._handle)
            self._before.setdefault(number, before)
        return self

    def __enter__(self) -> "StopSignal":
        return self.install()

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.received is not None:
            os._exit(STATUS[signal.Signals(number)][1])
        self.received = signal.Signals(number)

    def __bool__(self) -> bool:
        return self.received is not None

    @property
    def status(self) -> str:
        """ "finished" where no signal came."""
        return STATUS[self.received][0] if self.received else "finished"

    @property
    def exit_code(self) -> int:
        return STATUS[self.received][1] if self.received else 0
