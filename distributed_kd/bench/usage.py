"""What each part of a run takes of the cores, as the system counts it for their processes (on Linux)."""

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

from distributed_kd.bench.acting import parts_of
from distributed_kd.bench.contenders import loop, run_folder
from distributed_kd.bench.model import PARTS, Usage
from distributed_kd.bench.phases import replaced
from distributed_kd.processes import family

PART_OF = {"ray::RolloutActor": "rollouts", "ray::ReplayActor": "replay", "ray::LearnerActor": "learner"}
"""By what a process calls itself; all else that a run starts is Ray's own"""
TICKS = os.sysconf("SC_CLK_TCK")


def used(tables: Mapping[str, object], learns: bool, seconds: float, cpus: int) -> Usage:
    """What a run of these tables takes in about so many seconds, once all is under way, on a Ray of its own.

    Where it does not learn it only acts. Ray is told of so many `cpus` where there are fewer.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as beside:
        return beside.submit(_used, tables, learns, seconds, cpus).result()


def _used(tables: Mapping[str, object], learns: bool, seconds: float, cpus: int) -> Usage:
    from distributed_kd.training import connection, on_ray
    from distributed_kd.training.journal import Journal
    from distributed_kd.training.run import execute

    parts, played, marks = parts_of(tables), set(), []
    config = parts.config

    def show(now) -> None:
        if len(played) < config.rollouts.least or (learns and not now.updates):
            return
        if len(marks) < 2 and (not marks or time.monotonic() - marks[0][0] >= seconds):
            marks.append((time.monotonic(), now.env_steps, now.updates, cores_by_part(os.getpid())))
            if len(marks) == 2:
                signal.raise_signal(signal.SIGINT)

    def noted(method):
        def both(journal: Journal, stats) -> None:
            played.add(stats.actor)
            method(journal, stats)

        return both

    with ExitStack() as stack:
        if not learns:
            stack.enter_context(replaced(on_ray._Loop, "_ask_learner", lambda _: lambda loop: None))
        stack.enter_context(replaced(connection, "cores", lambda there: lambda: max(cpus, there())))
        stack.enter_context(replaced(Journal, "collected", noted))
        execute(parts, stack.enter_context(run_folder(parts)), loop("ray"), show=show)
    (began, steps, updates, before), (ended, more_steps, more_updates, after) = marks
    done = more_steps - steps
    taken = {part: after[part] - before[part] for part in PARTS}
    return Usage(ended - began, done, done / config.rollouts.segment_steps, more_updates - updates, taken)


def cores_by_part(driver: int) -> Counter[str]:
    """Seconds of a core that each part of a run has taken since its start, by the number of the driver's process."""
    taken: Counter[str] = Counter()
    for process in family(driver):
        try:
            called = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            stat = Path(f"/proc/{process}/stat").read_text()
        except OSError:  # it has ended meanwhile
            continue
        own = stat[stat.rindex(")") + 2 :].split()
        taken["driver" if process == driver else _part(called)] += (int(own[11]) + int(own[12])) / TICKS
    return taken


def _part(called: str) -> str:
    return next((part for name, part in PART_OF.items() if called.startswith(name)), "ray")
