"""What a tree decides by: as rules that a person reads, and as a picture."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distributed_kd.maths.normalisation import LEAST_DEVIATION
from distributed_kd.networks.tree import TreeNetwork
from distributed_kd.records import EnvSpec
from distributed_kd.reports.decision_maps import ACTIONS
from distributed_kd.reports.svg import FAINT, GRID, INK

INDENT = "  "
TITLE = 0.4
"""Inches for it"""


@dataclass(frozen=True)
class Rule:
    """A decision, with what follows on no and on yes; or an action, where these are None."""

    text: str
    action: int
    no: "Rule | None" = None
    yes: "Rule | None" = None

    @property
    def leaves(self) -> int:
        return self.no.leaves + self.yes.leaves if self.no else 1

    @property
    def depth(self) -> int:
        return 1 + max(self.no.depth, self.yes.depth) if self.no else 0


@dataclass(frozen=True)
class Rules:
    """All of a tree's decisions that lead to different actions."""

    root: Rule

    @property
    def lines(self) -> list[str]:
        return list(_lines(self.root, ""))

    def title(self, name: str) -> str:
        counts = (f"{count} {what}{'' if count == 1 else 's'}" for count, what in
                  ((self.root.leaves - 1, "decision"), (self.root.depth, "level")))  # fmt: skip
        return f"rules of {name}: {', '.join(counts)}"


def rules_of(network: TreeNetwork, spec: EnvSpec, normal: NDArray[np.float32] | None) -> Rules:
    """A tree's rules in the unit of observations; `normal` [2, *observation_shape] is what it sees them by, if anything.

    Decisions that make no difference to the action are left out.
    """
    features = network.feature.numpy().astype(int)
    thresholds = network.threshold.double().numpy() / spec.scale
    if normal is not None:
        mean, deviation = (np.broadcast_to(one, spec.input_shape).ravel()[features].astype(float) for one in normal)
        thresholds = mean + thresholds * np.maximum(deviation, LEAST_DEVIATION)
    actions = network.leaves.argmax(1).numpy()

    def rule(place: int) -> Rule:
        if place >= len(features):
            action = int(actions[place - len(features)])
            return Rule(f"action {action + spec.action_start}", action)
        no, yes = rule(2 * place + 1), rule(2 * place + 2)
        if not (no.no or yes.no) and no.action == yes.action:
            return no
        index = ", ".join(map(str, np.unravel_index(features[place], spec.input_shape)))
        return Rule(f"x[{index}] > {thresholds[place]:.4g}", -1, no, yes)

    return Rules(rule(0))


def _lines(rule: Rule, indent: str) -> list[str]:
    if rule.no is None:
        return [f"{indent}{rule.text}"]
    yes, no = _lines(rule.yes, indent + INDENT), _lines(rule.no, indent + INDENT)
    return [f"{indent}if {rule.text}:", *yes, f"{indent}else:", *no]


def draw_rules(rules: Rules, title: str, path: Path) -> None:
    """Write a picture (SVG) of a tree."""
    with matplotlib.rc_context({"svg.hashsalt": "distributed_kd", "font.size": 8}):
        figure = Figure(figsize=size_of(rules))
        plot_rules(rules, title, figure)
        figure.savefig(path, metadata={"Date": None})


def size_of(rules: Rules) -> tuple[float, float]:
    """Inches in which a tree can be read."""
    return max(9.0, 0.75 * rules.root.leaves), TITLE + 0.7 * (rules.root.depth + 1)


def plot_rules(rules: Rules, title: str, figure: Figure) -> None:
    """Decisions above, actions by colour below, yes to the right."""
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98 - TITLE / figure.get_figheight()))
    _plot(axes, rules.root, 0, 0)
    axes.set(xlim=(-0.6, rules.root.leaves - 0.4), ylim=(-rules.root.depth - 0.5, 0.5))
    axes.set_axis_off()
    axes.set_title(title, loc="left").set_parse_math(False)


def _plot(axes, rule: Rule, left: int, depth: int) -> float:
    """Draw what begins at a leaf's place and a level; gives where its head stands."""
    x = float(left)
    if rule.no:
        no = _plot(axes, rule.no, left, depth + 1)
        yes = _plot(axes, rule.yes, left + rule.no.leaves, depth + 1)
        x = (no + yes) / 2
        for below, answer in ((no, "no"), (yes, "yes")):
            axes.plot([x, below], [-depth, -depth - 1], color=FAINT, linewidth=1, zorder=1)
            axes.text((x + below) / 2, -depth - 0.5, answer, color=FAINT, ha="center", va="center", fontsize=7)
    colour = GRID if rule.no else ACTIONS[rule.action % len(ACTIONS)]
    box = {"boxstyle": "round", "facecolor": colour, "edgecolor": FAINT}
    text = axes.text(x, -depth, rule.text.replace(" > ", "\n> "), color=INK if rule.no else "white", bbox=box, fontsize=8,
                     ha="center", va="center", zorder=2)  # fmt: skip
    text.set_parse_math(False)
    return x
