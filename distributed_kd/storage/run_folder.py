"""The folder of one run: its name, what lies where in it, the lock of its driver. Not what the files say."""

import fcntl
import json
import os
import re
import shlex
import shutil
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import IO

from distributed_kd.errors import CheckpointError, ConfigurationError, Problem
from distributed_kd.run_file import one_line
from distributed_kd.storage.files import make_folder, replace_file, storage_errors, strict, strict_json


def default_name(env_id: str, source_name: str, seed: int, now: float) -> str:
    """`<env>__<preset or file name>__s<seed>__<UTC time>`; `now` in seconds since 1970, as of time.time()."""
    parts = (env_id, source_name, f"s{seed}", datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ"))
    return "__".join(re.sub(r"[^A-Za-z0-9._-]", "-", part)[:64] for part in parts)


def unused(path: Path) -> Path:
    """Make and give the first of `path`, `path-2`, `path-3`, ... that did not exist.

    It is made here, empty, so that of two runs that start in the same second each gets its own.
    Raises StorageError where it cannot be made.
    """
    with storage_errors("the run's folder could not be made", path):
        make_folder(path.parent)
        for attempt in count(1):
            candidate = path if attempt == 1 else path.with_name(f"{path.name}-{attempt}")
            try:
                candidate.mkdir()
            except FileExistsError:
                continue
            return candidate


class RunFolder:
    """One run's folder, from `create` or `open`; closing it (or leaving `with`) frees the lock, if it was taken."""

    def __init__(self, path: Path):
        self.path = path
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, path: Path, config_toml: str) -> "RunFolder":
        """A new run's folder with its config.toml, parents made.

        Raises ConfigurationError where the folder holds anything, StorageError where it cannot be written.
        """
        folder = cls(path)
        with storage_errors("the run's folder could not be made", path):
            if path.exists() and not path.is_dir():
                why, fix = "a file is in its place", "Give another --out"
                raise ConfigurationError(Problem("the folder cannot be made", "out", path, why, fix))
            make_folder(path)
            try:
                if any(path.iterdir()):
                    raise FileExistsError
                folder.checkpoints.mkdir()  # of two that found it empty, one makes this
            except FileExistsError:
                fix = f'Go on with "python launch.py resume {path}", or give another --out'
                problem = Problem("the folder is in use", "out", path, "it holds a run already", fix)
                raise ConfigurationError(problem) from None
        folder.write_config(config_toml)
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The folder of a run that was created before; changes nothing and takes no lock.

        Raises ConfigurationError where there is no config.toml, StorageError where it may not be looked at.
        """
        folder = cls(path)
        with storage_errors("the run's folder could not be read", path):
            is_run = folder.config_file.is_file()
        if not is_run:
            why, fix = "there is no config.toml in it", "Give the folder of a run, such as runs/NAME"
            raise ConfigurationError(Problem("not the folder of a run", "path", path, why, fix))
        return folder

    @property
    def config_file(self) -> Path:
        return self.path / "config.toml"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def summary_file(self) -> Path:
        return self.path / "summary.json"

    @property
    def commands_file(self) -> Path:
        """The command lines that the run was started and resumed with, one a line."""
        return self.path / "commands.txt"

    @property
    def machine_file(self) -> Path:
        """What the run was started on."""
        return self.path / "machine.json"

    @property
    def tracked_file(self) -> Path:
        """What the run is called by the trackers that are told of it."""
        return self.path / "tracked.json"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def tb(self) -> Path:
        return self.path / "tb"

    @property
    def teachers(self) -> Path:
        """Copies of teachers that were trained elsewhere."""
        return self.path / "teachers"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoints_at(self, to: str) -> Path | str:
        """Where the run's checkpoints lie: at the URL `checkpoint.to`, or in this folder where that is empty."""
        return to or self.checkpoints

    @property
    def diverged(self) -> Path:
        return self.path / "diverged"

    def lock(self) -> "RunFolder":
        """Take the folder for this driver, until `close` or the end of the process, however it ends.

        Raises ConfigurationError with the holder's pid and host where another driver has it, StorageError where the
        lock cannot be written.
        """
        if self._lock is not None:
            return self
        with storage_errors("the run's folder could not be locked", self.lock_file):
            file = self.lock_file.open("a+", encoding="utf-8", errors="replace")
            try:
                # The kernel's lock dies with its process. The file itself is never removed: a driver that had opened
                # it just before would lock a file without a name, and a third one could lock the next.
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.truncate(0)
                holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat()}
                file.write(json.dumps(holder) + "\n")
                file.flush()
            except BlockingIOError:
                file.seek(0)
                why, fix = _holder(file.read(1000)), "Wait for its end, or stop it"
                problem = Problem("the folder is in use", "path", self.path, why, fix)
                file.close()
                raise ConfigurationError(problem) from None
            except BaseException:
                file.close()
                raise
        self._lock = file
        return self

    def close(self) -> None:
        """Free the lock; does nothing where there is none."""
        if self._lock is not None:
            file, self._lock = self._lock, None
            file.close()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def remove_unless_begun(self) -> None:
        """Remove the folder of a run that ended before its first environment step and its first update.

        Then the same command, mended, can be given again.
        """
        told = self.read_summary()
        if told and not (told["updates"] or told["accounting"]["generated"]):
            shutil.rmtree(self.path, ignore_errors=True)  # why the run could not begin matters more than what stays

    def write_config(self, text: str) -> None:
        """Put config.toml in place, atomically; raises StorageError."""
        with storage_errors("the configuration could not be written", self.config_file):
            replace_file(self.config_file, text.encode())

    def note_command(self, words: Sequence[str]) -> None:
        """Add the command line of this start to commands.txt; raises StorageError."""
        line = one_line(f"python launch.py {shlex.join(words)}")
        with storage_errors("the command could not be noted", self.commands_file), self.commands_file.open("a") as file:
            file.write(f"{line}\n")

    def note_machine(self, machine: Mapping[str, str]) -> None:
        """Put machine.json in place, atomically; raises StorageError."""
        with storage_errors("the machine could not be noted", self.machine_file):
            replace_file(self.machine_file, f"{strict_json(machine, indent=2)}\n".encode())

    def read_machine(self) -> dict[str, object]:
        """machine.json, empty where there is none; raises CheckpointError where it is damaged."""
        return self._read(self.machine_file, "the machine cannot be read", "Remove it") or {}

    def note_tracked(self, names: Mapping[str, str]) -> None:
        """Put tracked.json in place: the trackers, and what each calls the run; raises StorageError."""
        with storage_errors("what the run is tracked as could not be noted", self.tracked_file):
            replace_file(self.tracked_file, f"{strict_json(names, indent=2)}\n".encode())

    def read_tracked(self) -> dict[str, object]:
        """tracked.json, empty where there is none; raises CheckpointError where it is damaged."""
        what, fix = "what the run is tracked as cannot be read", "Remove it: trackers are told of a new run then"
        return self._read(self.tracked_file, what, fix) or {}

    def write_summary(self, summary: dict[str, object]) -> None:
        """Put summary.json in place, atomically, as strict JSON: NaN and infinities are null; raises StorageError."""
        with storage_errors("the summary could not be written", self.summary_file):
            replace_file(self.summary_file, f"{strict_json(summary, indent=2)}\n".encode())

    def read_summary(self) -> dict[str, object] | None:
        """summary.json, or None where the run has not written one; raises CheckpointError where it is damaged."""
        return self._read(self.summary_file, "the summary cannot be read", "Remove it: the end of the run writes it anew")

    @staticmethod
    def _read(path: Path, what: str, fix: str) -> dict[str, object] | None:
        try:
            told = json.loads(path.read_bytes())
            if not isinstance(told, dict):
                raise ValueError("it is no table")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            why = " ".join(str(error).split())
            raise CheckpointError(Problem(what, "path", path, why, fix)) from error
        return told


def _holder(text: str) -> str:
    try:
        holder = strict(json.loads(text))
        return f"process {holder['pid']} on {holder['host']} has been running in it since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # taken an instant ago: its name is not written yet
        return "another process is running in it"
