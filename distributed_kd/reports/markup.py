"""HTML out of plain values: whatever is no `Html` yet is text, and is escaped."""

from collections.abc import Collection, Iterable, Sequence
from html import escape

from distributed_kd.reports.believed import UNSEEN

EMPTY = ("meta", "br")
"""Elements without an end"""


class Html(str):
    """Text that is HTML already. Only what is made in this package becomes one."""


def element(tag: str, *children: object, **attributes: object) -> Html:
    """An element; `class_` stands for class, `data_value` for data-value. An attribute of None or False is left out."""
    given = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{plain(value)}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{given}>" + ("" if tag in EMPTY else f"{joined(children)}</{tag}>"))


def joined(children: Iterable[object]) -> Html:
    return Html("".join(child if isinstance(child, Html) else plain(child) for child in children))


def plain(value: object) -> str:
    return escape(UNSEEN.sub("", str(value)), quote=True)


def lines(texts: Iterable[str]) -> Html:
    """Text of several lines, for an element that keeps them."""
    return Html("\n".join(plain(text) for text in texts))


def table(
    headings: Sequence[object], rows: Iterable[Sequence[object]], words: Collection[str] = (), **attributes: object
) -> Html:
    """A table that scrolls sideways where the page is narrow; a cell is text or an element <td> or <th> of its own.

    Under the headings `words` stand words, which are read from the left.
    """
    cells = (_cell("th", one, scope="col", class_="text" if one in words else None) for one in headings)
    head = element("thead", element("tr", *cells))
    body = element("tbody", *(element("tr", *(_cell("td", one) for one in row)) for row in rows))
    label = attributes.pop("label", None)
    return element("div", element("table", head, body, **attributes), class_="wide", tabindex="0", role="region",
                   aria_label=label)  # fmt: skip


def _cell(tag: str, content: object, **attributes: object) -> Html:
    if isinstance(content, Html) and content.startswith(("<td", "<th")):
        return content
    return element(tag, content, **attributes)
