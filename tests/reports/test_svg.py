"""Drawings as pieces of a page: no style of their own, no name twice, the page's colours, text as text."""

import re
from xml.etree import ElementTree

import pytest

from distributed_kd.reports.svg import COLOURS, INK, drawn


def picture(draw=lambda figure: None, **more):
    made = drawn(draw, (3.0, 2.0), "A line that <rises> & falls", **more)
    return made, ElementTree.fromstring(made)


def plotted(figure):
    axes = figure.add_subplot()
    axes.plot([0, 1], [1, 2], color=COLOURS[1], marker="o", label="one $x^2$ \\frac")
    axes.set_title("ink", color=INK)
    axes.imshow([[0.0, 1.0]], aspect="auto")
    axes.legend()


def test_it_needs_no_style_and_loads_nothing():
    made, root = picture(plotted)
    for element in root.iter():
        assert "style" not in element.attrib and element.tag not in ("style", "script", "metadata", "foreignObject")
        assert element.get("href", "#").startswith(("#", "data:image/png;base64,"))
    assert ":" not in "".join(element.tag for element in root.iter()), "no prefixes: HTML has none"
    assert "var(--c1)" in made and COLOURS[1] not in made


def test_text_is_text_as_it_was_given():
    _, root = picture(plotted)
    texts = {element.text: element for element in root.iter("text")}
    assert "one $x^2$ \\frac" in texts
    assert texts["ink"].get("fill") == "currentColor" and texts["ink"].get("font-size")


def test_it_is_told_in_words():
    _, root = picture(plotted, caption="below")
    svg = root.find("svg")
    assert (svg.get("role"), svg.get("aria-label")) == ("img", "A line that <rises> & falls")
    assert root.find("figcaption").text == "below"


def test_two_pictures_share_no_name():
    """Else the second one's clips and markers would be the first one's."""
    one, other = (drawn(plotted, (3.0, 2.0), alternative) for alternative in ("one", "other"))
    names = [set(re.findall(r' id="([^"]+)"', made)) for made in (one, other)]
    assert all(names) and not names[0] & names[1]
    for made, known in zip((one, other), names, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([\w-]+)', made)) <= known


@pytest.mark.filterwarnings("error")
def test_letters_that_the_font_lacks_warn_of_nothing():
    assert "漢" in picture(lambda figure: figure.text(0.5, 0.5, "漢"))[0]
