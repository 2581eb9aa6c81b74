"""The sections of a report, out of groups of runs: what is told, in which order. Pictures are in the modules of charts."""

import math
from collections.abc import Sequence

from distributed_kd import run_file
from distributed_kd.reports import believed
from distributed_kd.reports.charts import against_size, against_time, by_loss, learning_curves, profile
from distributed_kd.reports.insights import insights
from distributed_kd.reports.markup import Html, element, joined, lines, table
from distributed_kd.reports.page import charts, section
from distributed_kd.reports.reported import RUNNING, Reported, Unreadable
from distributed_kd.reports.shown import DASH, number, return_form
from distributed_kd.reports.speed_charts import speed_charts
from distributed_kd.reports.standings import Group, answer
from distributed_kd.reports.standings_table import standings_table

MOST_SIZES = 3
"""Sizes of a group at which losses are compared"""
MOST_KEYS = 12


def answers(by_env: dict[str, list[Group]]) -> Html:
    """The answer on top: a card for each environment, a sentence for each of its groups."""
    return element("div", *(_card(env, groups) for env, groups in by_env.items()), class_="answers")


def _card(env: str, groups: Sequence[Group]) -> Html:
    told = []
    for group in groups:
        sentence, note = answer(group)
        prefix = f"{group.label}: " if len(groups) > 1 else ""
        told += [element("p", prefix, sentence, class_="said"), *([element("p", note, class_="note")] if note else [])]
    return element("div", element("h2", env), *told, class_="answer")


def environment(place: str, env: str, groups: Sequence[Group]) -> Html:
    """All about one environment: pictures of scores, the table, losses, how runs are spread."""
    scored = [group for group in groups if group.best]
    losses = [by_loss(group, size) for group in scored for size in sizes_compared(group)[:MOST_SIZES]]
    compared = charts(losses)
    return section(
        place,
        env,
        charts([against_size(scored), against_time(scored), *(one for group in groups for one in _of_group(group))])
        if scored
        else element("p", "Nothing was scored yet.", class_="note"),
        element("h3", "Policies"),
        _about(groups),
        standings_table(groups),
        joined([element("h3", "Losses and temperatures"), compared]) if compared else None,
        *(insights(group) for group in groups),
    )


def _of_group(group: Group) -> list[Html | None]:
    return [learning_curves(group), profile(group)]


def sizes_compared(group: Group) -> list[float]:
    """Numbers of parameters at which students differ in loss or temperature, largest first."""
    ways: dict[float, set[tuple[str, str]]] = {}
    for one in group.students:
        if not (math.isnan(one.score) or math.isnan(one.parameters)):
            ways.setdefault(one.parameters, set()).add((one.loss, one.temperature))
    return sorted((size for size, told in ways.items() if len(told) > 1), reverse=True)


def _about(groups: Sequence[Group]) -> Html:
    told = []
    for group in groups:
        mean, low, high, random = group.returns
        form = return_form(mean, random)
        seeds = f"{len(group.counted)} of {len(group.runs)} runs counted"
        interval = f" [{number(low, form)}, {number(high, form)}]" if not math.isnan(low) else ""
        told.append(
            f"{group.label}: {seeds}; the teacher’s return is {number(mean, form)}{interval}, a random policy’s "
            f"{number(random, form)}."
        )
        if keys := differences(group):
            told.append(f"{group.label}: its runs are no repetitions of each other, they differ in {', '.join(keys)}.")
    how = (
        "Score: (student − random) / (teacher − random), the interquartile mean over runs. Agreement: how often the student "
        "picks the teacher’s action; gap-weighted: each state by the gap between the teacher’s two best actions. Bytes are "
        "those of float32 parameters. Behind a loss stands its temperature; ◀ marks the answer. A heading sorts."
    )
    return joined([*(element("p", line) for line in told), element("p", how, class_="note")])


def differences(group: Group) -> list[str]:
    """Keys of the run file, but for the seed, in which the runs of a group differ; the first MOST_KEYS."""
    first, *others = (run.config for run in group.runs)
    keys = dict.fromkeys(key for other in others for key in run_file.changed(first, other) if key != "seed")
    return [believed.text(key) for key in keys][:MOST_KEYS]


def speed(groups: Sequence[Group]) -> Html:
    """Rates and waits over time, a row of pictures for each group."""
    shown = [(group, charts(speed_charts(group), "charts small")) for group in groups]
    parts = [part for group, drawn in shown if drawn for part in (element("h3", group.name), drawn)]
    return section("speed", "Speed over time", *parts) if parts else joined([])


def runs_table(groups: Sequence[Group], unreadable: Sequence[Unreadable]) -> Html:
    """Every run in whatever state, its speed, its account, and what failed; none is left out."""
    headings = ("run", "state", "seed", "env steps", "updates", "wall s", "env steps/s", "updates/s", "learner busy",
                "samples per insert", "generated = accepted + dropped + unknown")  # fmt: skip
    rows = [_run(run) for group in groups for run in group.runs]
    width = len(headings)
    rows += [[element("th", one.name, scope="row"), element("td", f"unreadable: {one.why}", colspan=width - 1,
              class_="long bad")] for one in unreadable]  # fmt: skip
    failures = [[element("th", run.name, scope="row"), element("td", told, class_="long bad" if is_bad else "long")]
                for group in groups for run in group.runs for told, is_bad in failures_of(run)]  # fmt: skip
    held = "None: nothing failed, was restarted or was dropped, and every invariant held."
    return section(
        "runs",
        "Runs and their accounts",
        table(headings, rows, words=("run", "state"), label="Runs"),
        element("h3", "Faults, restarts and invariants"),
        table(("run", "what"), failures, words=("run", "what"), label="Faults")
        if failures
        else element("p", held, class_="good"),
    )


def _run(run: Reported) -> list[object]:
    summary = run.summary
    rate, account, dropped = summary["throughput"], summary["accounting"], sum(summary["accounting"]["dropped"].values())
    handled = account["accepted"] + dropped + account["unknown"]
    if account["generated"]:
        holds = "=" if account["generated"] == handled else "≠"
        told = f"{account['generated']:,} {holds} {account['accepted']:,} + {dropped:,} + {account['unknown']:,}"
        sums = element("td", told, class_="good" if holds == "=" else "bad")
    else:
        sums = element("td", DASH)
    return [
        element("th", run.name, scope="row"),
        element("td", run.status, class_="text" if run.is_finished or run.status == RUNNING else "text bad"),
        str(summary["seed"]),
        f"{summary['env_steps']:,}",
        f"{summary['updates']:,}",
        number(summary["wall_seconds"], ",.0f"),
        number(rate["env_steps_per_second"], ",.0f"),
        number(rate["updates_per_second"], ",.0f"),
        number(rate["learner_busy_share"], ".3f"),
        number(summary["replay"]["samples_per_insert"], ".3f"),
        sums,
    ]


def failures_of(run: Reported) -> list[tuple[str, bool]]:
    """What failed, was replaced, lost or broken in a run, a line each, and whether it is a fault of the run's own."""
    account, told = run.summary["accounting"], [(line, True) for line in run.wrong]
    kinds = {
        "dropped steps": account["dropped"], "restarts": account["restarts"], "environment faults": account["env_faults"],
        "skipped updates": account["skipped_updates"], "on purpose": account["on_purpose"],
    }  # fmt: skip
    for what, found in kinds.items():
        if said := ", ".join(f"{name} {count:,}" for name, count in found.items() if count):
            told.append((f"{what}: {said}", False))
    lost = account["rollbacks"]
    if lost.get("count"):
        told.append((f"went back to a checkpoint {lost['count']:,} times, losing {lost.get('env_steps', 0):,} steps and "
                     f"{lost.get('updates', 0):,} updates", False))  # fmt: skip
    for kind, times in account["recovery_seconds"].items():
        median, worst = (number(times.get(name, math.nan), ".1f") for name in ("p50", "max"))
        told.append((f"{kind} back at work after {median} s (median), {worst} s at most", False))
    if broken := ", ".join(f"{name} ({count:,} x)" for name, count in run.summary["invariants"].items() if count):
        told.append((f"what must hold of the data did not: {broken}", True))
    return told


def made(command: str, groups: Sequence[Group], here: dict[str, str]) -> Html:
    """How the runs were made, and this page: commands, seeds, machines, versions."""
    commands = dict.fromkeys(line for group in groups for run in group.runs for line in run.commands)
    machines = dict.fromkeys(", ".join(run.machine.values()) for group in groups for run in group.runs if run.machine)
    seeds = [f"{group.name}: {', '.join(str(run.summary['seed']) for run in group.runs)}" for group in groups]
    return section(
        "made",
        "How this was made",
        element("h3", "Commands of the runs"),
        element("pre", lines(commands)),
        *([element("h3", "This report"), element("pre", command)] if command else []),
        element("h3", "Seeds"),
        *(element("p", line) for line in seeds),
        element("h3", "Machines of the runs"),
        *(element("p", line) for line in machines),
        *([] if machines else [element("p", "Not noted in the runs’ folders.", class_="note")]),
        element("h3", "Machine of this report"),
        element("p", ", ".join(here.values())),
    )
