"""The picture of the answer: a file that is made, whatever the scores and names are, and the same for the same runs."""

import warnings
from xml.etree import ElementTree

import pytest
from summaries import NAN, student, summary

from distributed_kd.reports.picture import draw

HOSTILE = "<script>alert(1)</script> $\\frac$ & \x01 --> ]]>"


def drawn(path, **groups):
    draw(groups, path)
    return ElementTree.parse(path).getroot()


@pytest.mark.parametrize(
    "scores",
    [
        (0.9, 0.5, 1.02),
        (NAN, None, float("inf")),
        (None,),
        (-40.0,),
        (1e9,),
        (),
    ],
)
def test_it_is_whole_whatever_the_scores(scores, tmp_path):
    students = {str(n): student(score=score, share=0.1 * (n + 1)) for n, score in enumerate(scores)}
    root = drawn(tmp_path / "x.svg", one=[summary(students)])
    assert root.tag.endswith("svg")


def test_a_name_is_only_a_name(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root = drawn(tmp_path / "x.svg", **{HOSTILE: [summary({"a": student()})]})
    assert not any(element.tag.lower().endswith("script") for element in root.iter())


def test_many_runs_in_many_groups(tmp_path):
    groups = {
        group: [
            summary({"a": student(score=0.5 + seed / 10), "b": student(score=0.9, share=0.5)}, seed=seed)
            for seed in range(3)
        ]
        for group in ("CartPole-v1", "Acrobot-v1, acrobot", "Acrobot-v1, losses", "One", "Two", "Three", "Four")
    }
    assert drawn(tmp_path / "x.svg", **groups).tag.endswith("svg")


def test_the_same_runs_give_the_same_file(tmp_path):
    one = summary({"a": student()})
    draw({"one": [one]}, tmp_path / "a.svg")
    draw({"one": [one]}, tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_as_png(tmp_path):
    draw({"one": [summary({"a": student()})]}, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
