"""What `evaluate` prints."""

import json

import numpy as np

from distributed_kd.reports.played import print_played
from distributed_kd.rollouts.evaluation import Played

PLAYED = Played((10.0, 20.0), (11, 21), np.zeros((32, 4)))


def test_a_line(capsys):
    print_played("tiny", 0, PLAYED, as_json=False)
    assert capsys.readouterr().out == (
        "tiny: return 15.0 (95 % interval 10.0 … 20.0) over 2 episodes of 16 steps in the mean\n"
    )


def test_json(capsys):
    print_played("tiny", 3, PLAYED, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "policy": "tiny",
        "seed": 3,
        "episodes": 2,
        "return_mean": 15.0,
        "return_ci95": [10.0, 20.0],
        "returns": [10.0, 20.0],
        "lengths": [11, 21],
    }
