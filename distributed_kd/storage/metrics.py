"""A run's metrics as they come: one JSON line each, scalars for TensorBoard and trackers. Nothing is measured here."""

import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary

from distributed_kd.storage.files import storage_errors, strict, strict_json
from distributed_kd.storage.tracking import Trackers

TB_FLUSH_SECONDS = 5.0
"""TensorBoard's file reaches the disk at least this often while metrics come; the JSON lines at once"""

_WHAT = "the metrics could not be written"
_BLOCK = 1 << 16


class Metrics:
    """Appends to metrics.jsonl and to an event file of its own in the folder tb.

    A line is `{"time": ..., "env_steps": ..., "updates": ..., <values as given, nested>}`, strict JSON. TensorBoard
    gets every finite number under the path of its keys joined by "/", unaltered, at global step env_steps, and trackers
    get the same.
    A last line without its end, left by a crash, is cut off when the file is opened. Every method raises StorageError.
    """

    def __init__(self, metrics_file: Path, tb_folder: Path, trackers: Trackers | None = None):
        self._path, self._trackers = metrics_file, trackers or Trackers()
        self._tb_flushed = -math.inf
        with storage_errors(_WHAT, metrics_file):
            self._file = metrics_file.open("ab+")
            _cut_torn_line(self._file)
        with storage_errors(_WHAT, tb_folder):
            tb_folder.mkdir(parents=True, exist_ok=True)
            # Not SummaryWriter: its thread dies in silence on a full disk, and the tenth add_scalar after waits for
            # ever. The suffix keeps a run resumed within the second from writing over the file of the one before.
            self._tb = EventsWriter(str(tb_folder.absolute() / "events"), f".{time.time_ns()}")

    def write(self, env_steps: int, updates: int, values: Mapping[str, object], now: float) -> None:
        """Append one line and its scalars; `values` holds numbers, str and mappings of them, `now` is time.time().

        Raises StorageError where the disk refuses, ValueError where a value has the name of one of the fixed three.
        """
        fixed = {"time": now, "env_steps": env_steps, "updates": updates}
        if clash := fixed.keys() & values.keys():
            raise ValueError(f"metrics may not be named {sorted(clash)}")
        with storage_errors(_WHAT, self._path):
            self._file.write(f"{strict_json({**fixed, **values})}\n".encode())
            self._file.flush()
            numbers = dict(scalars(strict(values)))
            told = [Summary.Value(tag=tag, simple_value=number) for tag, number in numbers.items()]
            self._tb.write_event(Event(wall_time=now, step=int(env_steps), summary=Summary(value=told)))
            if not 0 <= now - self._tb_flushed < TB_FLUSH_SECONDS:
                self._tb.flush()
                self._tb_flushed = now
        self._trackers.log(env_steps, updates, numbers)

    def close(self) -> None:
        """Bring everything to the disk and close; a second call does nothing."""
        if self._file.closed:
            return
        with storage_errors(_WHAT, self._path):
            try:
                self._file.close()
            finally:
                self._tb.close()

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def scalars(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested mappings, under the path of its keys joined by "/"."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from scalars(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{key}", float(value)


def _cut_torn_line(file) -> None:
    """Cut what stands behind the last end of a line: only a write cut short leaves such a rest."""
    end = keep = file.seek(0, os.SEEK_END)
    while keep > 0:
        start = max(0, keep - _BLOCK)
        file.seek(start)
        newline = file.read(keep - start).rfind(b"\n")
        keep = start + newline + 1
        if newline >= 0:
            break
    if keep != end:
        file.truncate(keep)
