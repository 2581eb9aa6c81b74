"""The frame of `report.html`: one file that needs no network, and runs nothing but its own few lines of script.

What stands in it is in `sections.py`.
"""

import base64
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from distributed_kd.reports.markup import Html, element, joined


def page(title: str, *content: object, refresh_seconds: int | None = None) -> str:
    """A whole page. Nothing from elsewhere is loaded, and no script or style but these two is allowed.

    A browser loads it again after `refresh_seconds`, if any.
    """
    style, script = _file("report.css"), _file("report.js")
    policy = "; ".join([
        "default-src 'none'", f"style-src '{_hash(style)}'", f"script-src '{_hash(script)}'", "img-src data:",
        "base-uri 'none'", "form-action 'none'",
    ])  # fmt: skip
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        *([element("meta", http_equiv="refresh", content=refresh_seconds)] if refresh_seconds else []),
        element("title", title),
        element("style", style),
    )
    body = element("body", *content, element("script", script))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def section(place: str, title: str, *content: object | None) -> Html:
    """A part of the page that links can lead to."""
    return element("section", element("h2", title), joined(one for one in content if one is not None), id=place)


def charts(pictures: Iterable[Html | None], kind: str = "charts") -> Html | None:
    """Pictures side by side where there is room; None where there is none of them."""
    shown = [one for one in pictures if one is not None]
    return element("div", *shown, class_=kind) if shown else None


@cache
def _file(name: str) -> Html:
    return Html(files(__package__).joinpath("assets", name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
