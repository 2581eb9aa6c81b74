"""What a policy does over the two numbers of an observation that vary most, all others at their median."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from distributed_kd.reports.disagreement import Disagreement
from distributed_kd.reports.markup import Html
from distributed_kd.reports.opened import Opened
from distributed_kd.reports.shown import percent
from distributed_kd.reports.svg import INK, drawn

MOST_NUMBERS = 8
"""Of an observation: of more, two tell little"""
CELLS = 80
"""Of the map, along each side"""
MARGINS = 1.0, 99.0
"""Percentiles of the states that the map goes from and to"""
MOST_DOTS = 150
ACTIONS = ("#4b86c2", "#e3a13b", "#4fa583", "#b5648f", "#8d8d8d", "#7d6fc4", "#c76b4a", "#a7a23f")
"""Colours of actions: told apart, and to be looked at on white and on black"""


def can_be_mapped(opened: Opened) -> bool:
    """Its observations are few numbers, of which two vary."""
    flat = opened.states.reshape(len(opened.states), -1)
    return 2 <= flat.shape[1] <= MOST_NUMBERS and int((flat.std(0) > 0).sum()) >= 2


def decision_maps(opened: Opened, names: Sequence[str], found: Sequence[Disagreement], gaps: NDArray) -> list[Html]:
    """A map for the teacher and each of these students; dots are states where the student differs, larger where it matters
    more."""
    flat = opened.states.reshape(len(opened.states), -1)
    across, up = sorted(np.argsort(-flat.std(0), kind="stable")[:2].tolist())
    ends = [np.percentile(flat[:, one], MARGINS).tolist() for one in (across, up)]
    ends = [(low, high) if high > low else (low - 1.0, high + 1.0) for low, high in ends]
    grid = np.repeat(np.median(flat, axis=0)[None], CELLS * CELLS, axis=0)
    x, y = (np.linspace(low, high, CELLS) for low, high in ends)
    grid[:, across], grid[:, up] = np.tile(x, CELLS), np.repeat(y, CELLS)
    if flat.dtype.kind in "iu":
        grid = np.rint(grid)
    asked = grid.astype(flat.dtype).reshape(-1, *opened.states.shape[1:])
    told = {one.policy: one for one in found}
    return [
        _map(opened.policies.greedy(name, asked).reshape(CELLS, CELLS), opened.spec.actions, name, told.get(name),
             flat[:, [across, up]], gaps, (across, up), (x, y))
        for name in ("teacher", *names)
    ]  # fmt: skip


def _map(actions, count, name, differing, places, gaps, numbers, axes_values) -> Html:
    x, y = axes_values
    colours = np.array([to_rgb(ACTIONS[one % len(ACTIONS)]) for one in range(count)])
    note = f"{name}: differs in {percent(differing.share)} of the states" if differing else name

    def draw(figure) -> None:
        axes = figure.add_subplot()
        figure.subplots_adjust(left=0.24, right=0.97, top=0.9, bottom=0.27)
        axes.grid(False)
        axes.imshow(colours[actions], origin="lower", aspect="auto", interpolation="nearest",
                    extent=(x[0], x[-1], y[0], y[-1]))  # fmt: skip
        if differing:
            where = np.flatnonzero(differing.differs)[:MOST_DOTS]
            sizes = 2 + 30 * gaps[where] / max(gaps.max(), 1e-12)
            axes.scatter(*places[where].T, s=sizes, facecolor="#ffffff", edgecolor="#000000", linewidth=0.5)
            axes.set_xlim(x[0], x[-1])
            axes.set_ylim(y[0], y[-1])
        axes.locator_params(nbins=5)
        axes.set_title(note)
        axes.set_xlabel(f"observation[{numbers[0]}]")
        axes.set_ylabel(f"observation[{numbers[1]}]")
        taken = np.unique(actions)[: len(ACTIONS)]
        handles = [matplotlib.patches.Patch(color=colours[one], label=f"action {one}") for one in taken]
        axes.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.0), ncols=4, handlelength=0.9,
                    bbox_transform=figure.transFigure, borderaxespad=0.2, columnspacing=0.9, labelcolor=INK)  # fmt: skip

    shares = ", ".join(f"action {one} on {np.mean(actions == one):.0%}" for one in np.unique(actions))
    return drawn(draw, (3.3, 2.9), f"Decision map of {note}: {shares} of the map.")
