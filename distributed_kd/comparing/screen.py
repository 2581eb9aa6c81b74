"""The screen while a comparison goes on: one live table of its runs on a terminal, a line for each change anywhere else."""

import math
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from distributed_kd.comparing.trial import State, Trial
from distributed_kd.reports.shown import DASH, number, return_form

MOST_ROWS = 24
"""Runs that the table has room for; of more those that are under way, and those that failed, go first"""
MOST_STUDENTS = 4
"""Students of one run that there is room for: the best"""
DRAWN_EVERY = 0.5
"""Seconds"""


class Screen:
    """Shows the runs; lines of what has changed go past it."""

    def __init__(self, trials: Sequence[Trial], console: Console | None = None):
        self._trials = trials
        self._console = console or Console(highlight=False)
        self._live: Live | None = None
        self._began = time.monotonic()
        self._drawn = -math.inf
        self._ours = [trial for trial in trials if not trial.is_over]

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._live = Live(self.table(), console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if self._live:
            self._live.update(self.table(), refresh=True)
            self._live.stop()

    def tell(self, changed: Trial | None) -> None:
        """A beat of the driver; `changed` has just begun, was told to stop, or is over."""
        if changed is not None and (not self._live or changed.state == State.FAILED):
            self._console.print(self.line(changed), soft_wrap=True, markup=False)
        if self._live and time.monotonic() >= self._drawn + DRAWN_EVERY:
            self._drawn = time.monotonic()
            self._live.update(self.table(), refresh=True)

    def line(self, trial: Trial) -> str:
        """What has become of a run, on one line."""
        begun = "goes on" if trial.goes_on else "started"
        word = begun if trial.state == State.RUNNING else trial.state
        told = f"{time.monotonic() - self._began:6.0f} s  {word:<8}  {trial.variant.config.env.id} {trial.name}"
        scores = _scores(trial)
        if trial.state == State.FAILED:
            told += f", {trial.why}"
        elif trial.state in (State.FINISHED, State.STOPPED):
            told += f"  {trial.progress.env_steps:,} steps" + (f"  {scores}" if scores else "")
        return told if trial.is_running else f"{told}  [{self._so_far()}]"

    def table(self) -> Table:
        """All runs, or those that matter most where there are many."""
        made = Table(title=self._so_far(), title_justify="left", title_style="", box=None, padding=(0, 2, 0, 0))
        for heading in ("run", "state"):
            made.add_column(heading, overflow="fold")
        for heading in ("steps", "done", "teacher"):
            made.add_column(heading, justify="right", no_wrap=True)
        made.add_column("students", overflow="fold")
        made.add_column("left", justify="right", no_wrap=True)
        rank = [State.RUNNING, State.ENDING, State.FAILED, State.STOPPED, State.FINISHED, State.WAITING]
        chosen = sorted(self._trials, key=lambda trial: rank.index(trial.state))[:MOST_ROWS]
        for trial in (trial for trial in self._trials if trial in chosen):
            progress = trial.progress
            left = progress.seconds_left if trial.state == State.RUNNING else None
            teacher = progress.teacher_return
            state = f"failed ({trial.code})" if trial.state == State.FAILED else trial.state
            made.add_row(
                Text(trial.name),
                Text(state, style="bold" if trial.state == State.FAILED else ""),
                f"{progress.env_steps:,}",
                f"{1.0 if trial.state == State.FINISHED else progress.share:.0%}",
                number(teacher, return_form(teacher)),
                Text(_students(trial)),
                clock(left) if left is not None else "",
            )
        if hidden := len(self._trials) - len(chosen):
            made.add_row(Text(f"and {hidden} more"))
        return made

    def _so_far(self) -> str:
        """Finished and failed runs in numbers, and the time that is left."""
        count = {state: sum(trial.state == state for trial in self._trials) for state in State}
        failed = f", {count[State.FAILED]} failed" if count[State.FAILED] else ""
        seconds = None if count[State.ENDING] or count[State.STOPPED] else self._seconds_left()
        left = "" if seconds is None else f", about {clock(seconds)} left"
        return f"{count[State.FINISHED]} of {len(self._trials)} runs finished{failed}{left}"

    def _seconds_left(self) -> float | None:
        """Of all runs, at the speed so far; None before there is one."""
        done = sum(trial.progress.done for trial in self._ours)
        left = sum(1.0 - trial.progress.share for trial in self._ours if not trial.is_over)
        return left * (time.monotonic() - self._began) / done if done > 0.05 and left else None


def _scores(trial: Trial) -> str:
    teacher = trial.progress.teacher_return
    if teacher is None:
        return ""
    return f"teacher {number(teacher, return_form(teacher))}  {_students(trial)}".rstrip()


def _students(trial: Trial) -> str:
    scores = trial.progress.normalised
    known = sorted(scores, key=lambda name: (math.isnan(scores[name]), -scores[name]))
    shown = known[:MOST_STUDENTS]
    told = "  ".join(f"{name} {number(scores[name], '.2f')}" for name in scores if name in shown)
    return told + (f"  and {len(known) - len(shown)} more" if len(known) > len(shown) else "")


def clock(seconds: float) -> str:
    """3905 as 1:05:05, 65 as 1:05; a dash beyond all measure."""
    if not seconds < 1e7:
        return DASH
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
