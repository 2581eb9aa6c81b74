"""The screen while a run goes on: one live table on a terminal, plain lines anywhere else."""

import math
import time

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from distributed_kd.config import RunConfig
from distributed_kd.reports.shown import return_form
from distributed_kd.training.journal import Snapshot

LINE_SECONDS = 10.0
"""Time between two plain lines"""
MOST_ON_A_LINE, BEST_ON_A_LINE = 7, 4
"""Policies that a plain line has room for; of more it names the teacher, the best students and the worst"""


class Screen:
    """Shows the newest snapshot; only the driver draws."""

    def __init__(self, config: RunConfig, console: Console | None = None):
        self._policies = config.policies
        self._capacity = config.replay.capacity
        self._console = console or Console(highlight=False)
        self._live: Live | None = None
        self._next_line = 0.0

    def __enter__(self) -> "Screen":
        if self._console.is_terminal:
            self._live = Live(Text("starting Ray and the actors …"), console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, snapshot: Snapshot) -> None:
        """Draw a snapshot; where there is no terminal, a line every LINE_SECONDS and at every evaluation's end."""
        if self._live:
            self._live.update(self._table(snapshot))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_SECONDS
            self._console.print(self.line(snapshot), soft_wrap=True)

    def line(self, snapshot: Snapshot) -> str:
        """A snapshot on one line."""
        shown = [name for name in self._policies if name in snapshot.scores]
        if len(shown) > MOST_ON_A_LINE:
            students = sorted(shown[1:], key=lambda name: -snapshot.scores[name])
            shown = [shown[0], *students[:BEST_ON_A_LINE], students[-1]]
        form = return_form(*snapshot.scores.values())
        scores = "  ".join(f"{name} {snapshot.scores[name]:{form}}" for name in shown)
        return (
            f"{snapshot.seconds:5.0f} s  {snapshot.phase:<10} {snapshot.progress:4.0%}  "
            f"{snapshot.env_steps:>9,} steps ({snapshot.env_steps_per_second:,.0f}/s)  "
            f"{snapshot.updates:>8,} updates ({snapshot.updates_per_second:,.0f}/s)  "
            f"busy {snapshot.learner_busy_share:.2f}" + (f"  {scores}" if scores else "")
        )

    def _table(self, snapshot: Snapshot) -> Table:
        table = Table.grid(padding=(0, 2))
        left = time_left(snapshot)
        rows = [
            ("phase", f"{snapshot.phase}, {snapshot.progress:.0%} done" + (f", about {left} left" if left else "")),
            ("env steps", f"{snapshot.env_steps:,}   {snapshot.env_steps_per_second:,.0f} a second"),
            ("updates", f"{snapshot.updates:,}   {snapshot.updates_per_second:,.0f} a second"),
            ("learner busy", f"{snapshot.learner_busy_share:.0%}"),
            (
                "replay",
                f"{snapshot.replay_size:,} of {self._capacity:,}   {snapshot.samples_per_insert:.2f} samples per insert",
            ),
        ]
        for name in self._policies:
            if name in snapshot.scores:
                share = snapshot.normalised[name]
                note = "" if name == "teacher" or math.isnan(share) else f"   {share:.0%} of the teacher"
                rows.append((name, f"{snapshot.scores[name]:,{return_form(*snapshot.scores.values())}}{note}"))
        for name, text in rows:
            table.add_row(Text(name, style="bold"), Text(text))
        return table


def time_left(snapshot: Snapshot) -> str:
    """What is left at the speed so far, as 1:05; empty before there is a speed."""
    if snapshot.progress < 0.01 or snapshot.progress >= 1.0:
        return ""
    minutes, seconds = divmod(round(snapshot.seconds * (1 - snapshot.progress) / snapshot.progress), 60)
    return f"{minutes}:{seconds:02d}"
