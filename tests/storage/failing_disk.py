"""A disk that fails at one of the steps of a save, counted; the tests themselves live beside this file."""

import builtins
import os
from collections.abc import Callable

import pytest

from distributed_kd.storage import files


class FailingDisk:
    """Counts every step of a save that touches the disk, and fails at the k-th; a write gets half through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, k: int, fail: Callable[[], None]):
        """`fail` raises, or ends the process."""
        self.left, self._fail = k, fail
        for name in ("fsync", "replace", "mkdir", "open", "unlink", "rmdir"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name)))
        monkeypatch.setattr(files, "open", self.open, raising=False)

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            self._fail()

    def counted(self, function):
        def call(*arguments, **options):
            self.tick()
            return function(*arguments, **options)

        return call

    def open(self, *arguments, **options):
        self.tick()
        file = builtins.open(*arguments, **options)  # noqa: SIM115
        write = file.write
        disk = self

        class Wrapped:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def __getattr__(self, name):
                return getattr(file, name)

            def write(self, data):
                if disk.left == 1:
                    write(data[: len(data) // 2])
                    file.flush()
                disk.tick()
                return write(data)

        return Wrapped()
