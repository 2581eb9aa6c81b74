"""A drawing of matplotlib's as a piece of a page: its text stays text, its colours are the page's, its style needs no CSS.

The page's Content-Security-Policy allows no style of an element's own, so matplotlib's become attributes; what the colours
are is in `assets/report.css`. What is drawn lives in the modules that draw.
"""

import io
import re
import warnings
from collections.abc import Callable
from xml.etree import ElementTree

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from distributed_kd.reports.believed import text as believed_text
from distributed_kd.reports.markup import Html, element

INK, FAINT, GRID = "#1b1f24", "#5b6570", "#d4d9df"
COLOURS = ("#0b69b3", "#c2500a", "#00805c", "#a3458b", "#8a6500", "#5a4fb8", "#2b8fb8", "#6b6b6b")
"""Told apart by eyes that see fewer colours (after Okabe and Ito 2008), and dark enough on white"""
VARIABLES = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    GRID: "var(--line)",
    **{colour: f"var(--c{place})" for place, colour in enumerate(COLOURS)},
}
MARKERS = "osD^vPX*"
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name is a name, whatever it holds
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # else matplotlib measures every text to find a place for it
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
}
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
DROPPED = {f"{SVG}metadata", f"{SVG}style", f"{SVG}title"}
FONT = re.compile(r"(?:(?P<style>italic) )?(?:(?P<weight>bold|\d{3}) )?(?P<size>[\d.]+)px")


def drawn(
    draw: Callable[[Figure], None], size: tuple[float, float], alternative: str, caption: str = "", kind: str = "chart"
) -> Html:
    """A <figure> with what `draw` puts on a figure of that size in inches, for those who see it and those who do not.

    `alternative` says in words what there is to see.
    """
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": alternative}), warnings.catch_warnings():
        # Letters that the font at hand lacks are the browser's matter: it has others.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        draw(figure)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    below = [element("figcaption", caption)] if caption else []
    return element("figure", inlined(written.getvalue(), alternative), *below, class_=kind)


def inlined(svg: str, alternative: str) -> Html:
    """The text of an SVG file as an element of a page."""
    root = ElementTree.fromstring(svg)
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": believed_text(alternative, most=2000),
                   "stroke-linejoin": "round", "stroke-linecap": "butt"}  # fmt: skip
    used = set(re.findall(r"#([\w-]+)", svg))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in DROPPED:
                parent.remove(child)
        parent.tag = parent.tag.removeprefix(SVG)
        _plain(parent, used)
    return Html(ElementTree.tostring(root, encoding="unicode"))


def _plain(one: ElementTree.Element, used: set[str]) -> None:
    """Attributes in place of a style, and no name that nothing refers to: others on the page may have the same."""
    if one.get("id") not in used:
        one.attrib.pop("id", None)
    if f"{XLINK}href" in one.attrib:
        one.set("href", one.attrib.pop(f"{XLINK}href"))
    for declaration in one.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font" and (font := FONT.search(value)):
            one.set("font-size", font["size"])
            if font["weight"]:
                one.set("font-weight", font["weight"])
        elif name and name != "font":
            one.set(name, value)
    for name in ("fill", "stroke"):
        if one.get(name) in VARIABLES:
            one.set(name, VARIABLES[one.get(name)])
    if one.tag == "text" and "fill" not in one.attrib:
        one.set("fill", "currentColor")
