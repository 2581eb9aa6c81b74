"""The picture of the answer: normalised score against size, one line per set of runs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from distributed_kd.storage.files import CONTROL

COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b4fa3", "#b8860b", "#17a2a2", "#d1478c", "#6b6b6b", "#8a5a3c", "#2f3e9e")
FEW = 4
"""Groups that are named within the picture; more of them would hide it, and are named beside it"""


def draw(groups: Mapping[str, Sequence[dict]], path: Path) -> None:
    """Write a picture (SVG or PNG by its ending) of the summaries of runs: a line per group, by name, over its runs' mean.

    Each run's students are dots; with several runs, by seed, the band is their lowest to highest.
    """
    with matplotlib.rc_context({"svg.hashsalt": "distributed_kd", "font.size": 10}):
        few = len(groups) <= FEW
        figure = Figure(figsize=(7.2 if few else 10.0, 4.2), layout="constrained")
        axes = figure.add_subplot()
        drawn = [_line(axes, name, runs, place) for place, (name, runs) in enumerate(groups.items())]
        axes.axhline(1.0, color="#888888", linewidth=1, linestyle="--")
        axes.text(0.005, 1.0, " teacher", color="#666666", va="bottom", ha="left", transform=axes.get_yaxis_transform())
        axes.set_xscale("log")
        if not any(drawn):
            axes.set_xlim(0.001, 1.0)  # without a single score a logarithmic axis has no limits of its own
        axes.set_xlabel("parameters, share of the teacher's")
        axes.xaxis.set_major_formatter(lambda share, _: f"{share * 100:g} %")
        axes.set_ylabel("normalised score: 0 random, 1 teacher")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]), top=max(1.1, axes.get_ylim()[1]))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        beside = {"loc": "lower right"} if few else {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        for text in axes.legend(**beside, frameon=False).get_texts():
            text.set_parse_math(False)  # a name is a name, whatever it holds
        axes.set_title("How small can the network be?", loc="left")
        # No date, so that the same runs give the same file.
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)


def _line(axes, name: str, runs: Sequence[dict], place: int) -> bool:
    """Draw the runs of one group, dashed where its colour was used before; False where none of their scores is a number."""
    colour, again = COLOURS[place % len(COLOURS)], place >= len(COLOURS)
    scores: dict[float, list[float]] = defaultdict(list)
    for run in runs:
        for student in run["students"].values():
            score = student["normalised_score"]
            if score is not None and np.isfinite(score):
                scores[student["parameter_share"]].append(score)
    shares = sorted(scores)
    label = CONTROL.sub("", name) + (f", {len(runs)} seeds" if len(runs) > 1 else "")
    means = [np.mean(scores[share]) for share in shares]
    axes.plot(shares, means, color=colour, linestyle="--" if again else "-", marker="s" if again else "o", label=label)
    for share in shares:
        axes.scatter([share] * len(scores[share]), scores[share], color=colour, alpha=0.35, s=14)
    if len(runs) > 1:
        low, high = ([pick(scores[share]) for share in shares] for pick in (min, max))
        axes.fill_between(shares, low, high, color=colour, alpha=0.12, linewidth=0)
    return bool(shares)
