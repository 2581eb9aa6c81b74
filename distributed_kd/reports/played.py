"""What `evaluate` prints."""

import json
import sys
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from distributed_kd.maths.statistics import bootstrap_ci95
from distributed_kd.reports.rules import Rules
from distributed_kd.reports.shown import return_form
from distributed_kd.training.playing import Asked, Score

WIDTH = 120
"""Letters of a line"""


def print_played(
    scores: list[Score], asked: Asked, as_json: bool, rules: Mapping[str, Rules] = MappingProxyType({})
) -> None:
    """One line or a table about full episodes, or one JSON object: that of a single score, or more of them in `played`.

    Behind it come the `rules` of policies, by name.
    """
    if as_json:
        told = [{"seed": asked.seed, **_told(score, asked.against)} for score in scores]
        for one in told:
            one |= {"rules": rules[one["policy"]].lines} if one["policy"] in rules else {}
        print(json.dumps(told[0] if len(told) == 1 else {"seed": asked.seed, "played": told}))
        return
    form = return_form(*(np.mean(score.played.returns) for score in scores))
    if len(scores) == 1 and not (asked.against or any(asked.noise) or any(asked.sticky)):
        _print_line(scores[0], form)
    else:
        Console(file=sys.stdout, width=WIDTH, highlight=False).print(_table(scores, asked, form))
        versus = f"; difference: return less that of {asked.against} in the same episode" if asked.against else ""
        print(f"{asked.episodes} episodes of each, on the same seeds{versus}")
    for name, its in rules.items():
        print("\n".join(["", its.title(name), *its.lines]))
    if asked.video:
        print(f"recorded in {asked.video}")


def _print_line(score: Score, form: str) -> None:
    returns = score.played.returns
    low, high = bootstrap_ci95(returns)
    print(
        f"{score.policy}: return {np.mean(returns):{form}} (95 % interval {low:{form}} … {high:{form}}) over "
        f"{len(returns)} episodes of {np.mean(score.played.lengths):.0f} steps in the mean"
    )


def _table(scores: list[Score], asked: Asked, form: str) -> Table:
    """A row for each score."""
    rows = [_cells(score, asked, form) for score in scores]
    made = Table(box=SIMPLE_HEAD, show_edge=False, collapse_padding=True)
    made.add_column("policy", overflow="fold")
    for heading, _ in rows[0][1:]:
        made.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(*(cell for _, cell in row))
    return made


def _cells(score: Score, asked: Asked, form: str) -> list[tuple[str, str]]:
    """Headings and cells of what was asked for; disturbances only where there are any."""
    told, cells = _told(score, asked.against), [("policy", score.policy)]
    if any(asked.noise):
        cells.append(("noise", f"{score.noise:g}"))
    if any(asked.sticky):
        cells.append(("sticky", f"{score.sticky:g}"))
    cells += [
        ("return", f"{told['return_mean']:{form}}"),
        ("95 % interval", _interval(told["return_ci95"], form)),
        ("steps", f"{np.mean(score.played.lengths):.0f}"),
    ]
    if asked.against:
        versus = told["against"]
        cells += [
            ("difference", f"{versus['difference']:+{form}}"),
            ("95 % interval", _interval(versus["difference_ci95"], f"+{form}")),
            ("won/tied/lost", "/".join(f"{versus[outcome]:.0%}" for outcome in ("won", "tied", "lost"))),
        ]
    return cells


def _interval(bounds: list[float], form: str) -> str:
    low, high = bounds
    return f"{low:{form}} … {high:{form}}"


def _told(score: Score, against: str | None) -> dict[str, object]:
    returns = score.played.returns
    told = {
        "policy": score.policy,
        "observation_noise": score.noise,
        "sticky_actions": score.sticky,
        "episodes": len(returns),
        "return_mean": float(np.mean(returns)),
        "return_ci95": list(bootstrap_ci95(returns)),
        "returns": list(returns),
        "lengths": list(score.played.lengths),
    }
    if score.against is not None:
        # The mean, as of the returns themselves: an interquartile mean is 0 where most episodes tie.
        apart = np.subtract(returns, score.against.returns)
        told["against"] = {
            "policy": against,
            "difference": float(np.mean(apart)),
            "difference_ci95": list(bootstrap_ci95(apart)),
            "won": float(np.mean(apart > 0)),
            "tied": float(np.mean(apart == 0)),
            "lost": float(np.mean(apart < 0)),
        }
    return told
