"""What a tree decides by, as a person reads it."""

import itertools

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from distributed_kd import networks
from distributed_kd.network_config import NetworkConfig
from distributed_kd.records import EnvSpec
from distributed_kd.reports.rules import draw_rules, plot_rules, rules_of, size_of

SPEC = EnvSpec("Numbers", (3,), "float32", 2)


def tree(depth, feature, threshold, actions, spec=SPEC):
    network = networks.build(NetworkConfig("tree", depth=depth), spec)
    network.feature.copy_(torch.tensor(feature, dtype=torch.float32))
    network.threshold.copy_(torch.tensor(list(threshold), dtype=torch.float32))
    network.leaves.copy_(torch.nn.functional.one_hot(torch.tensor(actions), spec.actions).float())
    return network


def wide():
    """All 15 decisions of four levels, none of which can be left out."""
    return tree(4, [0] * 15, range(15), [0, 1] * 8)


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


def test_the_same_tree_gives_the_same_picture(tmp_path):
    told = rules_of(tree(2, [1, 0, 2], [0.5, -1, 2], [0, 1, 1, 0]), SPEC, None)
    for name in ("a.svg", "b.svg"):
        draw_rules(told, told.title("$x$"), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_picture_is_as_large_as_its_tree_needs():
    """Three quarters of an inch for each of 16 leaves; 0.4 for the title and 0.7 for each of the levels, the leaves' too."""
    assert size_of(rules_of(wide(), SPEC, None)) == (12.0, pytest.approx(0.4 + 5 * 0.7))
    assert size_of(rules_of(tree(1, [0], [0], [1, 1]), SPEC, None)) == (9.0, pytest.approx(1.1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [None, (1.0, 0.6)])
def test_a_picture_that_has_no_room_warns_nobody(size, tmp_path):
    told = rules_of(wide(), SPEC, None)
    figure = Figure(figsize=size or size_of(told))
    plot_rules(told, told.title("wide"), figure)
    figure.savefig(tmp_path / "wide.png")


def test_no_leaf_is_drawn_over_another_or_out_of_the_picture():
    told = rules_of(wide(), SPEC, None)
    figure = Figure(figsize=size_of(told))
    FigureCanvasAgg(figure)
    plot_rules(told, told.title("wide"), figure)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text().startswith("action")]
    assert len(boxes) == 16
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(sorted(boxes, key=lambda box: box.x0)))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0 for box in boxes)
