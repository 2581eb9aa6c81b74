"""What RESULTS.md tells of one group of runs: scores over its seeds, each run, speed and accounting; as Markdown."""

from collections.abc import Sequence

import numpy as np

from distributed_kd.maths.statistics import interquartile_ci95, interquartile_mean
from distributed_kd.reports.groups import Finished, student_names
from distributed_kd.reports.shown import DASH, markdown_table, measured, number, percent, return_form

WIDEST = 6
"""Students up to which a run is a row; with more of them a student is one"""


def over_seeds(runs: Sequence[Finished]) -> str:
    """Teacher and students over the seeds of a group."""
    headings = ("policy", "loss", "parameters", "share", "normalised, IQM", "95 % interval", "agreement", "gap-weighted",
                "steps to 95 %", "µs a decision")  # fmt: skip
    summaries = [run.summary for run in runs]
    teachers = [summary["teacher"] for summary in summaries]
    form = return_form(*column(teachers, "return_mean"))
    rows = [
        ["teacher", teacher_loss(runs), f"{teachers[0]['parameters']:,}", "100 %",
         f"1 (return {number(interquartile_mean(column(teachers, 'return_mean')), form)})",
         interval(column(teachers, "return_mean"), form, "return "), "1", "1", steps_over_seeds(runs, "teacher"),
         mean(teachers, "decision_microseconds", ".1f")]
    ]  # fmt: skip
    for name in student_names(runs):
        students = [summary["students"][name] for summary in summaries if name in summary["students"]]
        if len(students) < len(runs):
            continue  # it joined some of the runs only: no number over all seeds
        scores = column(students, "normalised_score")
        rows.append(
            [name, students[0]["loss"], f"{students[0]['parameters']:,}", percent(students[0]["parameter_share"]),
             number(interquartile_mean(scores), ".3f"), interval(scores, ".3f"), mean(students, "action_agreement", ".3f"),
             mean(students, "gap_weighted_agreement", ".3f"), steps_over_seeds(runs, name),
             mean(students, "decision_microseconds", ".1f")]
        )  # fmt: skip
    return f"Over {len(runs)} seed{'s' if len(runs) > 1 else ''}:\n\n{markdown_table(headings, rows)}\n"


def each_run(runs: Sequence[Finished]) -> str:
    """Returns and, in brackets, normalised scores of each run; students in rows where there are too many for columns."""
    names = student_names(runs)
    headings = ["seed", "random", "teacher", *names, "episodes"]
    rows = []
    for run in runs:
        summary, teacher = run.summary, run.summary["teacher"]
        low, high = teacher["return_ci95"]
        form = return_form(summary["random_return"], teacher["return_mean"])
        cells = [_return_and_score(summary["students"].get(name), form) for name in names]
        rows.append(
            [str(summary["seed"]), number(summary["random_return"], form),
             f"{number(teacher['return_mean'], form)} [{number(low, form)}, {number(high, form)}]", *cells,
             str(teacher["episodes"])]
        )  # fmt: skip
    if len(names) > WIDEST:
        headings, *rows = zip(headings, *rows, strict=True)
    return f"Each run, return (normalised):\n\n{markdown_table(headings, rows)}\n"


def _return_and_score(student: dict | None, form: str) -> str:
    if student is None:
        return DASH
    return f"{number(student['return_mean'], form)} ({number(student['normalised_score'], '.3f')})"


def speed(runs: Sequence[Finished]) -> str:
    """How fast each run was, the account of its steps, and, where not all is as usual, its teacher and states."""
    headings = ["seed", "wall s", "env steps/s", "updates/s", "learner busy", "samples per insert",
                "generated = accepted + dropped + unknown"]  # fmt: skip
    unusual = not all(run.is_usual for run in runs)
    rows = []
    for run in runs:
        rate, account = run.summary["throughput"], run.summary["accounting"]
        rows.append(
            [str(run.summary["seed"]), f"{run.summary['wall_seconds']:,.0f}", f"{rate['env_steps_per_second']:,.0f}",
             f"{rate['updates_per_second']:,.0f}", f"{rate['learner_busy_share']:.3f}",
             f"{run.summary['replay']['samples_per_insert']:.3f}",
             f"{account['generated']:,} = {account['accepted']:,} + {sum(account['dropped'].values()):,} "
             f"+ {account['unknown']:,}", *([run.teacher_source, run.states] if unusual else [])]
        )  # fmt: skip
    return f"Speed and accounting:\n\n{markdown_table([*headings, *(['teacher', 'states'] if unusual else [])], rows)}\n"


# ---- cells


def column(scored: Sequence[dict], key: str) -> list[float]:
    """One number of each; NaN where it was not measured."""
    return [measured(one.get(key)) for one in scored]


def mean(scored: Sequence[dict], key: str, form: str) -> str:
    return number(float(np.mean(column(scored, key))), form)


def interval(values: Sequence[float], form: str, of: str = "") -> str:
    """The 95 % interval of the interquartile mean over seeds; a dash for a single one, which tells of no spread."""
    if len(values) < 2 or np.isnan(values).any():
        return DASH
    low, high = interquartile_ci95(values)
    return f"{of}{low:{form}} … {high:{form}}"


def steps_over_seeds(runs: Sequence[Finished], name: str) -> str:
    """Median with lowest and highest, of the runs that got there; how many those are, where it is not all."""
    known = [run.steps[name] for run in runs if name in run.steps]
    reached = [steps for steps in known if steps is not None]
    if not known:
        return DASH
    told = [f"{np.median(reached):,.0f}{_spread(reached)}"] if reached else []
    if len(reached) < len(known):
        told.append(f"{len(reached)} of {len(known)}")
    return ", ".join(told)


def _spread(reached: Sequence[int]) -> str:
    return f" ({min(reached):,} … {max(reached):,})" if len(reached) > 1 else ""


def teacher_loss(runs: Sequence[Finished]) -> str:
    """A teacher learns from temporal differences or, frozen, not at all."""
    return "td" if runs[0].config.teacher.learns else DASH
