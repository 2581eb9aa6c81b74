"""Which way of distilling was best: the students of one run that differ in their loss and not in their size, in order."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from distributed_kd.reports.curves import KEEPS
from distributed_kd.reports.shown import DASH, measured, number


def best_first(names: Iterable[str], summary: Mapping, steps: Mapping[str, int | None]) -> list[str]:
    """Students by normalised score to 3 digits; equal ones by fewer `steps` to 95 %, then by gap-weighted agreement.

    What was not measured, or never reached, goes last.
    """

    def key(name: str) -> tuple[float, float, float]:
        student, reached = summary["students"][name], steps.get(name)
        score = round(measured(student["normalised_score"]), 3)
        gap_weighted = measured(student.get("gap_weighted_agreement"))
        return _largest_first(score), math.inf if reached is None else reached, _largest_first(gap_weighted)

    return sorted(names, key=key)


def _largest_first(value: float) -> float:
    return math.inf if math.isnan(value) else -value


def rankings(summary: Mapping, steps: Mapping[str, int | None]) -> list[Table]:
    """A table for each size at which students differ in their loss, largest first.

    None where nothing was scored yet, and none where the teacher plays no better than chance: scores say nothing then.
    """
    students = summary["students"]
    if not measured(summary["teacher"]["return_mean"]) > measured(summary["random_return"]):
        return []
    by_size: dict[int, list[str]] = defaultdict(list)
    for name, student in students.items():
        by_size[student["parameters"]].append(name)
    return [
        _table(f"students of {size:,} parameters, best first", best_first(names, summary, steps), students, steps)
        for size, names in sorted(by_size.items(), reverse=True)
        if len({students[name]["loss"] for name in names}) > 1
    ]


def _table(title: str, names: list[str], students: Mapping, steps: Mapping[str, int | None]) -> Table:
    made = Table(title=title, title_justify="left", title_style="", box=SIMPLE_HEAD, show_edge=False, collapse_padding=True)
    made.add_column("place", justify="right", no_wrap=True)
    for heading in ("student", "loss"):
        made.add_column(heading, overflow="fold")
    for heading in ("normalised", "agreement", "gap-weighted", f"steps to {KEEPS * 100:.0f} %"):
        made.add_column(heading, justify="right", no_wrap=True)
    for place, name in enumerate(names, 1):
        student, reached = students[name], steps.get(name)
        made.add_row(str(place), name, student["loss"], number(student["normalised_score"], ".3f"),
                     number(student["action_agreement"], ".3f"), number(student.get("gap_weighted_agreement"), ".3f"),
                     DASH if reached is None else f"{reached:,}")  # fmt: skip
    return made
