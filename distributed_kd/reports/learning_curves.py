"""The picture of how runs came to their scores: return over environment steps, a panel for each group of runs."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distributed_kd.reports.curves import Curve
from distributed_kd.reports.picture import COLOURS
from distributed_kd.storage.files import CONTROL

COLUMNS = 3
TEACHER = "#222222"

Curves = Mapping[str, Curve]
"""One run's evaluations, by policy"""


def draw_curves(groups: Mapping[str, Sequence[Curves]], path: Path) -> None:
    """Write a picture (SVG or PNG by its ending): a panel per group, by name, with the mean of its runs for each policy.

    Runs of a group are evaluated at steps of their own, so each is read off between its evaluations; with several runs the
    band is their lowest to highest. The random policy is a dotted line.
    """
    columns = min(COLUMNS, len(groups))
    rows = math.ceil(len(groups) / columns)
    with matplotlib.rc_context({"svg.hashsalt": "distributed_kd", "font.size": 8}):
        figure = Figure(figsize=(3.6 * columns, 2.5 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for axes, (name, runs) in zip(panels, groups.items(), strict=False):
            _panel(axes, runs)
            axes.set_title(CONTROL.sub("", name), loc="left", parse_math=False)
        for axes in panels[len(groups) :]:
            axes.set_visible(False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def read_off(runs: Sequence[Curves], name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """One policy's returns [R, S] of all runs at the same steps [S], up to the end of the shortest run."""
    last = min(run[name][-1][0] for run in runs)
    steps = np.unique([step for run in runs for step, _ in run[name] if step <= last])
    return steps, np.array([np.interp(steps, *zip(*run[name], strict=True)) for run in runs])


def _panel(axes, runs: Sequence[Curves]) -> None:
    names = [name for name in runs[0] if name != "random" and all(name in run for run in runs)]
    # The teacher last, over the others.
    colours = {
        name: colour for name, colour in zip((n for n in names if n != "teacher"), COLOURS * len(names), strict=False)
    }
    for name in sorted(names, key=lambda one: one == "teacher"):
        steps, returns = read_off(runs, name)
        label = CONTROL.sub("", name) + (f", {len(runs)} seeds" if name == "teacher" and len(runs) > 1 else "")
        colour = colours.get(name, TEACHER)
        axes.plot(steps, returns.mean(0), color=colour, linewidth=1.6 if name == "teacher" else 1.0, label=label)
        if len(runs) > 1:
            axes.fill_between(steps, returns.min(0), returns.max(0), color=colour, alpha=0.1, linewidth=0)
    random = [mean for run in runs for _, mean in run.get("random", ())]
    if random:
        axes.axhline(np.mean(random), color="#888888", linewidth=1, linestyle=":")
    axes.set_xlabel("environment steps")
    axes.xaxis.set_major_formatter(lambda steps, _: f"{steps / 1000:g}k" if steps < 1e6 else f"{steps / 1e6:g}M")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    for text in axes.legend(frameon=False, fontsize=7).get_texts():
        text.set_parse_math(False)  # a name is a name, whatever it holds
