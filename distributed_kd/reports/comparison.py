"""What RESULTS.md compares: losses within a group of runs, and one policy across the groups of an environment."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from distributed_kd.maths.statistics import interquartile_mean, paired_difference
from distributed_kd.network_config import NetworkConfig
from distributed_kd.reports.groups import Finished, Groups
from distributed_kd.reports.shown import DASH, markdown_table, measured, number, return_form
from distributed_kd.reports.tables import column, interval, mean, steps_over_seeds, teacher_loss

PUBLISHED = ("kl", "nll", "mse")
"""Losses from the best to the worst, by Rusu et al. 2015, arXiv 1511.06295"""


@dataclass(frozen=True)
class _Measure:
    heading: str
    form: str
    of: Callable[[Finished, str], float]
    fewer_is_better: bool = False


def _steps(run: Finished, name: str) -> float:
    steps = run.steps.get(name)
    return math.nan if steps is None else steps


MEASURES = (
    _Measure("normalised", "+.3f", lambda run, name: measured(run.summary["students"][name]["normalised_score"])),
    _Measure(
        "gap-weighted agreement",
        "+.3f",
        lambda run, name: measured(run.summary["students"][name].get("gap_weighted_agreement")),
    ),
    _Measure("steps to 95 %", "+,.0f", _steps, fewer_is_better=True),
)


def published_order(runs: Sequence[Finished]) -> str:
    """Is KL better than NLL and NLL than MSE, among students of one size? Empty where no size has all three."""
    parts = []
    for size, named in _trios(runs):
        rows = [
            [f"{one} > {other}".upper(), *(_verdict(measure, runs, named[one], named[other]) for measure in MEASURES)]
            for one, other in combinations(PUBLISHED, 2)
        ]
        table = markdown_table(["pair", *(measure.heading for measure in MEASURES)], rows)
        parts.append(
            f"{' > '.join(PUBLISHED).upper()} (Rusu et al. 2015)? Students of {size:,} parameters, the first less "
            f"the second in each run: IQM [95 % interval].\n\n{table}\n"
        )
    return "\n".join(parts)


def _trios(runs: Sequence[Finished]) -> Iterator[tuple[int, dict[str, str]]]:
    """Every size at which all runs have students of the three losses, with the first of each loss by name."""
    everywhere = set.intersection(*(set(run.summary["students"]) for run in runs))
    students = {name: one for name, one in runs[0].summary["students"].items() if name in everywhere}
    for size in sorted({one["parameters"] for one in students.values()}, reverse=True):
        named: dict[str, str] = {}
        for name, one in students.items():
            if one["parameters"] == size:
                named.setdefault(one["loss"], name)
        if named.keys() >= set(PUBLISHED):
            yield size, named


def _verdict(measure: _Measure, runs: Sequence[Finished], one: str, other: str) -> str:
    pairs = np.array([(measure.of(run, one), measure.of(run, other)) for run in runs])
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    if not len(pairs):
        return DASH
    difference, low, high = paired_difference(*pairs.T)
    over = "" if len(pairs) == len(runs) else f" ({len(pairs)} of {len(runs)} seeds)"
    if len(pairs) == 1:
        return f"{difference:{measure.form}}: not told apart, one seed{over}"
    if low <= 0 <= high:
        said = "not told apart"
    else:
        said = "holds" if (difference < 0) == measure.fewer_is_better else "does not hold"
    return f"{difference:{measure.form}} [{low:{measure.form}}, {high:{measure.form}}]: {said}{over}"


def compared(groups: Groups, environment: str) -> str:
    """Teachers of all groups of an environment, and every student that is in several of them; empty for a single group."""
    by_label = {label: runs for (env, label), runs in groups.items() if env == environment}
    if len(by_label) < 2:
        return ""
    headings = ("policy", "runs", "seeds", "parameters", "loss", "teacher", "states", "env steps", "wall s",
                "normalised, IQM", "95 % interval", "return, IQM", "gap-weighted", "steps to 95 %")  # fmt: skip
    rows = [_row("teacher", label, runs) for label, runs in by_label.items()]
    for name, labels in _in_several(by_label).items():
        rows += [_row(name, label, by_label[label]) for label in labels]
    return (
        f"## {environment}: compared\n\nAll teachers, and the students whose name and network are in several groups. Scores "
        "and steps to 95 % are relative to the teacher of the same run, returns are not. Env steps and wall seconds are "
        f"medians, of the run alone: a teacher from elsewhere took its own before.\n\n{markdown_table(headings, rows)}\n"
    )


def _in_several(by_label: Mapping[str, Sequence[Finished]]) -> dict[str, list[str]]:
    """Labels of the groups by student, where more than one has it with the same network; a network after the other."""
    found: dict[tuple[str, NetworkConfig], list[str]] = {}
    for label, runs in by_label.items():
        for name, student in runs[0].config.students.items():
            if all(name in run.summary["students"] for run in runs):
                found.setdefault((name, student.network), []).append(label)
    several: dict[str, list[str]] = {}
    for (name, _), labels in found.items():
        if len(labels) > 1:
            several.setdefault(name, []).extend(labels)
    return several


def _row(name: str, label: str, runs: Sequence[Finished]) -> list[str]:
    is_teacher = name == "teacher"
    scored = [run.summary["teacher"] if is_teacher else run.summary["students"][name] for run in runs]
    normalised = column(scored, "normalised_score")
    return [
        name,
        label,
        str(len(runs)),
        f"{scored[0]['parameters']:,}",
        teacher_loss(runs) if is_teacher else scored[0]["loss"],
        _distinct(run.teacher_source for run in runs),
        _distinct(run.states for run in runs),
        _median(run.summary["env_steps"] for run in runs),
        _median(run.summary["wall_seconds"] for run in runs),
        "1" if is_teacher else number(interquartile_mean(normalised), ".3f"),
        interval(normalised, ".3f"),
        number(interquartile_mean(column(scored, "return_mean")), return_form(*column(scored, "return_mean"))),
        "1" if is_teacher else mean(scored, "gap_weighted_agreement", ".3f"),
        steps_over_seeds(runs, name),
    ]


def _distinct(texts: Iterator[str]) -> str:
    different = list(dict.fromkeys(texts))
    return "; ".join(different) if len(different) < 3 else f"{different[0]} and {len(different) - 1} more"


def _median(values: Iterator[float]) -> str:
    return f"{np.median(list(values)):,.0f}"
