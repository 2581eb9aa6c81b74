"""The outcome of one run: its answer in a sentence, a table of teacher and students, and where everything lies."""

import math
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from distributed_kd.reports.picture import draw
from distributed_kd.storage.run_folder import RunFolder

KEEPS = 0.95
"""Normalised score from which a student is said to keep the teacher's score"""


def report(summary: dict, folder: RunFolder, out: TextIO) -> None:
    """Print the outcome and draw its picture into the run's folder."""
    console = Console(file=out, width=100, highlight=False)
    console.print(table(summary))
    for line in [answer(summary), "", *notes(summary)]:
        console.print(line, soft_wrap=True, markup=False)
    if summary["status"] == "finished":
        picture = folder.path / "score_vs_size.svg"
        draw([summary], picture)
        console.print(f"picture   {picture}", soft_wrap=True, markup=False)
    else:
        console.print(f"go on     python launch.py resume {folder.path}", soft_wrap=True, markup=False)
    console.print(f"run       {folder.path}", soft_wrap=True, markup=False)


def table(summary: dict) -> Table:
    """Teacher and students, largest first."""
    teacher, made = summary["teacher"], Table(box=SIMPLE_HEAD, show_edge=False)
    for heading in (
        "policy",
        "parameters",
        "share",
        "return",
        "95 % interval",
        "normalised",
        "agreement",
        "µs/decision",
    ):
        made.add_column(heading, justify="left" if heading == "policy" else "right", no_wrap=True)
    made.add_row("teacher", f"{teacher['parameters']:,}", "100 %", *_returns(teacher), "1.000", "1.000",
                 number(teacher["decision_microseconds"], ".1f"))  # fmt: skip
    students = sorted(summary["students"].items(), key=lambda item: -item[1]["parameters"])
    for name, student in students:
        made.add_row(name, f"{student['parameters']:,}", percent(student["parameter_share"]), *_returns(student),
                     number(student["normalised_score"], ".3f"), number(student["action_agreement"], ".3f"),
                     number(student["decision_microseconds"], ".1f"))  # fmt: skip
    made.add_row("random", "", "", number(summary["random_return"], ".1f"), "", "0.000", "", "")
    return made


def answer(summary: dict) -> str:
    """How small can the network be? One sentence."""
    if summary["status"] != "finished":
        return f"The run was {summary['status']}: these are the scores of its newest evaluation while training."
    if not summary["teacher"]["return_mean"] > summary["random_return"]:
        return "The teacher plays no better than chance, so no share of its score says anything. Let it train longer."
    keeping = [
        (student["parameters"], name)
        for name, student in summary["students"].items()
        if student["normalised_score"] is not None and student["normalised_score"] >= KEEPS
    ]
    if not keeping:
        return f"No student kept {KEEPS:.0%} of the teacher's score."
    name = min(keeping)[1]
    student = summary["students"][name]
    return (
        f"The smallest student that keeps {KEEPS:.0%} of the teacher's score is {name}: "
        f"{percent(student['parameter_share'])} of its parameters, normalised score {student['normalised_score']:.3f}."
    )


def notes(summary: dict) -> list[str]:
    """Rates and the account of all steps."""
    speed, replay, account = summary["throughput"], summary["replay"], summary["accounting"]
    dropped = sum(account["dropped"].values())
    return [
        f"speed     {speed['env_steps_per_second']:,.0f} env steps/s, {speed['updates_per_second']:,.0f} updates/s, "
        f"learner busy {speed['learner_busy_share']:.0%}; {summary['wall_seconds']:,.0f} s in all",
        f"steps     {account['generated']:,} generated = {account['accepted']:,} accepted + {dropped:,} dropped "
        f"+ {account['unknown']:,} unknown; {replay['samples_per_insert']:.3f} samples per insert",
    ]


def _returns(scored: dict) -> tuple[str, str]:
    low, high = scored["return_ci95"]
    return number(scored["return_mean"], ".1f"), f"{number(low, '.1f')} … {number(high, '.1f')}"


def number(value: float | None, form: str) -> str:
    """A number, or a dash where nothing was measured."""
    return "–" if value is None or math.isnan(value) else format(value, form)


def percent(share: float) -> str:
    """0.0057 as "0.57 %", 0.258 as "26 %"."""
    return f"{share * 100:.2g} %" if share < 0.995 else f"{share * 100:.0f} %"
