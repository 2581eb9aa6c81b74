"""The table of a report that answers in figures: every policy of an environment, sortable by each column."""

import math
from collections.abc import Sequence

from distributed_kd.reports.curves import KEEPS
from distributed_kd.reports.markup import Html, element, table
from distributed_kd.reports.shown import DASH, number, percent
from distributed_kd.reports.standings import Group, Standing

UNTIL = f"{KEEPS * 100:.0f} %"


def standings_table(groups: Sequence[Group]) -> Html:
    """A row for each policy of the groups of one environment; the answers are marked."""
    several = len(groups) > 1
    headings = [
        *(["runs"] if several else []), "policy", "network", "loss", "parameters", "share", "bytes", "score, IQM",
        "95 % interval", "agreement", "gap-weighted", "µs a decision", f"steps to {UNTIL}",
        f"seconds to {UNTIL}",
    ]  # fmt: skip
    words = {"runs", "policy", "network", "loss"}
    head = [
        element("th", element("button", one, type="button"), scope="col", class_="text" if one in words else None)
        for one in headings
    ]
    rows = [
        [*([_text(group.label)] if several else []), *_row(group, one)]
        for group in groups
        for one in (group.teacher, *group.students)
    ]
    return table(head, rows, class_="sortable", label=f"Policies of {groups[0].env}")


def _row(group: Group, one: Standing) -> list[Html]:
    first = (f"{one.low:.3f} … {one.high:.3f}", one.low) if not math.isnan(one.low) else (DASH, math.nan)
    name = one.policy + (" ◀" if one is group.best else "")
    return [
        element("th", name, scope="row", data_value=one.policy),
        _text(one.network),
        _text(f"{one.loss} ({one.temperature})" if one.temperature else one.loss),
        _number(one.parameters, ",.0f"),
        _cell(percent(one.share) if not math.isnan(one.share) else DASH, one.share),
        _number(one.bytes, ",.0f"),
        _number(one.score, ".3f"),
        _cell(*first),
        _number(one.agreement, ".3f"),
        _number(one.gap_weighted, ".3f"),
        _number(one.microseconds, ".1f"),
        _until(group, one, one.steps, ",.0f"),
        _until(group, one, one.seconds, ",.1f"),
    ]


def _until(group: Group, one: Standing, value: float, form: str) -> Html:
    """The median of those that got there, and how many those are where it is not all."""
    runs = len(group.counted)
    some = f" ({one.reached} of {runs})" if one.reached < runs and not math.isnan(value) else ""
    return _cell(number(value, form) + some, value)


def _number(value: float, form: str) -> Html:
    return _cell(number(value, form), value)


def _cell(shown: str, value: float) -> Html:
    return element("td", shown, data_value="" if math.isnan(value) else repr(value))


def _text(value: str) -> Html:
    return element("td", value or DASH, class_="text", data_value=value)
