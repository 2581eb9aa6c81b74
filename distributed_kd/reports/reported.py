"""Runs as the report tells of them: finished, stopped, failed, still going on, or damaged; none is left out.

Nothing here trusts a folder: links are not followed, and of what a file says only `believed` is kept.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from distributed_kd.config import RunConfig
from distributed_kd.errors import ConfigurationError, Problem, RunError
from distributed_kd.reports import believed
from distributed_kd.reports.curves import Curve, Read, curves_of, read_lines
from distributed_kd.reports.groups import Run, config_of, folders_of_runs, label_of, steps_of
from distributed_kd.reports.traces import Line, Traces
from distributed_kd.storage.run_folder import RunFolder

RUNNING = "running"
ALIVE = 120.0
"""Seconds since the last sign of life up to which a run without an end is taken to be going on"""
LARGEST_METRICS, LARGEST_FILE = 2**30, 2**24
"""Bytes of metrics, and of any other file, that are read: a day of metrics is a tenth of it"""
MOST_COMMANDS, LONGEST_LINE = 50, 1000
"""Command lines of a run, and letters of a line"""


@dataclass(frozen=True)
class Reported(Run):
    """A run in any state. Its summary has every entry; that of a run without an end tells how far it has come."""

    status: str
    """finished, running, broke off (no end was told), or what the summary says: interrupted, preempted, failed"""
    curves: dict[str, Curve]
    traces: Traces
    seconds: dict[str, float | None]
    """as `steps`, by the clock of the run"""
    machine: dict[str, str]
    typed: tuple[str, ...]
    """its command lines"""
    wrong: tuple[str, ...]
    """what of its files could not be read, a line each"""

    @property
    def is_finished(self) -> bool:
        return self.status == "finished"

    @property
    def is_scored(self) -> bool:
        return not math.isnan(self.summary["teacher"]["return_mean"])

    @property
    def name(self) -> str:
        return believed.text(self.folder.path.name)

    @property
    def label(self) -> str:
        return label_of(self.name)

    @property
    def commands(self) -> list[str]:
        return list(self.typed)


@dataclass(frozen=True)
class Unreadable:
    """A run's folder that tells nothing."""

    name: str
    why: str


def read_runs(folders: Iterable[Path]) -> tuple[list[Reported], list[Unreadable]]:
    """Every run at or below the folders, and those of which nothing can be told.

    Raises ConfigurationError where a folder is none, or there is no run at all.
    """
    folders = list(folders)
    for folder in folders:
        if not folder.is_dir():
            why, fix = "there is no such folder", "Give the folder of a run, or one that holds several, such as runs"
            raise ConfigurationError(Problem("no run", "DIR", folder, why, fix))
    found = folders_of_runs(folders)
    if not found:
        why, fix = "there is no config.toml at or below it", "Train a run first, or give the folder of one"
        raise ConfigurationError(Problem("no run", "DIR", ", ".join(map(str, folders)), why, fix))
    runs, unreadable = [], []
    for path in found:
        try:
            runs.append(read_run(RunFolder(path)))
        except (RunError, OSError) as error:
            unreadable.append(Unreadable(believed.text(path.name), _why(error)))
    return runs, unreadable


def read_run(folder: RunFolder) -> Reported:
    """The run in a folder, whatever state it is in. Raises RunError or OSError where its run file cannot be read."""
    _check_file(folder.config_file)
    config = config_of(folder)
    wrong: list[str] = []

    def read(path: Path, reader: Callable[[], Read], most: int = LARGEST_FILE) -> Read | None:
        try:
            _check_file(path, most)
            return reader()
        except (RunError, OSError) as error:
            wrong.append(_why(error))
            return None

    told = read(folder.summary_file, folder.read_summary)
    lines = read(folder.metrics_file, lambda: read_lines(folder.metrics_file, Line.of), LARGEST_METRICS) or []
    machine = believed.table(read(folder.machine_file, folder.read_machine))
    ended = told is not None and not _went_on(folder, lines)
    summary = believed.summary(told) if ended else _so_far(config, lines, believed.summary(told or {}))
    typed = read(folder.commands_file, lambda: Run(folder, config, summary, {}).commands[:MOST_COMMANDS]) or []
    status = summary["status"] if ended else "damaged" if wrong else _without_end(folder)
    summary |= {"status": status, "env": summary["env"] or believed.text(config.env.id)}
    traces, curves = Traces(lines), curves_of(line.evaluated for line in lines)
    steps, wall = steps_of(config, summary, curves), summary["wall_seconds"]
    return Reported(
        folder,
        config,
        summary,
        steps,
        status,
        curves,
        traces,
        seconds={name: None if at is None else traces.seconds_to(at, wall) for name, at in steps.items()},
        machine={name: believed.text(one) for name, one in machine.items()},
        typed=tuple(believed.text(line, most=LONGEST_LINE) for line in typed),
        wrong=tuple(wrong),
    )


def _why(error: RunError | OSError) -> str:
    line = error.lines[0] if isinstance(error, RunError) else f"cannot be read: {error}"
    return believed.text(line, most=LONGEST_LINE)


def _check_file(path: Path, most: int = LARGEST_FILE) -> None:
    """Raise ConfigurationError where it is no file of the run's own, or too large; it need not be there."""
    what, fix = "not read", "Put the file itself there"
    if path.is_symlink():
        raise ConfigurationError(Problem(what, "path", path, "it is a link, which may lead anywhere", fix))
    if path.exists() and not path.is_file():
        raise ConfigurationError(Problem(what, "path", path, "it is no file", fix))
    if path.exists() and (size := path.stat().st_size) > most:
        why = f"it has {size:,} bytes, and {most:,} are read at most"
        raise ConfigurationError(Problem(what, "path", path, why, fix))


def _went_on(folder: RunFolder, lines: list[Line]) -> bool:
    """It was resumed since its summary was written."""
    return bool(lines) and lines[-1].time > folder.summary_file.stat().st_mtime + 1.0


def _without_end(folder: RunFolder) -> str:
    newest = folder.metrics_file if folder.metrics_file.exists() else folder.config_file
    return RUNNING if time.time() - newest.stat().st_mtime < ALIVE else "broke off"


def _so_far(config: RunConfig, lines: list[Line], before: dict) -> dict:
    """What a summary would say by the newest lines; the account is that of an earlier one, if any."""
    evaluated = next((line for line in reversed(lines) if line.scores), None)
    scores = evaluated.scores if evaluated else {}
    sizes = next((line.parameters for line in reversed(lines) if line.parameters), {})
    whole = sizes.get("teacher", before["teacher"]["parameters"])
    students = {}
    for name, one in believed.table(config.students).items():
        earlier = before["students"].get(name, believed.student({}))
        size = sizes.get(name, earlier["parameters"])
        share = size / whole if whole > 0 else math.nan
        known = {"parameters": size, "parameter_share": share, "loss": one.label}
        students[name] = {**earlier, **_newest(scores.get(name)), **known}
    random = _newest(scores.get("random"))["return_mean"]
    last = lines[-1] if lines else None
    return before | {
        "env": believed.text(config.env.id),
        "seed": config.seed,
        "env_steps": int(last.env_steps) if last else 0,
        "updates": int(last.updates) if last else 0,
        "wall_seconds": float(Traces(lines).seconds[-1]) if lines else 0.0,
        "random_return": random,
        "teacher": {**before["teacher"], **_newest(scores.get("teacher")), "parameters": whole},
        "students": students,
    }


def _newest(score: Mapping | None) -> dict[str, object]:
    """What an evaluation while training says of a policy."""
    told = {**(score or {}), "return_ci95": None}
    kept = ("return_mean", "return_ci95", "normalised_score", "action_agreement", "gap_weighted_agreement")
    return {name: believed.student(told)[name] for name in kept}
