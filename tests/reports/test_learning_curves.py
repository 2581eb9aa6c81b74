"""The picture of returns over environment steps, read back from what was drawn."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from distributed_kd.reports import learning_curves
from distributed_kd.reports.learning_curves import draw_curves

ONE = {"random": [(0, 5.0), (100, 7.0)], "teacher": [(0, 0.0), (100, 10.0)], "tiny": [(0, 2.0), (100, 4.0)]}
TWO = {"random": [(50, 6.0)], "teacher": [(50, 9.0), (150, 9.0)], "tiny": [(50, 3.0), (150, 5.0)]}


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were made, in order."""
    made = []

    class Kept(Figure):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(learning_curves, "Figure", Kept)
    return made


def test_a_line_is_the_mean_of_its_runs_read_off_between_their_evaluations(drawn, tmp_path):
    draw_curves({"CartPole": [ONE, TWO]}, tmp_path / "curves.svg")
    lines = {line.get_label(): line for line in drawn[0].axes[0].lines}
    # Steps of either run up to 100, where the shorter one ends. At 50 the first teacher has 5 of 10, the second 9.
    assert lines["teacher, 2 seeds"].get_xdata().tolist() == [0, 50, 100]
    assert lines["teacher, 2 seeds"].get_ydata().tolist() == [4.5, 7.0, 9.5]
    # At 100 the second student stands between 3 at 50 and 5 at 150.
    assert lines["tiny"].get_ydata().tolist() == [2.5, 3.0, 4.0]


def test_the_random_policy_is_a_line_at_its_mean(drawn, tmp_path):
    draw_curves({"CartPole": [ONE, TWO]}, tmp_path / "curves.png")
    levels = [line.get_ydata()[0] for line in drawn[0].axes[0].lines if len(set(line.get_ydata())) == 1]
    assert np.mean([5.0, 7.0, 6.0]) in levels


def test_each_group_has_a_panel_and_no_empty_one_is_shown(drawn, tmp_path):
    draw_curves({f"Env {n}": [ONE] for n in range(4)}, tmp_path / "curves.svg")
    titles = [axes.get_title(loc="left") for axes in drawn[0].axes if axes.get_visible()]
    assert titles == ["Env 0", "Env 1", "Env 2", "Env 3"]


def test_a_policy_that_joined_some_of_the_runs_only_is_left_out(drawn, tmp_path):
    draw_curves({"CartPole": [ONE, {**TWO, "late": [(50, 1.0)]}, {"teacher": TWO["teacher"]}]}, tmp_path / "curves.svg")
    labels = [line.get_label() for line in drawn[0].axes[0].lines]
    assert "teacher, 3 seeds" in labels and "tiny" not in labels and "late" not in labels


def test_the_same_runs_give_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        draw_curves({"$x_1$ <b>": [ONE]}, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
