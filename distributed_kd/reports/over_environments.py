"""What RESULTS.md tells of students of one name over all environments that have them, as Markdown."""

from collections import defaultdict
from collections.abc import Iterator

from distributed_kd import presets
from distributed_kd.maths.statistics import interquartile_mean, interquartile_over_tasks
from distributed_kd.reports.groups import Finished, Groups
from distributed_kd.reports.shown import markdown_table, measured, percent

SEEDS = 2
"""Runs that an environment needs to take part: one tells of no spread"""

Shares = dict[str, list[float]]
"""Normalised scores over the seeds, by environment"""


def over_environments(groups: Groups) -> str:
    """A row for each name of students that several environments have, largest first; nothing where there is none.

    The runs are those of the presets with several seeds, the teacher learning in the run.
    """
    scores: dict[str, Shares] = defaultdict(lambda: defaultdict(list))
    sizes: dict[str, list[float]] = defaultdict(list)
    for run in _taking_part(groups):
        for name, student in run.summary["students"].items():
            scores[name][run.env].append(measured(student["normalised_score"]))
            sizes[name].append(student["parameter_share"])
    rows = [
        _row(name, scores[name], sizes[name])
        for name in sorted(scores, key=lambda name: -max(sizes[name]))
        if len(scores[name]) > 1
    ]
    if not rows:
        return ""
    headings = ["students", "share", "environments", "runs", "normalised, IQM", "95 % interval", "worst environment"]
    how = (
        f"The presets with {SEEDS} seeds or more. The interquartile mean is over all runs of all these environments, its "
        "interval from a bootstrap that draws each environment's runs among themselves (Agarwal et al. 2021)."
    )
    return f"## Over environments\n\n{how}\n\n{markdown_table(headings, rows)}\n"


def _taking_part(groups: Groups) -> Iterator[Finished]:
    known = presets.names()
    for (_, label), runs in groups.items():
        if label in known and len(runs) >= SEEDS and all(run.is_usual for run in runs):
            yield from runs


def _row(name: str, scores: Shares, sizes: list[float]) -> list[str]:
    mean, low, high = interquartile_over_tasks(list(scores.values()))
    worst, environment = min((interquartile_mean(values), environment) for environment, values in scores.items())
    shares = dict.fromkeys(map(percent, (min(sizes), max(sizes))))
    return [name, " … ".join(shares), str(len(scores)), str(sum(map(len, scores.values()))), f"{mean:.3f}",
            f"{low:.3f} … {high:.3f}", f"{worst:.3f} ({environment})"]  # fmt: skip
