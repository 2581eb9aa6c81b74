"""One run of the command in a process of its own, watched from outside: when it began what, and how fast weights travel."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path

from distributed_kd import run_file
from distributed_kd.bench.phases import replaced
from distributed_kd.errors import InternalError
from distributed_kd.records import EpisodeStats, LearnerReport, Receipt

STAGES = ("checked", "ray", "answered", "first segment", "warm", "first update")
"""What a run comes to, one after the other: all imported and checked, Ray started, replay and learner there, the first
segment collected, the replay warm, the first update done"""
LONGEST = 300.0
"""Seconds that a watched run may take"""

CHILD = """
import sys
from distributed_kd.bench.watched import watching
from distributed_kd.cli import main
with watching(sys.argv[1]):
    code = main(sys.argv[2:])
sys.exit(code)
"""


@dataclass
class Watch:
    """Listens to a run's journal: all times as of time.time()."""

    warmup: int = 0
    reached: dict[str, float] = field(default_factory=dict)
    """when each stage was reached"""
    in_use: list[float] = field(default_factory=list)
    """[seconds] from a publication's end of the learner's call to a rollout's first collect with it"""
    _published: dict[int, float] = field(default_factory=dict)
    _used: set[tuple[int, int]] = field(default_factory=set)

    def reach(self, stage: str, when: float) -> None:
        self.reached.setdefault(stage, when)

    def collected(self, stats: EpisodeStats, now: float) -> None:
        self.reach("first segment", now)
        # Where a rollout does not say when it began, it is told by its end: later by as much as the word of it took.
        began = stats.started if math.isfinite(stats.started) else now - stats.seconds
        if stats.version in self._published and (stats.actor, stats.version) not in self._used:
            self._used.add((stats.actor, stats.version))
            self.in_use.append(began - self._published[stats.version])

    def counted(self, receipt: Receipt, now: float) -> None:
        if receipt.inserted >= self.warmup:
            self.reach("warm", now)

    def learned(self, report: LearnerReport) -> None:
        if report.done:
            self.reach("first update", report.started + report.wait_seconds + report.busy_seconds / report.done)
            self._published[report.updates] = report.ended


@contextmanager
def watching(out: str) -> Iterator[None]:
    """Watch the run that this process drives on Ray, and write what was seen to a file at its end."""
    import ray

    from distributed_kd.training import run
    from distributed_kd.training.journal import Journal

    watch = Watch()

    def told(listen: Callable) -> Callable:
        """A method of the journal that tells the watch too."""

        def make(method: Callable) -> Callable:
            @wraps(method)
            def both(journal: Journal, *arguments: object):
                listen(*arguments)
                return method(journal, *arguments)

            return both

        return make

    def execute(function: Callable) -> Callable:
        @wraps(function)
        def begun(parts, *arguments: object, **named: object):
            watch.warmup = parts.config.replay.warmup
            watch.reach("checked", time.time())
            return function(parts, *arguments, **named)

        return begun

    def init(function: Callable) -> Callable:
        @wraps(function)
        def started(*arguments: object, **named: object):
            there = function(*arguments, **named)
            watch.reach("ray", time.time())
            return there

        return started

    with ExitStack() as stack:
        stack.enter_context(replaced(run, "execute", execute))
        stack.enter_context(replaced(ray, "init", init))
        for name, listen in {
            "resumed": lambda *_: watch.reach("answered", time.time()),
            "collected": lambda stats: watch.collected(stats, time.time()),
            "counted": lambda receipt: watch.counted(receipt, time.time()),
            "learned": watch.learned,
        }.items():
            stack.enter_context(replaced(Journal, name, told(listen)))
        yield
    Path(out).write_text(json.dumps({"reached": watch.reached, "in_use": watch.in_use}))


@dataclass(frozen=True)
class Seen:
    """What was seen of one run."""

    seconds: dict[str, float]
    """from the start of the command to each stage"""
    in_use: list[float]
    """[seconds] of `Watch`"""
    summary: dict
    """as in summary.json"""


def watch(tables: Mapping[str, object], address: str | None = None) -> Seen:
    """Run the command on these tables, on Ray, to its end. Raises InternalError where it failed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "watched.toml").write_text(run_file.encode(run_file.decode(tables)))
        words = ["train", folder / "watched.toml", "--out", folder / "run", *(["--address", address] if address else [])]
        began = time.time()
        done = subprocess.run(
            [sys.executable, "-c", CHILD, folder / "seen.json", *words],
            cwd=place, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True, text=True, timeout=LONGEST, check=False,
        )  # fmt: skip
        if done.returncode:
            raise InternalError(f"a watched run failed (exit={done.returncode}): {' '.join(done.stderr.split())[-600:]}")
        seen = json.loads((folder / "seen.json").read_text())
        summary = json.loads((folder / "run" / "summary.json").read_text())
    return Seen({stage: when - began for stage, when in seen["reached"].items()}, seen["in_use"], summary)
