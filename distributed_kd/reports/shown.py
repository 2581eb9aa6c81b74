"""How a number and a table are written out, and a dash for what was not measured. What is told with them lives elsewhere."""

import math
from collections.abc import Iterable, Sequence

from distributed_kd.storage.files import CONTROL

DASH = "–"


def measured(value: float | None) -> float:
    """A number of a summary, whose JSON has null for what is not a number; NaN for that."""
    return math.nan if value is None else value


def number(value: float | None, form: str) -> str:
    """A number, or a dash where nothing was measured."""
    return DASH if math.isnan(measured(value)) else format(value, form)


def return_form(*returns: float | None) -> str:
    """How these returns are written: with three decimals where all lie within 2 of 0, as where a reward is 0 or 1."""
    known = [abs(value) for value in map(measured, returns) if not math.isnan(value)]
    return ".3f" if known and max(known) <= 2 else ".1f"


def percent(share: float) -> str:
    """0.0057 as "0.57 %", 0.258 as "26 %"."""
    return f"{share * 100:.2g} %" if share < 0.995 else f"{share * 100:.0f} %"


def plain(text: str) -> str:
    """Lines that move no cursor on a terminal, and become no HTML where they are shown as Markdown, whatever the names."""
    return "\n".join(CONTROL.sub("", line) for line in text.split("\n")).replace("<", "&lt;")


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown, without a line end behind it; a bar in a cell stays a bar."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in (headings, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(headings), *lines[1:]])
