"""What a comparison comes to, on the terminal: every policy over the seeds of each run file, by environment."""

from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distributed_kd.maths.statistics import interquartile_mean
from distributed_kd.reports.groups import Groups, student_names
from distributed_kd.reports.shown import DASH, measured, number, percent, return_form
from distributed_kd.reports.tables import column, interval, steps_over_seeds

WIDTH = 120


def print_over_seeds(groups: Groups, out: TextIO) -> None:
    """Print a table for each environment, and where no share of the teacher's score says anything."""
    console = Console(file=out, width=WIDTH, highlight=False)
    for environment in dict.fromkeys(env for env, _ in groups):
        of = {key: runs for key, runs in groups.items() if key[0] == environment}
        console.print(over_seeds_table(of))
        for (_, label), runs in of.items():
            chance = [run for run in runs if not _has_learned(run.summary)]
            if chance:
                where = f"in {len(chance)} of {len(runs)} runs the teacher plays no better than chance"
                console.print(f"{label}: {where}; a share of its score says nothing there.", soft_wrap=True, markup=False)
        console.print()


def _has_learned(summary: dict) -> bool:
    return measured(summary["teacher"]["return_mean"]) > measured(summary["random_return"])


def over_seeds_table(groups: Groups) -> Table:
    """The policies of one environment's groups: of one name beneath each other, the largest first."""
    (environment, _), *_ = groups
    made = Table(title=Text(environment), title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False,
                 collapse_padding=True)  # fmt: skip
    for heading in ("policy", "run file"):
        made.add_column(heading, overflow="fold")
    for heading in ("seeds", "parameters", "share", "normalised, IQM", "95 % interval", "return, IQM", "steps to 95 %"):
        made.add_column(heading, justify="right", no_wrap=heading != "steps to 95 %")
    for (_, label), runs in groups.items():
        teachers = [run.summary["teacher"] for run in runs]
        made.add_row("teacher", Text(label), str(len(runs)), f"{teachers[0]['parameters']:,}", "100 %", "1.000", DASH,
                     _mean_return(teachers), steps_over_seeds(runs, "teacher"))  # fmt: skip
    names = dict.fromkeys(name for runs in groups.values() for name in student_names(runs))
    for name in names:
        for (_, label), runs in groups.items():
            # It may have joined some of the runs only: those are told, and how many they are.
            having = [run for run in runs if name in run.summary["students"]]
            if not having:
                continue
            students = [run.summary["students"][name] for run in having]
            scores = column(students, "normalised_score")
            made.add_row(
                Text(name),
                Text(label),
                str(len(having)),
                f"{students[0]['parameters']:,}",
                percent(students[0]["parameter_share"]),
                number(interquartile_mean(scores), ".3f"),
                interval(scores, ".3f"),
                _mean_return(students),
                steps_over_seeds(having, name),
            )
    return made


def _mean_return(scored: list[dict]) -> str:
    returns = column(scored, "return_mean")
    return number(interquartile_mean(returns), return_form(*returns))
