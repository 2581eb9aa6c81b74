"""What `bench --json` measured, as Markdown for RESULTS.md."""

import json
from collections.abc import Sequence
from pathlib import Path

from distributed_kd.errors import Problem, StorageError
from distributed_kd.reports.shown import DASH, markdown_table

HEADINGS = ("what", "value", "against", "its value", "ratio", "goal", "")
MET = {None: "", True: "met", False: "**missed**"}


def benchmarks(files: Sequence[Path]) -> str:
    """The tables of these files, a section each; a benchmark that stands in several is taken from the last.

    Raises StorageError where a file is none that `bench` wrote.
    """
    kept: dict[tuple[str, str], dict] = {}
    for file in files:
        for name, one in _read(file).items():
            kept[name, one["machine"]["processor"] + one["machine"]["gpu"]] = one
    if not kept:
        return ""
    parts = [
        "# Speed\n",
        "Measured by `launch.py bench`. What is compared takes turns; a value is the median over the rounds, a ratio the "
        "median of the rounds' ratios. A goal is for the ratio where there is one.\n",
    ]
    for (name, _), one in kept.items():
        parts.append(f"## bench {name}\n\n`{one['command']}`, on {', '.join(one['machine'].values())}.\n")
        parts += [_section(table) for table in one["tables"]]
    return "\n".join(parts)


def _section(table: dict) -> str:
    rows = [
        [one["what"], f"{number(one['value'])} {one['unit']}".strip(), one["against"] or DASH,
         number(one["other"]), number(one["ratio"]), one["goal"] or DASH, MET[one["is_met"]]]
        for one in table["figures"]
    ]  # fmt: skip
    return f"### {table['title']}\n\n{table['how']}\n\n{markdown_table(HEADINGS, rows)}\n"


def number(value: float | None) -> str:
    """Three significant digits, or all digits before the point."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _read(file: Path) -> dict:
    try:
        kept = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        why = f"it cannot be read: {error}"
        raise StorageError(Problem("no benchmark", "bench", file, why, "Give a file of bench --json")) from error
    if not isinstance(kept, dict) or not all(isinstance(one, dict) and "tables" in one for one in kept.values()):
        fix = "Give a file of bench --json"
        raise StorageError(Problem("no benchmark", "bench", file, "it holds none of bench's tables", fix))
    return kept
