"""The outcome of one run: its answer in a sentence, a table of teacher and students, and where everything lies."""

import shlex
from collections.abc import Mapping
from types import MappingProxyType
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from distributed_kd.reports.curves import KEEPS, read_curves, steps_to_keep
from distributed_kd.reports.picture import draw
from distributed_kd.reports.ranking import best_first, rankings
from distributed_kd.reports.report import write_page
from distributed_kd.reports.rules import Rules, draw_rules
from distributed_kd.reports.shown import measured, number, percent, return_form
from distributed_kd.storage.run_folder import RunFolder

FEW_RULES = 16
"""Decisions of a tree that are printed at the end of a run at most; `evaluate --rules` prints all"""


def report(summary: dict, folder: RunFolder, out: TextIO, rules: Mapping[str, Rules] = MappingProxyType({})) -> None:
    """Print the outcome, with the `rules` of students that are trees, and put its pictures and its page into the folder.

    Raises CheckpointError for damaged metrics, StorageError where the page cannot be written.
    """
    console = Console(file=out, width=100, highlight=False)
    steps = steps_to_keep(summary, read_curves(folder.metrics_file))
    console.print(table(summary, steps))
    for ranking in rankings(summary, steps):
        console.print("", ranking)
    for line in [answer(summary, steps), "", *_told_rules(rules, folder), *notes(summary)]:
        console.print(line, soft_wrap=True, markup=False)
    page = write_page(folder.path, f"python launch.py report {shlex.quote(str(folder.path))}")
    console.print(f"report    {page}", soft_wrap=True, markup=False)
    if summary["status"] == "finished":
        picture = folder.path / "score_vs_size.svg"
        draw({summary["env"]: [summary]}, picture)
        console.print(f"picture   {picture}", soft_wrap=True, markup=False)
        for name, its in rules.items():
            picture = folder.path / f"tree_{name}.svg"
            draw_rules(its, its.title(name), picture)
            console.print(f"tree      {picture}", soft_wrap=True, markup=False)
    else:
        console.print(f"go on     python launch.py resume {folder.path}", soft_wrap=True, markup=False)
    console.print(f"run       {folder.path}", soft_wrap=True, markup=False)


def _told_rules(rules: Mapping[str, Rules], folder: RunFolder) -> list[str]:
    told = []
    for name, its in rules.items():
        few = its.root.leaves - 1 <= FEW_RULES
        see = f"python launch.py evaluate {folder.path} --policy {name} --rules"
        told += [its.title(name), *(its.lines if few else [f"  too many for here: {see}"]), ""]
    return told


def table(summary: dict, steps: Mapping[str, int | None]) -> Table:
    """Teacher and students, largest first, of one size the best first."""
    teacher, made = summary["teacher"], Table(box=SIMPLE_HEAD, show_edge=False, collapse_padding=True)
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
        if heading == "policy":
            made.add_column(heading, overflow="fold")
        else:
            made.add_column(heading, justify="right", no_wrap=True)
    form = return_form(summary["random_return"], teacher["return_mean"])
    made.add_row("teacher", f"{teacher['parameters']:,}", "100 %", *_returns(teacher, form), "1.000", "1.000",
                 number(teacher["decision_microseconds"], ".1f"))  # fmt: skip
    students = summary["students"]
    for name in sorted(best_first(students, summary, steps), key=lambda name: -students[name]["parameters"]):
        student = students[name]
        made.add_row(name, f"{student['parameters']:,}", percent(student["parameter_share"]), *_returns(student, form),
                     number(student["normalised_score"], ".3f"), number(student["action_agreement"], ".3f"),
                     number(student["decision_microseconds"], ".1f"))  # fmt: skip
    made.add_row("random", "", "", number(summary["random_return"], form), "", "0.000", "", "")
    return made


def answer(summary: dict, steps: Mapping[str, int | None]) -> str:
    """How small can the network be? One sentence; `steps` to 95 % decide between students as good as each other."""
    if summary["status"] != "finished":
        return f"The run was {summary['status']}: these are the scores of its newest evaluation while training."
    if not summary["teacher"]["return_mean"] > summary["random_return"]:
        return "The teacher plays no better than chance, so no share of its score says anything. Let it train longer."
    students = summary["students"]
    keeping = [name for name, student in students.items() if measured(student["normalised_score"]) >= KEEPS]
    if not keeping:
        return f"No student kept {KEEPS:.0%} of the teacher's score."
    smallest = min(students[name]["parameters"] for name in keeping)
    best, *others = best_first((name for name in keeping if students[name]["parameters"] == smallest), summary, steps)
    share, score = percent(students[best]["parameter_share"]), students[best]["normalised_score"]
    if not others:
        return (
            f"The smallest student that keeps {KEEPS:.0%} of the teacher's score is {best}: {share} of its parameters, "
            f"normalised score {score:.3f}."
        )
    of_that_size = sum(student["parameters"] == smallest for student in students.values())
    return (
        f"The smallest students that keep {KEEPS:.0%} of the teacher's score have {share} of its parameters: "
        f"{1 + len(others)} of {of_that_size} of that size do, the best is {best} with a normalised score of {score:.3f}."
    )


def notes(summary: dict) -> list[str]:
    """Rates and the account of all steps."""
    speed, replay, account = summary["throughput"], summary["replay"], summary["accounting"]
    dropped = sum(account["dropped"].values())
    failed = [f"{count:,} x {name}" for name, count in account["restarts"].items() if count]
    failed += [f"{count:,} x {name}" for name, count in account["env_faults"].items() if count]
    failed += [f"{count:,} x an update of {name} (skipped)" for name, count in account.get("skipped_updates", {}).items()]
    lost = account["rollbacks"]
    if lost["count"]:
        failed.append(f"{lost['env_steps']:,} steps and {lost['updates']:,} updates lost by going back to a checkpoint")
    times = [
        f"{kind} {one['p50']:.1f} s (95 %: {one['p95']:.1f} s, {one['count']:,} x)"
        for kind, one in account["recovery_seconds"].items()
    ]
    done = [f"{count:,} x {what}" for what, count in account["on_purpose"].items()]
    broken = [f"{name} ({count:,} x)" for name, count in summary["invariants"].items() if count]
    return [
        f"speed     {speed['env_steps_per_second']:,.0f} env steps/s, {speed['updates_per_second']:,.0f} updates/s, "
        f"learner busy {speed['learner_busy_share']:.0%}; {summary['wall_seconds']:,.0f} s in all",
        f"steps     {account['generated']:,} generated = {account['accepted']:,} accepted + {dropped:,} dropped "
        f"+ {account['unknown']:,} unknown; {replay['samples_per_insert']:.3f} samples per insert",
        *([f"failed    {', '.join(failed)}: replaced, and gone on"] if failed else []),
        *([f"back      at work again after (median): {', '.join(times)}"] if times else []),
        *([f"chaos     on purpose: {', '.join(done)}"] if done else []),
        *([f"broken    what must hold of the data did not: {', '.join(broken)}. Please report this run"] if broken else []),
    ]


def _returns(scored: dict, form: str) -> tuple[str, str]:
    low, high = scored["return_ci95"]
    return number(scored["return_mean"], form), f"{number(low, form)} … {number(high, form)}"
