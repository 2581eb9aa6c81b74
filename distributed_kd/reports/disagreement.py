"""Where students act otherwise than the teacher: how often, and whether it matters by the teacher's own values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from distributed_kd.maths.targets import action_gap
from distributed_kd.reports.markup import Html, element, table
from distributed_kd.reports.opened import Opened
from distributed_kd.reports.shown import percent
from distributed_kd.reports.svg import COLOURS, drawn

PARTS = 10
"""Of the states in order of the gap: the picture has a point for each"""


@dataclass(frozen=True, eq=False)
class Disagreement:
    """One student beside the teacher on N states."""

    policy: str
    differs: NDArray[np.bool_]
    """[N]"""
    share: float
    gap_weighted: float
    """share of all that the teacher's best actions are better than its second best, in the states where it differs"""


def action_gaps(opened: Opened) -> NDArray[np.float64]:
    """By how much the teacher values its best action above the second best in each state [N]."""
    return action_gap(torch.from_numpy(opened.policies.outputs("teacher", opened.states))).double().numpy()


def disagreements(opened: Opened, names: Sequence[str], gaps: NDArray[np.float64]) -> list[Disagreement]:
    """Of these students."""
    taught = opened.policies.greedy("teacher", opened.states)
    found = []
    for name in names:
        differs = opened.policies.greedy(name, opened.states) != taught
        lost = float(gaps[differs].sum() / gaps.sum()) if gaps.sum() > 0 else float(differs.mean())
        found.append(Disagreement(name, differs, float(differs.mean()), lost))
    return found


def disagreement_chart(found: Sequence[Disagreement], gaps: NDArray[np.float64], shown: Sequence[str]) -> Html:
    """How often students differ, by how much the choice matters."""
    tenths = np.array_split(np.argsort(gaps, kind="stable"), min(PARTS, len(gaps)))
    middle = (np.arange(len(tenths)) + 0.5) / len(tenths)
    lines = [(one.policy, [one.differs[part].mean() for part in tenths]) for one in found if one.policy in shown]

    def draw(figure) -> None:
        axes = figure.add_subplot()
        figure.subplots_adjust(left=0.13, right=0.97, top=0.97, bottom=0.15)
        for place, (name, shares) in enumerate(lines):
            axes.plot(middle, shares, "o-", markersize=3, color=COLOURS[place % len(COLOURS)], label=name)
        axes.set_xlabel("states, from those where the choice matters least to most")
        axes.set_ylabel("acts otherwise than the teacher")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axes.set_ylim(bottom=0)
        axes.legend(handlelength=1.4)

    words = "; ".join(f"{one.policy} in {percent(one.share)}, weighted {percent(one.gap_weighted)}" for one in found)
    caption = f"Disagreement on {len(gaps):,} states, by the gap between the teacher’s two best actions."
    return drawn(draw, (5.4, 3.3), f"How often students act otherwise than the teacher. {words}.", caption)


def disagreement_table(found: Sequence[Disagreement]) -> Html:
    rows = [[element("th", one.policy, scope="row"), percent(one.share), percent(one.gap_weighted)] for one in found]
    return table(("student", "acts otherwise in", "weighted by the gap"), rows, words=("student",),
                 label="Disagreement")  # fmt: skip
