"""One run of a comparison: what has become of it, as its folder tells, and the process that takes it on from there."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from distributed_kd.comparing.folder import Comparison
from distributed_kd.comparing.progress import Progress
from distributed_kd.comparing.room import Need, Share
from distributed_kd.comparing.variants import Variant
from distributed_kd.errors import INTERRUPTED, PREEMPTED, InternalError, RunError
from distributed_kd.run_file_faults import one_line
from distributed_kd.storage.checkpoints import has_some
from distributed_kd.storage.files import make_folder, storage_errors
from distributed_kd.storage.run_folder import RunFolder

STOPPED = (PREEMPTED, INTERRUPTED)
TAIL = 1 << 16
"""Bytes of a log in which its last line is looked for"""


class State(StrEnum):
    """What has become of a run."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDING = "ending"
    """it was told to stop, and writes its checkpoint"""
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


class Trial:
    """One run file with one seed."""

    def __init__(self, comparison: Comparison, variant: Variant, seed: int):
        self.variant, self.seed = variant, seed
        self.folder = RunFolder(comparison.run_folder(variant, seed))
        self.progress = Progress(variant.config, self.folder.metrics_file)
        self.state = State.FINISHED if self._is_finished() else State.WAITING
        self.code = 0
        """how its process ended"""
        self.share: Share | None = None
        """what it has been given of the machines while it runs"""
        self.need = Need(())
        self.goes_on = False
        """it was begun by an earlier process"""
        self._file, self.log = comparison.run_file(variant), comparison.log(self.folder.path)
        self._log_before, self._refused = 0, ""
        self._process: subprocess.Popen | None = None

    @property
    def name(self) -> str:
        return f"{self.variant.label} s{self.seed}"

    @property
    def is_running(self) -> bool:
        return self.state in (State.RUNNING, State.ENDING)

    @property
    def is_over(self) -> bool:
        return self.state in (State.FINISHED, State.STOPPED, State.FAILED)

    def start(self, options: Sequence[str], devices: str | None) -> None:
        """Begin it, or go on from its newest checkpoint, in a process of its own; `devices` are the GPUs that it sees.

        Raises RunError where its folder cannot be used, or its log not be written.
        """
        words = [*self._words(), *options]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        if devices is not None:
            environment["CUDA_VISIBLE_DEVICES"] = devices
        self.progress.restart()
        with storage_errors("the run's log could not be written", self.log):
            make_folder(self.log.parent)
            with self.log.open("ab") as log:
                self._log_before = log.tell()
                # In a session of its own: what a terminal sends to all is passed on to it once, not twice.
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "distributed_kd.cli", *words],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
        self.state = State.RUNNING

    def _words(self) -> list[str]:
        config, path = self.variant.config, self.folder.path
        if path.exists():
            with self.folder.lock():  # nobody is at work in it
                to = config.checkpoint.to and self._checkpoints
                self.goes_on = self.folder.config_file.is_file() and has_some(self.folder.checkpoints_at(to))
                if not self.goes_on:
                    shutil.rmtree(path)  # it had not come to a checkpoint: nothing was learned yet
        if self.goes_on:
            return ["resume", str(path)]
        apart = ["--checkpoint.to", self._checkpoints] if config.checkpoint.to else []
        return ["train", str(self._file), "--seed", str(self.seed), "--out", str(path), *apart]

    @property
    def _checkpoints(self) -> str:
        """The run's own place among those of the comparison."""
        return f"{self.variant.config.checkpoint.to.rstrip('/')}/{self.folder.path.name}"

    def look(self) -> bool:
        """See how it is; True where its process has just ended."""
        if not self.is_running:
            return False
        code = self._process.poll()
        self.progress.update()
        if code is None:
            return False
        self.code = code
        if code == 0 and self._is_finished():
            self.state = State.FINISHED
        else:
            self.state = State.STOPPED if code in STOPPED else State.FAILED
        return True

    def refuse(self, error: RunError) -> None:
        """It could not be started."""
        self.state, self.code, self._refused = State.FAILED, error.exit_code, error.lines[-1]

    def stop(self, number: int) -> None:
        """Pass a signal on."""
        self._process.send_signal(number)
        self.state = State.ENDING

    def wait(self) -> None:
        self._process.wait()

    def _is_finished(self) -> bool:
        return (self.folder.read_summary() or {}).get("status") == "finished"

    @property
    def exit_code(self) -> int:
        """Of one that did not finish: one of the program's own codes, whatever ended its process."""
        return self.code if 0 < self.code < 128 or self.code in STOPPED else InternalError.exit_code

    @property
    def why(self) -> str:
        """Why it failed: its code, and the last line that tells of an error in what it printed."""
        how = f"code {self.code}" if self.code >= 0 else f"killed by {signal.Signals(-self.code).name}"
        line = self._refused or last_error(self.log, self._log_before)
        return f"{how}: {line}" if line else how


def last_error(log: Path, since: int) -> str:
    """The last line of a log that begins with `error: `, without that; the last line of all where there is none.

    Only what stands behind byte `since` is looked at.
    """
    with log.open("rb") as file:
        file.seek(max(since, log.stat().st_size - TAIL))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return one_line((errors or lines or [""])[-1].removeprefix("error: "))
