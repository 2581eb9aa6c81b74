"""What `evaluate` prints."""

import json
import re
from pathlib import Path

import numpy as np

from distributed_kd.reports.played import print_played
from distributed_kd.rollouts.evaluation import Played
from distributed_kd.training.playing import Asked, Score

PLAYED = Played((10.0, 20.0), (11, 21), np.zeros((32, 4)))
OTHER = Played((10.0, 25.0), (11, 26), np.empty(0))
SCORE = Score("tiny", 0.0, 0.0, PLAYED)
TOLD = {
    "policy": "tiny",
    "seed": 3,
    "observation_noise": 0.0,
    "sticky_actions": 0.0,
    "episodes": 2,
    "return_mean": 15.0,
    "return_ci95": [10.0, 20.0],
    "returns": [10.0, 20.0],
    "lengths": [11, 21],
}


def printed(capsys, scores, asked, as_json=False):
    print_played(scores, asked, as_json)
    out = capsys.readouterr().out
    return json.loads(out) if as_json else [line.rstrip() for line in out.splitlines()]


def cells(row):
    return re.split(r"\s{2,}", row.strip())


def test_a_line(capsys):
    line = "tiny: return 15.0 (95 % interval 10.0 … 20.0) over 2 episodes of 16 steps in the mean"
    assert printed(capsys, [SCORE], Asked(["tiny"], episodes=2)) == [line]
    filmed = Asked(["tiny"], episodes=2, video=Path("films"))
    assert printed(capsys, [SCORE], filmed) == [line, "recorded in films"]


def test_json(capsys):
    assert printed(capsys, [SCORE], Asked(["tiny"], seed=3), as_json=True) == TOLD


def test_several_in_json(capsys):
    asked = Asked(["tiny", "random"], seed=3)
    told = printed(capsys, [SCORE, Score("random", 0.0, 0.0, PLAYED)], asked, as_json=True)
    assert told == {"seed": 3, "played": [TOLD, TOLD | {"policy": "random"}]}


def test_against_another_policy(capsys):
    """Episodes apart by 0 and -5: -2.5 in the mean, one tied and one lost."""
    scores = [Score("tiny", 0.0, 0.0, PLAYED, OTHER), Score("teacher", 0.0, 0.0, OTHER, OTHER)]
    asked = Asked(["tiny", "teacher"], "teacher", episodes=2, seed=3)
    first, second = printed(capsys, scores, asked, as_json=True)["played"]
    outcomes = {"won": 0.0, "tied": 0.5, "lost": 0.5}
    against = {"policy": "teacher", "difference": -2.5, "difference_ci95": [-5.0, 0.0], **outcomes}
    assert first == TOLD | {"against": against}
    assert second["against"]["tied"] == 1.0
    heading, _, *rows, last = printed(capsys, scores, asked)
    columns = ["policy", "return", "95 % interval", "steps", "difference", "95 % interval", "won/tied/lost"]
    assert cells(heading) == columns
    assert [cells(row) for row in rows] == [
        ["tiny", "15.0", "10.0 … 20.0", "16", "-2.5", "-5.0 … +0.0", "0%/50%/50%"],
        ["teacher", "17.5", "10.0 … 25.0", "18", "+0.0", "+0.0 … +0.0", "0%/100%/0%"],
    ]
    assert last == "2 episodes of each, on the same seeds; difference: return less that of teacher in the same episode"


def test_disturbances_are_columns_where_there_are_any(capsys):
    scores = [Score("tiny", noise, 0.25, PLAYED) for noise in (0.0, 0.05)]
    heading, _, *rows, last = printed(capsys, scores, Asked(["tiny"], episodes=2, noise=(0.0, 0.05), sticky=(0.25,)))
    assert cells(heading)[:3] == ["policy", "noise", "sticky"]
    assert [row.split()[:3] for row in rows] == [["tiny", "0", "0.25"], ["tiny", "0.05", "0.25"]]
    assert last == "2 episodes of each, on the same seeds"
    heading, *_ = printed(capsys, [scores[1]], Asked(["tiny"], noise=(0.05,)))
    assert "noise" in heading and "sticky" not in heading


def test_small_returns_have_three_decimals(capsys):
    score = Score("tiny", 0.0, 0.0, Played((0.0, 1.0), (1, 1), np.empty(0)))
    assert printed(capsys, [score], Asked(["tiny"]))[0].startswith("tiny: return 0.500 (95 % interval 0.000 … 1.000)")
