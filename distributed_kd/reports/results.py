"""Tables over many runs, as Markdown: `python -m distributed_kd.reports.results runs --out RESULTS.md`.

Everything in the tables is read from the runs' folders and the files of `bench`; the note alone is written. Here is the
page; which runs go together is in `groups.py`, the tables are in `tables.py` and `comparison.py`.
"""

import argparse
import os
import platform
import sys
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from distributed_kd.errors import RunError
from distributed_kd.reports.benchmarks import benchmarks
from distributed_kd.reports.comparison import compared, published_order
from distributed_kd.reports.curves import Curve, read_curves
from distributed_kd.reports.groups import Finished, Groups, finished
from distributed_kd.reports.learning_curves import draw_curves
from distributed_kd.reports.machine import processor
from distributed_kd.reports.over_environments import over_environments
from distributed_kd.reports.picture import draw
from distributed_kd.reports.shown import plain
from distributed_kd.reports.tables import each_run, over_seeds, speed

HEAD = """\
# Results

The tables are made by `make results` from the folders of finished runs and the files of `bench`; notes between them are
written. A score is the mean return of full greedy episodes on seeds that nothing was chosen on, from the last weights of
the run. `normalised` is (student − random) / (teacher − random), all three on the same seeds. An IQM is the interquartile
mean over seeds (below four seeds the mean), an interval its 95 % bootstrap interval. `agreement` is how often a student
picks the teacher's action, `gap-weighted` the same with each state weighted by the gap between the teacher's two best
actions. `steps to 95 %` are the environment steps at the first evaluation in which the return came to random + 0.95
(teacher − random), by the final scores of these two, and was still there at the next: median (lowest … highest) of the runs
that got there, with "k of n" where not all did.
"""


def main(argv: list[str]) -> int:
    """Write the tables of all finished runs below some folders, and their picture; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m distributed_kd.reports.results", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, or folders of them")
    parser.add_argument("--out", type=Path, help="the Markdown file; without it, standard output")
    parser.add_argument("--picture", type=Path, help="score against size over all runs, SVG or PNG")
    parser.add_argument("--curves", type=Path, help="returns over environment steps, SVG or PNG")
    parser.add_argument("--bench", type=Path, nargs="*", default=(), help="files of bench --json")
    parser.add_argument("--note", default="", help="what a reader must know of how the runs were made")
    asked = parser.parse_args(argv)
    try:
        groups = finished(asked.folders)
        speeds = benchmarks(asked.bench)
    except RunError as error:
        print(*(f"error: {line}" for line in error.lines), sep="\n", file=sys.stderr)
        return error.exit_code
    if asked.picture:
        asked.picture.parent.mkdir(parents=True, exist_ok=True)
        draw(pictured(groups), asked.picture)
    if asked.curves:
        asked.curves.parent.mkdir(parents=True, exist_ok=True)
        draw_curves(with_curves(groups), asked.curves)
    text = plain("\n".join(part for part in (markdown(groups, asked.note), speeds) if part))
    if asked.out:
        asked.out.write_text(text)
    else:
        print(text, end="")
    return 0


def markdown(groups: Groups, note: str = "") -> str:
    """The whole page."""
    parts = [HEAD, _machine([run for runs in groups.values() for run in runs]), f"{note}\n" if note else ""]
    parts.append(over_environments(groups))
    for environment in dict.fromkeys(environment for environment, _ in groups):
        for (of, label), runs in groups.items():
            if of == environment:
                parts += [
                    f"## {environment}: {label}\n",
                    over_seeds(runs),
                    published_order(runs),
                    each_run(runs),
                    speed(runs),
                ]
        parts.append(compared(groups, environment))
    commands = dict.fromkeys(command for runs in groups.values() for run in runs for command in run.commands)
    parts.append("## Commands\n\n```\n" + "\n".join(commands) + "\n```\n")
    return "\n".join(part for part in parts if part)


def pictured(groups: Groups) -> dict[str, list[dict]]:
    """Summaries of the groups that are pictured, by what a group is called."""
    return {name: [run.summary for run in runs] for name, runs in _usual(groups).items()}


def _usual(groups: Groups) -> dict[str, list[Finished]]:
    """The groups with students of several sizes, by what a group is called; all where none has.

    Students of one size would be a vertical line; and of the others, those that learned online from a teacher beside them
    answer the question, where there are any.
    """
    several = {key: runs for key, runs in groups.items() if any(len(run.sizes) > 1 for run in runs)} or groups
    several = {key: runs for key, runs in several.items() if all(run.is_usual for run in runs)} or several
    times = Counter(environment for environment, _ in several)
    return {
        environment if times[environment] == 1 else f"{environment}, {label}": runs
        for (environment, label), runs in several.items()
    }


def with_curves(groups: Groups) -> dict[str, list[dict[str, Curve]]]:
    """The curves of the groups that are pictured, by what a group is called; those of few evaluations left out."""
    curves = {name: [read_curves(run.folder.metrics_file) for run in runs] for name, runs in _usual(groups).items()}
    return {name: runs for name, runs in curves.items() if all(len(run.get("teacher", ())) > 1 for run in runs)}


def _machine(runs: list[Finished]) -> str:
    dates = sorted({datetime.fromtimestamp(run.folder.summary_file.stat().st_mtime, UTC).date().isoformat() for run in runs})
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "ray", "gymnasium", "numpy"))
    return (
        f"Machine: {processor()}, {os.cpu_count()} cores, no GPU used by a run unless said; Python "
        f"{platform.python_version()}, {packages}. Runs of {dates[0]}{f' to {dates[-1]}' if len(dates) > 1 else ''} (UTC).\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
