"""What a tree decides by, as a person reads it."""

import numpy as np
import pytest
import torch

from distributed_kd import networks
from distributed_kd.network_config import NetworkConfig
from distributed_kd.records import EnvSpec
from distributed_kd.reports.rules import draw_rules, rules_of

SPEC = EnvSpec("Numbers", (3,), "float32", 2)


def tree(depth, feature, threshold, actions, spec=SPEC):
    network = networks.build(NetworkConfig("tree", depth=depth), spec)
    network.feature.copy_(torch.tensor(feature, dtype=torch.float32))
    network.threshold.copy_(torch.tensor(threshold, dtype=torch.float32))
    network.leaves.copy_(torch.nn.functional.one_hot(torch.tensor(actions), spec.actions).float())
    return network


def test_rules_worked_by_hand():
    told = rules_of(tree(2, [1, 0, 2], [0.5, -1, 2.25], [0, 1, 1, 0]), SPEC, None)
    assert told.lines == [
        "if x[1] > 0.5:",
        "  if x[2] > 2.25:",
        "    action 0",
        "  else:",
        "    action 1",
        "else:",
        "  if x[0] > -1:",
        "    action 1",
        "  else:",
        "    action 0",
    ]
    assert told.title("tiny") == "rules of tiny: 3 decisions, 2 levels"


def test_decisions_that_make_no_difference_are_left_out():
    told = rules_of(tree(2, [1, 0, 2], [0.5, -1, 2], [1, 1, 0, 1]), SPEC, None)
    assert told.lines == [
        "if x[1] > 0.5:",
        "  if x[2] > 2:",
        "    action 1",
        "  else:",
        "    action 0",
        "else:",
        "  action 1",
    ]
    always = rules_of(tree(2, [0, 0, 0], [0, 0, 0], [1, 1, 1, 1]), SPEC, None)
    assert always.lines == ["action 1"]
    assert always.title("a") == "rules of a: 0 decisions, 0 levels"


def test_thresholds_are_in_the_unit_of_observations():
    """Mean 10 and deviation 2: 0.5 deviations above are 11. A deviation is 0.01 at least. Bytes of 200 are seen as 1."""
    normal = np.array([[0, 10, 1], [1, 2, 0.0]], np.float32)
    told = rules_of(tree(1, [1], [0.5], [0, 1]), SPEC, normal)
    assert told.lines[0] == "if x[1] > 11:"
    assert rules_of(tree(1, [2], [0.5], [0, 1]), SPEC, normal).lines[0] == "if x[2] > 1.005:"
    spec = EnvSpec("Bytes", (2, 2), "uint8", 2, action_start=3, scale=1 / 200)
    told = rules_of(tree(1, [2], [0.25], [0, 1], spec), spec, None)
    assert told.lines == ["if x[1, 0] > 50:", "  action 4", "else:", "  action 3"]
    stacked = EnvSpec("Stacked", (3,), "float32", 2, frame_stack=2)
    assert rules_of(tree(1, [4], [0.5], [0, 1], stacked), stacked, normal).lines[0] == "if x[1, 1] > 11:"


@pytest.mark.filterwarnings("error")
def test_the_same_tree_gives_the_same_picture(tmp_path):
    told = rules_of(tree(2, [1, 0, 2], [0.5, -1, 2], [0, 1, 1, 0]), SPEC, None)
    for name in ("a.svg", "b.svg"):
        draw_rules(told, told.title("$x$"), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    alone = rules_of(tree(1, [0], [0], [1, 1]), SPEC, None)
    draw_rules(alone, alone.title("one"), tmp_path / "one.svg")
    assert (tmp_path / "one.svg").read_text().startswith("<?xml")
