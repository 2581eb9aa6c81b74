"""Figures with what they are measured against, as a table to read and as JSON to keep."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table as Grid

from distributed_kd.reports.benchmarks import number


@dataclass(frozen=True)
class Options:
    """How long and where to measure."""

    repeats: int = 5
    """rounds in which all that is compared takes its turn; one more comes first and is not counted"""
    seconds: float = 1.0
    """of each turn, about"""
    address: str | None = None
    """a running Ray cluster to measure instead of this machine"""
    wanted: "Wanted | None" = None
    """what `plan` is to plan"""


@dataclass(frozen=True)
class Wanted:
    """The run that a plan is for, and the machines."""

    tables: Mapping[str, object]
    """of its run file"""
    actors: int = 0
    """rollouts; 0: as many as it takes"""
    steps: float = 0.0
    """environment steps a second; 0: as many as so many rollouts make"""
    cores: int = 16
    """of each machine"""


@dataclass(frozen=True)
class Figure:
    """One measured value, beside another where there is one to hold it against."""

    what: str
    value: float
    unit: str
    against: str = ""
    """what the other value is of: a peer, or the bare limit"""
    other: float = math.nan
    """the other value, in the same unit"""
    ratio: float = math.nan
    """median over the rounds of value / other, both of one round; NaN where there is no other"""
    at_least: float | None = None
    at_most: float | None = None
    """goals: for the ratio where there is one, else for the value"""

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.at_least is None and self.at_most is None:
            return None
        judged = self.value if math.isnan(self.ratio) else self.ratio
        return (self.at_least is None or judged >= self.at_least) and (self.at_most is None or judged <= self.at_most)

    @property
    def goal(self) -> str:
        bounds = (("≥", self.at_least), ("≤", self.at_most))
        return " and ".join(f"{sign} {bound:,g}" for sign, bound in bounds if bound is not None)


@dataclass(frozen=True)
class Table:
    """The figures of one benchmark, and how they were taken."""

    title: str
    how: str
    figures: Sequence[Figure] = field(default_factory=tuple)

    def as_json(self) -> dict[str, object]:
        """For a file: NaN as null."""
        rows = [{**asdict(one), "goal": one.goal, "is_met": one.is_met} for one in self.figures]
        for row in rows:
            row.update({key: None for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)})
        return {"title": self.title, "how": self.how, "figures": rows}

    def print(self, console: Console) -> None:
        """The table and a line on how it was taken."""
        grid = Grid(title=self.title, title_justify="left", title_style="bold")
        for heading in ("what", "value", "against", "its value", "ratio", "goal", ""):
            grid.add_column(heading, justify="left" if heading in ("what", "against", "goal") else "right")
        for one in self.figures:
            judged = {None: "", True: "met", False: "missed"}[one.is_met]
            grid.add_row(one.what, f"{number(one.value)} {one.unit}", one.against, _number(one.other), _number(one.ratio),
                         one.goal, judged)  # fmt: skip
        console.print(grid)
        console.print(self.how, style="dim", highlight=False, markup=False)


def _number(value: float) -> str:
    return "" if math.isnan(value) else number(value)
