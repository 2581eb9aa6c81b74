"""What `report` writes: one page, and the same figures as CSV and JSON, from runs in any state."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from distributed_kd.reports import sections
from distributed_kd.reports.groups import grouped
from distributed_kd.reports.machine import machine
from distributed_kd.reports.markup import Html, element
from distributed_kd.reports.page import page
from distributed_kd.reports.reported import RUNNING, Reported, Unreadable, read_runs
from distributed_kd.reports.sizes import BYTES
from distributed_kd.reports.standings import Group, answer
from distributed_kd.storage.files import make_folder, replace_file, storage_errors, strict_json

PAGE = "report.html"
FORMULA = ("=", "+", "-", "@", "\t")
"""What a spreadsheet would take for a formula, at the beginning of a text"""


logger = logging.getLogger(__name__)


def write_report(folders: Sequence[Path], out: Path, command: str = "") -> list[Path]:
    """Write report.html, report.csv and report.json on all runs at or below the folders into the folder `out`.

    `command` is what was typed for it. Gives the files. What of a run cannot be read is told in the report, and warned of.
    Raises ConfigurationError where there is no run, StorageError where nothing can be written.
    """
    return _written(out, texts(folders, command))


def texts(
    folders: Sequence[Path], command: str, refresh_seconds: int | None = None, warned: set[str] | None = None
) -> dict[str, str]:
    """What `write_report` writes, by the names of its files; raises as it does where there is no run.

    The page asks to be loaded again after `refresh_seconds`, as long as a run goes on. What is in `warned` is not warned of
    again, what is warned of gets into it.
    """
    groups, unreadable = _read(folders, set() if warned is None else warned)
    goes_on = any(run.status == RUNNING for group in groups for run in group.runs)
    return {
        PAGE: html(groups, unreadable, command, refresh_seconds if goes_on else None),
        "report.csv": as_csv(groups),
        "report.json": f"{strict_json(as_plain(groups, unreadable, command), indent=1)}\n",
    }


def write_page(folder: Path, command: str) -> Path:
    """Write report.html on one run into its own folder; gives the file. Raises as `write_report`."""
    (page,) = _written(folder, {PAGE: html(*_read([folder], set()), command)})
    return page


def _read(folders: Sequence[Path], warned: set[str]) -> tuple[list[Group], list[Unreadable]]:
    runs, unreadable = read_runs(folders)
    for line in (*(one.why for one in unreadable), *(line for run in runs for line in run.wrong)):
        if line not in warned:
            logger.warning("warning: %s", line)
            warned.add(line)
    return [Group.of(env, label, members) for (env, label), members in grouped(runs).items()], unreadable


def _written(out: Path, texts: Mapping[str, str]) -> list[Path]:
    with storage_errors("the report could not be written", out):
        make_folder(out)
        for name, text in texts.items():
            replace_file(out / name, text.encode("utf-8", "replace"))
    return [out / name for name in texts]


def html(groups: Sequence[Group], unreadable: Sequence[Unreadable], command: str, refresh_seconds: int | None = None) -> str:
    """The page; a browser loads it again after `refresh_seconds`, if any."""
    by_env: dict[str, list[Group]] = {}
    for group in groups:
        by_env.setdefault(group.env, []).append(group)
    places = {env: f"env-{number}" for number, env in enumerate(by_env, 1)}
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    runs = [run for group in groups for run in group.runs]
    count = f"{len(runs)} run{'s' if len(runs) != 1 else ''}, {len(by_env)} environment{'s' if len(by_env) != 1 else ''}"
    links = [
        *((place, env) for env, place in places.items()),
        ("speed", "Speed"),
        ("runs", "Runs"),
        ("made", "How it was made"),
    ]
    return page(
        f"distributed_kd: {', '.join(by_env) or 'no run could be read'}",
        element("header", element("h1", "How small can the network be?"), element("p", f"{count}; {now}", class_="note")),
        sections.answers(by_env),
        *_unfinished(runs, unreadable),
        element("nav", element("ul", *(element("li", element("a", name, href=f"#{place}")) for place, name in links)),
                aria_label="Sections"),
        element(
            "main",
            *(sections.environment(places[env], env, found) for env, found in by_env.items()),
            sections.speed(groups),
            sections.runs_table(groups, unreadable),
            sections.made(command, groups, machine()),
        ),
        element("footer", "Made by distributed_kd; this page loads nothing from elsewhere."),
        refresh_seconds=refresh_seconds,
    )  # fmt: skip


def _unfinished(runs: Sequence[Reported], unreadable: Sequence[Unreadable]) -> list[Html]:
    states: dict[str, int] = {}
    for run in runs:
        if not run.is_finished:
            states[run.status] = states.get(run.status, 0) + 1
    if unreadable:
        states["unreadable"] = len(unreadable)
    if not states:
        return []
    told = ", ".join(f"{count} {state}" for state, count in states.items())
    return [
        element("p", f"Not all runs are finished: {told}. ", element("a", "See all runs", href="#runs"), class_="warning")
    ]


def as_csv(groups: Sequence[Group]) -> str:
    """A row for each policy of each run."""
    rows = [row for group in groups for run in group.runs for row in rows_of(group, run)]
    written = io.StringIO()
    out = csv.DictWriter(written, rows[0] if rows else ["env"], lineterminator="\n")
    out.writeheader()
    out.writerows({name: _csv_cell(value) for name, value in row.items()} for row in rows)
    return written.getvalue()


def _csv_cell(value: object) -> object:
    if value is None or value != value:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def rows_of(group: Group, run: Reported) -> list[dict[str, object]]:
    """What a run tells of each of its policies, as plain columns."""
    summary = run.summary
    standing = {one.policy: one for one in (group.teacher, *group.students)}
    rows = []
    for name, policy in (("teacher", summary["teacher"]), *summary["students"].items()):
        is_teacher = name == "teacher"
        known = standing.get(name)
        rows.append(
            {
                "env": run.env,
                "label": run.label,
                "seed": summary["seed"],
                "status": run.status,
                "run": run.name,
                "policy": name,
                "network": known.network if known else "",
                "loss": known.loss if is_teacher and known else policy.get("loss", ""),
                "temperature": known.temperature if known else "",
                "parameters": policy["parameters"],
                "parameter_share": 1.0 if is_teacher else policy["parameter_share"],
                "bytes": policy["parameters"] * BYTES,
                "return_mean": policy["return_mean"],
                "return_low": policy["return_ci95"][0],
                "return_high": policy["return_ci95"][1],
                "normalised_score": 1.0 if is_teacher else policy["normalised_score"],
                "action_agreement": 1.0 if is_teacher else policy["action_agreement"],
                "gap_weighted_agreement": 1.0 if is_teacher else policy["gap_weighted_agreement"],
                "decision_microseconds": policy["decision_microseconds"],
                "steps_to_95": run.steps.get(name),
                "seconds_to_95": run.seconds.get(name),
                "episodes": policy["episodes"],
                "env_steps": summary["env_steps"],
                "updates": summary["updates"],
                "wall_seconds": summary["wall_seconds"],
            }
        )
    return rows


def as_plain(groups: Sequence[Group], unreadable: Sequence[Unreadable], command: str) -> dict[str, object]:
    """All figures of the page, for other programs."""
    return {
        "command": command,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "groups": [
            {
                "env": group.env,
                "label": group.label,
                "answer": answer(group)[0],
                "best": group.best.policy if group.best else None,
                "is_finished": group.is_finished,
                "teacher_return": dict(zip(("mean", "low", "high", "random"), group.returns, strict=True)),
                "policies": [asdict(one) | {"bytes": one.bytes} for one in (group.teacher, *group.students)],
                "runs": [
                    {"run": run.name, "status": run.status, "machine": run.machine, "wrong": list(run.wrong), **run.summary}
                    for run in group.runs
                ],
                "rows": [row for run in group.runs for row in rows_of(group, run)],
            }
            for group in groups
        ],
        "unreadable": [asdict(one) for one in unreadable],
    }
