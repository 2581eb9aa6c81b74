"""The pictures of scores: against size, against time per decision, over training, by loss, and how runs are spread."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from distributed_kd.maths.performance import performance_profile
from distributed_kd.reports.curves import KEEPS
from distributed_kd.reports.learning_curves import read_off
from distributed_kd.reports.markup import Html
from distributed_kd.reports.shown import percent
from distributed_kd.reports.standings import Group, Standing
from distributed_kd.reports.svg import COLOURS, FAINT, INK, MARKERS, drawn

SIZE = 5.4, 3.5
LOWEST, HIGHEST = -0.5, 2.0
"""Normalised scores that a picture goes to at most; what lies beyond is drawn at its edge"""
COLUMNS = 4
"""Of a legend"""
LINES = 7
"""Students in a picture of lines: of more, the best and the worst"""


def against_size(groups: Sequence[Group]) -> Html | None:
    """Score against parameters, students of the groups of one environment, with the Pareto front over all of them.

    None where no size is known.
    """
    if all(math.isnan(one.share) for group in groups for one in group.students):
        return None

    def draw(figure) -> None:
        axes = _score_axes(figure, groups)
        axes.set_xscale("log")
        _students(axes, groups, lambda one: one.share)
        axes.set_xlabel("parameters, share of the teacher’s (log scale)")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda share, _: f"{share * 100:g} %")
        low, high = axes.get_xlim()
        axes.set_xlim(min(low, 0.5 * high), max(high, 1.15))
        _front(axes, groups, lambda one: one.share)

    return drawn(draw, SIZE, f"Normalised score against size. {_in_words(groups, _size_in_words)}",
                 "Score against size; bars are 95 % intervals, the line is the Pareto front.")  # fmt: skip


def against_time(groups: Sequence[Group]) -> Html | None:
    """Score against microseconds per decision; None where they were not measured yet."""
    if all(math.isnan(one.microseconds) for group in groups for one in group.students):
        return None

    def draw(figure) -> None:
        axes = _score_axes(figure, groups, named_at=0.5)
        _students(axes, groups, lambda one: one.microseconds)
        for place, group in enumerate(groups):
            axes.plot([group.teacher.microseconds], [1.0], marker="*", markersize=10, color=_colour(place), linestyle="none")
        _front(axes, groups, lambda one: one.microseconds, teacher=True)
        axes.set_xlabel("time per decision on one CPU thread, µs (star: the teacher)")

    return drawn(draw, SIZE, f"Normalised score against time per decision. {_in_words(groups, _time_in_words)}",
                 "Score against time per decision: one observation, one CPU thread.")  # fmt: skip


def learning_curves(group: Group) -> Html | None:
    """Mean return over environment steps of teacher and students; None where nothing was evaluated twice."""
    curves = [run.curves for run in (group.counted or group.runs)]
    curves = [one for one in curves if len(one.get("teacher", ())) > 1]
    if not curves:
        return None
    names = [name for name in lines_of(group) if all(name in one for one in curves)]

    def draw(figure) -> None:
        axes = figure.add_subplot()
        figure.subplots_adjust(left=0.13, right=0.98, top=0.97)
        random = [mean for one in curves for _, mean in one.get("random", ()) if not math.isnan(mean)]
        if random:
            axes.axhline(np.mean(random), color=FAINT, linewidth=1, linestyle=":", label="random")
        for place, name in reversed(list(enumerate(("teacher", *names)))):  # the teacher over the others
            steps, returns = read_off(curves, name)
            colour = INK if name == "teacher" else _colour(place - 1)
            axes.plot(steps, returns.mean(0), color=colour, linewidth=2.0 if name == "teacher" else 1.3, label=name)
            if len(curves) > 1:
                axes.fill_between(steps, returns.min(0), returns.max(0), color=colour, alpha=0.1, linewidth=0)
        axes.set_xlabel("environment steps")
        axes.set_ylabel("mean return")
        axes.xaxis.set_major_formatter(thousands)
        _legend_below(axes)

    band = f"; band: lowest to highest of {len(curves)} runs" if len(curves) > 1 else ""
    all_of_them = len(group.students)
    few = f" {len(names)} of {all_of_them} students: the best and the worst." if len(names) < all_of_them else ""
    return drawn(draw, SIZE, f"Learning curves of {group.name}: mean return of teacher and {len(names)} students.",
                 f"Learning curves, {group.label}{band}.{few}")  # fmt: skip


def by_loss(group: Group, parameters: float) -> Html:
    """Students of one size, a row for each, best first: every run a dot, the bar the 95 % interval."""
    students = sorted((one for one in group.students if one.parameters == parameters), key=lambda one: one.score)
    students = [one for one in students if not math.isnan(one.score)]

    def draw(figure) -> None:
        axes = figure.add_subplot()
        figure.subplots_adjust(left=0.4, right=0.97, top=0.98, bottom=0.5 / figure.get_figheight())
        low, high = _limits(students)
        for place, one in enumerate(students):
            axes.plot(np.clip(one.scores, low, high), [place] * len(one.scores), "o", color=FAINT, markersize=3, alpha=0.6)
            _bar(axes, one, place, (low, high))
        axes.set_yticks(range(len(students)), [f"{one.loss} at {one.temperature}"[:34] for one in students])
        axes.axvline(1.0, color=FAINT, linewidth=1, linestyle="--")
        axes.set_xlim(low, high)
        axes.set_xlabel("normalised score")

    words = "; ".join(f"{one.loss} at temperature {one.temperature}: {one.score:.3f}" for one in reversed(students))
    return drawn(draw, (SIZE[0], 0.7 + 0.24 * len(students)), f"Scores by loss and temperature. {words}.",
                 f"Loss at temperature, students of {parameters:,.0f} parameters; small dots are runs.")  # fmt: skip


def profile(group: Group) -> Html | None:
    """The share of runs whose score is above each threshold; None below two runs."""
    students = [one for one in group.students if one.policy in lines_of(group) and len(one.scores) > 1]
    if not students:
        return None
    low, high = _limits(students)
    taus = np.linspace(max(low, 0.0), high, 101)
    profiles = [(one, *performance_profile([one.scores], taus)) for one in students]

    def draw(figure) -> None:
        axes = figure.add_subplot()
        figure.subplots_adjust(left=0.13, right=0.98, top=0.97)
        for place, (one, share, under, over) in reversed(list(enumerate(profiles))):
            axes.step(taus, share, where="post", color=_colour(place), label=one.policy)
            axes.fill_between(taus, under, over, step="post", color=_colour(place), alpha=0.08, linewidth=0)
        axes.axvline(KEEPS, color=FAINT, linewidth=1, linestyle="--")
        axes.set_xlabel("normalised score τ")
        axes.set_ylabel("share of runs above τ")
        axes.set_ylim(-0.02, 1.02)
        _legend_below(axes)

    runs = max(len(one.scores) for one in students)
    return drawn(draw, SIZE, f"Performance profile over {runs} runs: the share of runs above each normalised score.",
                 f"Performance profile over {runs} runs, {group.label}, with 95 % bands.")  # fmt: skip


def lines_of(group: Group) -> list[str]:
    """The students that pictures of lines show, in the order of the group."""
    names = [one.policy for one in group.students]
    if len(names) <= LINES:
        return names
    best = sorted((one for one in group.students if not math.isnan(one.score)), key=lambda one: -one.score)
    shown = {one.policy for one in (*best[: LINES - 1], *best[-1:])}
    return [name for name in names if name in shown]


def thousands(number: float, _: object = None) -> str:
    """An axis's number: 12,000 as 12k."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:g}{unit}"
    return f"{number:g}"


# ---- parts of a picture


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _limits(students: Sequence[Standing]) -> tuple[float, float]:
    ends = [end for one in students for end in (*one.scores, one.low, one.high) if not math.isnan(end)]
    low, high = min([0.0, *ends]), max([1.09, *ends])
    return max(low, LOWEST) - 0.03, min(high, HIGHEST) + 0.03


def _score_axes(figure, groups: Sequence[Group], named_at: float = 0.95):
    """Axes of normalised scores; the teacher's line is named at that share of their width."""
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.13, right=0.97, top=0.95, bottom=0.15)
    axes.set_ylim(*_limits([one for group in groups for one in group.students]))
    axes.axhline(1.0, color=FAINT, linewidth=1, linestyle="--")
    axes.text(named_at, 1.0, "teacher", color=FAINT, va="bottom", ha="center", fontsize=8,
              transform=axes.get_yaxis_transform())  # fmt: skip
    axes.set_ylabel("normalised score: 0 random, 1 teacher")
    return axes


def _students(axes, groups: Sequence[Group], of) -> None:
    low, high = axes.get_ylim()
    for place, group in enumerate(groups):
        shown = [one for one in group.students if not (math.isnan(one.score) or math.isnan(of(one))) and of(one) > 0]
        if not shown:
            continue
        at, scores = [of(one) for one in shown], np.clip([one.score for one in shown], low, high)
        for x, one in zip(at, shown, strict=True):
            axes.plot([x, x], np.clip([one.low, one.high], low, high), color=_colour(place), linewidth=1.2, alpha=0.7)
        axes.plot(at, scores, linestyle="none", marker=MARKERS[place % len(MARKERS)], markersize=5, color=_colour(place),
                  label=group.label)  # fmt: skip
    if len(groups) > 1:
        _legend_below(axes)


def _front(axes, groups: Sequence[Group], of, teacher: bool = False) -> None:
    """A stair through the students that no other beats in both, each named where there is room."""
    low, high = axes.get_ylim()
    students = [one for group in groups for one in (*group.students, *([group.teacher] if teacher else []))]
    students = [one for one in students if not (math.isnan(one.score) or math.isnan(of(one))) and of(one) > 0]
    front: list[Standing] = []
    for one in sorted(students, key=lambda one: (of(one), -one.score)):
        if not front or one.score > front[-1].score:
            front.append(one)
    if not front:
        return
    at, scores = [of(one) for one in front], np.clip([one.score for one in front], low, high)
    axes.step(at, scores, where="post", color=FAINT, linewidth=1.2, zorder=1)
    places = axes.transAxes.inverted().transform(axes.transData.transform(np.column_stack([at, scores])))
    named: list[NDArray] = []
    for place, x, y, one in zip(places, at, scores, front, strict=True):
        if one.is_teacher or any(np.abs(place - other)[0] < 0.17 and np.abs(place - other)[1] < 0.08 for other in named):
            continue
        named.append(place)
        is_right, is_high = place[0] > 0.85, place[1] > 0.93
        axes.annotate(one.network or one.policy, (x, y), (-6 if is_right else 6, -10 if is_high else 4), fontsize=8,
                      textcoords="offset points", ha="right" if is_right else "left")  # fmt: skip


def _bar(axes, one: Standing, place: int, ends: tuple[float, float]) -> None:
    if not math.isnan(one.low):
        axes.plot(np.clip([one.low, one.high], *ends), [place, place], color=_colour(0), linewidth=1.6)
    axes.plot(np.clip([one.score], *ends), [place], "D", color=_colour(0), markersize=5)


def _legend_below(axes) -> None:
    """What the lines are called, in rows under the axis; the one drawn last comes first."""
    handles, labels = axes.get_legend_handles_labels()
    labels = [label if len(label) <= 22 else f"{label[:21]}…" for label in labels]
    height = axes.figure.get_figheight()
    axes.figure.subplots_adjust(bottom=(0.55 + 0.18 * math.ceil(len(labels) / COLUMNS)) / height)
    axes.legend(handles[::-1], labels[::-1], loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=COLUMNS, borderaxespad=0.3,
                bbox_transform=axes.figure.transFigure, columnspacing=1.2, handlelength=1.4)  # fmt: skip


def _in_words(groups: Sequence[Group], words) -> str:
    students = [words(one) for group in groups for one in group.students if not math.isnan(one.score)]
    return "; ".join(students[:12]) + ("." if students else "Nothing was scored yet.")


def _size_in_words(one: Standing) -> str:
    return f"{one.policy}: {percent(one.share)} of the parameters, score {one.score:.2f}"


def _time_in_words(one: Standing) -> str:
    return f"{one.policy}: {one.microseconds:.0f} microseconds, score {one.score:.2f}"
