"""The pictures of how a group's runs went on: rates, shares of time, ages and lags, over the minutes of each run."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from distributed_kd.reports.charts import thousands
from distributed_kd.reports.markup import Html
from distributed_kd.reports.standings import Group
from distributed_kd.reports.svg import COLOURS, drawn

SIZE = 3.7, 2.1
CLOCKS = ((1.0, "seconds", 180.0), (60.0, "minutes", 10_800.0), (3600.0, "hours", math.inf))
"""Seconds of a unit of time, its name, and how long a run may take to be told in it"""
MOST_RUNS = 12
"""Runs whose lines are drawn"""


@dataclass(frozen=True)
class _Chart:
    """A picture of some of a line's charts, by what they are called in it."""

    title: str
    lines: dict[str, str]
    is_share: bool = False
    is_told_when_constant: bool = True


CHARTS = (
    _Chart("Rollouts: environment steps a second", {"env_steps_per_second": ""}),
    _Chart("Learner: updates a second", {"updates_per_second": ""}),
    _Chart(
        "Shares of time",
        {
            "learner_busy_share": "learner busy",
            "learner_wait_share": "learner waits",
            "rollouts_wait_share": "rollouts wait",
        },
        is_share=True,
    ),
    _Chart(
        "Replay: seconds waited for",
        {"replay_answer_seconds": "learner, for batches", "replay_store_seconds": "segment, until stored"},
    ),
    _Chart("Age of what is learned from, rows", {"sample_age_rows": ""}),
    _Chart("Policy lag, updates behind", {"policy_lag_updates": ""}),
    _Chart("Replay: steps held", {"replay_size": ""}),
    _Chart("Rollouts there", {"rollouts": ""}, is_told_when_constant=False),
)


def speed_charts(group: Group) -> Iterator[Html]:
    """A picture for each chart that was told of; a line for each run."""
    runs = [run.traces for run in group.runs[:MOST_RUNS]]
    for chart in CHARTS:
        lines = [(place, label, at, values) for place, (name, label) in enumerate(chart.lines.items())
                 for at, values in (run.over_time(name) for run in runs) if len(at) > 1]  # fmt: skip
        changes = len({value for _, _, _, values in lines for value in values}) > 1
        if lines and (changes or chart.is_told_when_constant):
            yield _picture(chart, lines, group)


def _picture(chart: _Chart, lines: list, group: Group) -> Html:
    def draw(figure) -> None:
        axes = figure.add_subplot()
        figure.subplots_adjust(left=0.15, right=0.97, top=0.88, bottom=0.21)
        named: set[str] = set()
        longest = max(at[-1] for _, _, at, _ in lines)
        scale, unit = next((scale, unit) for scale, unit, most in CLOCKS if longest < most)
        for place, label, at, values in lines:
            axes.plot(at / scale, values, color=COLOURS[place], linewidth=1.1, alpha=0.85,
                      label=label if label and label not in named else None)  # fmt: skip
            named.add(label)
        axes.set_title(chart.title)
        axes.set_xlabel(unit)
        axes.set_ylim(0, 1.05 if chart.is_share else None)
        axes.locator_params(nbins=4)
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}" if chart.is_share else thousands(share))
        if any(label for _, label, _, _ in lines):
            axes.legend(loc="best", handlelength=1.2, borderaxespad=0.2)

    newest = "; ".join(f"{label or chart.title} {values[-1]:,.3g}" for _, label, _, values in lines[:6])
    return drawn(draw, SIZE, f"{chart.title}, over time, {group.name}. At the end: {newest}.")
