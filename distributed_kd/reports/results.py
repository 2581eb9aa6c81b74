"""Tables over many runs, as Markdown: `python -m distributed_kd.reports.results runs --out RESULTS.md`.

Everything in them is read from the runs' folders; nothing is typed in by hand.
"""

import argparse
import os
import platform
import sys
from collections import defaultdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from distributed_kd.errors import ConfigurationError, Problem, RunError
from distributed_kd.maths.statistics import bootstrap_ci95, interquartile_mean
from distributed_kd.reports.outcome import number, percent
from distributed_kd.reports.picture import draw
from distributed_kd.storage.run_folder import RunFolder

HEAD = """\
# Results

Made by `make results` from the folders of finished runs; nothing here is typed in by hand. A score is the mean return of
full greedy episodes on seeds that nothing was chosen on, from the last weights of the run. `normalised` is
(student − random) / (teacher − random), all three on the same seeds. An interval is a 95 % bootstrap interval.
"""


def main(argv: list[str]) -> int:
    """Write the tables of all finished runs below some folders, and their picture; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m distributed_kd.reports.results", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, or folders of them")
    parser.add_argument("--out", type=Path, help="the Markdown file; without it, standard output")
    parser.add_argument("--picture", type=Path, help="score against size over all runs, SVG or PNG")
    asked = parser.parse_args(argv)
    try:
        runs = finished(asked.folders)
    except RunError as error:
        print(*(f"error: {line}" for line in error.lines), sep="\n", file=sys.stderr)
        return error.exit_code
    if asked.picture:
        asked.picture.parent.mkdir(parents=True, exist_ok=True)
        draw([summary for _, summary in runs], asked.picture)
    text = markdown(runs)
    if asked.out:
        asked.out.write_text(text)
    else:
        print(text, end="")
    return 0


def finished(folders: list[Path]) -> list[tuple[RunFolder, dict]]:
    """Every finished run at or below the folders, by environment and seed. Raises ConfigurationError for none."""
    found = []
    for config in sorted({file for folder in folders for file in folder.glob("**/config.toml")}):
        folder = RunFolder.open(config.parent)
        summary = folder.read_summary()
        if summary and summary["status"] == "finished":
            found.append((folder, summary))
    if not found:
        where = ", ".join(map(str, folders))
        raise ConfigurationError(Problem("no finished run", "folders", where, "nothing to tell of", "Train one first"))
    return sorted(found, key=lambda run: (run[1]["env"], run[1]["seed"]))


def markdown(runs: list[tuple[RunFolder, dict]]) -> str:
    """The whole page."""
    by_environment: dict[str, list[tuple[RunFolder, dict]]] = defaultdict(list)
    for run in runs:
        by_environment[run[1]["env"]].append(run)
    parts = [HEAD, _machine(runs)]
    for environment, group in by_environment.items():
        parts += [f"## {environment}\n", _over_seeds([summary for _, summary in group]), _each(group), _speed(group)]
    return "\n".join(parts)


def _machine(runs: list[tuple[RunFolder, dict]]) -> str:
    dates = sorted(
        {datetime.fromtimestamp(folder.summary_file.stat().st_mtime, UTC).date().isoformat() for folder, _ in runs}
    )
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "gymnasium", "numpy"))
    return (
        f"Machine: {_processor()}, {os.cpu_count()} cores, no GPU used by a run unless said; Python "
        f"{platform.python_version()}, {packages}. Runs of {dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''} (UTC).\n"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _over_seeds(summaries: list[dict]) -> str:
    """Interquartile means over seeds."""
    rows = ["| policy | parameters | share | normalised, IQM | interval | agreement | µs a decision |", "|" + "---|" * 7]
    teacher = [summary["teacher"]["return_mean"] for summary in summaries]
    low, high = bootstrap_ci95(teacher)
    size, pace = summaries[0]["teacher"]["parameters"], _mean([s["teacher"] for s in summaries], "decision_microseconds")
    iqm = f"1 (return {interquartile_mean(teacher):.1f})"
    rows.append(f"| teacher | {size:,} | 100 % | {iqm} | return {low:.1f} … {high:.1f} | 1 | {pace} |")
    names = sorted(
        set.intersection(*(set(summary["students"]) for summary in summaries)),
        key=lambda name: -summaries[0]["students"][name]["parameters"],
    )
    for name in names:
        students = [summary["students"][name] for summary in summaries]
        scores = [student["normalised_score"] for student in students]
        low, high = bootstrap_ci95(scores)
        rows.append(
            f"| {name} | {students[0]['parameters']:,} | {percent(students[0]['parameter_share'])} "
            f"| {interquartile_mean(scores):.3f} | {low:.3f} … {high:.3f} "
            f"| {_mean(students, 'action_agreement', '.3f')} | {_mean(students, 'decision_microseconds')} |"
        )
    return f"Over {len(summaries)} seeds:\n\n" + "\n".join(rows) + "\n"


def _mean(rows: list[dict], key: str, form: str = ".1f") -> str:
    return number(float(np.mean([row[key] for row in rows])), form)


def _each(group: list[tuple[RunFolder, dict]]) -> str:
    """A row for each run: returns and, in brackets, normalised scores."""
    students = sorted(group[0][1]["students"], key=lambda name: -group[0][1]["students"][name]["parameters"])
    rows = [f"| seed | random | teacher | {' | '.join(students)} | episodes |", "|" + "---|" * (4 + len(students))]
    for _, summary in group:
        cells = []
        for name in students:
            student = summary["students"].get(name)
            cells.append(f"{student['return_mean']:.1f} ({number(student['normalised_score'], '.3f')})" if student else "–")
        low, high = summary["teacher"]["return_ci95"]
        teacher = f"{summary['teacher']['return_mean']:.1f} [{low:.1f}, {high:.1f}]"
        rows.append(
            f"| {summary['seed']} | {summary['random_return']:.1f} | {teacher} | {' | '.join(cells)} "
            f"| {summary['teacher']['episodes']} |"
        )
    return "Each run, return (normalised):\n\n" + "\n".join(rows) + "\n"


def _speed(group: list[tuple[RunFolder, dict]]) -> str:
    """A row for each run: how fast it was, and the account of its steps."""
    rows = [
        "| seed | wall s | env steps/s | updates/s | learner busy | samples per insert "
        "| generated = accepted + dropped + unknown |",
        "|" + "---|" * 7,
    ]
    for _, summary in group:
        speed, account = summary["throughput"], summary["accounting"]
        rows.append(
            f"| {summary['seed']} | {summary['wall_seconds']:.0f} | {speed['env_steps_per_second']:,.0f} "
            f"| {speed['updates_per_second']:,.0f} | {speed['learner_busy_share']:.3f} "
            f"| {summary['replay']['samples_per_insert']:.3f} | {account['generated']:,} = {account['accepted']:,} "
            f"+ {sum(account['dropped'].values()):,} + {account['unknown']:,} |"
        )
    commands = "\n".join(f"python launch.py train {_preset(folder)} --seed {summary['seed']}" for folder, summary in group)
    return "Speed and accounting:\n\n" + "\n".join(rows) + f"\n\nCommands:\n\n```\n{commands}\n```\n"


def _preset(folder: RunFolder) -> str:
    parts = folder.path.name.split("__")
    return parts[1] if len(parts) > 2 else str(folder.config_file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
