"""What the files of a run tell, as far as it can be believed: others may have made them, so each value is looked at here.

What comes out has the shape of the house's own `summary.json`, with NaN for every number that is none. How the files are
read lives in `reported.py`.
"""

import math
import re
from collections.abc import Mapping

LARGEST = 1e15
"""No count and no score is larger: a picture of one that is would show nothing else"""
LONGEST = 200
"""Letters of a name"""
MOST = 200
"""Entries of a table: policies of a run, reasons, kinds"""
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff0-\uffff]")
"""Control characters, those that turn the direction of a text or have no width, and what XML cannot hold"""

SCORED = ("return_mean", "decision_microseconds", "episodes", "updates", "parameters")
OF_STUDENTS = ("parameter_share", "normalised_score", "action_agreement", "gap_weighted_agreement")


def figure(value: object) -> float:
    """A number; NaN for null, for all else that is none, and for what is beyond all measure."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= LARGEST:
        return math.nan
    return float(value)


def count(value: object) -> int:
    """A whole number of at least 0; 0 where there is none."""
    number = figure(value)
    return int(number) if number >= 0 else 0


def text(value: object, otherwise: str = "", most: int = LONGEST) -> str:
    """A name or a line, without what moves a cursor, hides, or cannot be written; `otherwise` where it is no text."""
    if not isinstance(value, str):
        return otherwise
    kept = UNSEEN.sub("", value.encode("utf-8", "replace").decode())
    return kept if len(kept) <= most else f"{kept[: most - 1]}…"


def table(value: object) -> dict[str, object]:
    """The entries of a table by name, the first MOST of them; empty where there is none."""
    return {text(name): one for name, one in list(value.items())[:MOST]} if isinstance(value, Mapping) else {}


def counts(value: object) -> dict[str, int]:
    return {name: count(one) for name, one in table(value).items()}


def summary(told: Mapping) -> dict:
    """A `summary.json` with every entry of DESIGN.md there and of its type."""
    replay, account = table(told.get("replay")), table(told.get("accounting"))
    speed = table(told.get("throughput"))
    return {
        "env": text(told.get("env")),
        "seed": count(told.get("seed")),
        "status": text(told.get("status"), "unknown"),
        "env_steps": count(told.get("env_steps")),
        "updates": count(told.get("updates")),
        "wall_seconds": figure(told.get("wall_seconds")),
        "random_return": figure(told.get("random_return")),
        "teacher": _policy(told.get("teacher")),
        "students": {name: student(one) for name, one in table(told.get("students")).items()},
        "throughput": {
            name: figure(speed.get(name)) for name in ("env_steps_per_second", "updates_per_second", "learner_busy_share")
        },
        "replay": {
            **{name: count(replay.get(name)) for name in ("inserted", "evicted", "size", "sampled")},
            "samples_per_insert": figure(replay.get("samples_per_insert")),
        },
        "accounting": {
            **{name: count(account.get(name)) for name in ("generated", "accepted", "unknown")},
            **{name: counts(account.get(name)) for name in ("dropped", "restarts", "env_faults", "skipped_updates",
                                                             "rollbacks", "on_purpose")},
            "recovery_seconds": {
                name: {key: figure(one) for key, one in table(times).items()}
                for name, times in table(account.get("recovery_seconds")).items()
            },
        },
        "invariants": counts(told.get("invariants")),
    }  # fmt: skip


def _policy(told: object) -> dict[str, object]:
    told = table(told)
    ends = told.get("return_ci95")
    low, high = map(figure, ends) if isinstance(ends, list) and len(ends) == 2 else (math.nan, math.nan)
    return {**{name: figure(told.get(name)) for name in SCORED}, "return_ci95": [low, high]}


def student(told: object) -> dict[str, object]:
    """One student of a `summary.json`, every entry there and of its type."""
    found = table(told)
    numbers = {name: figure(found.get(name)) for name in OF_STUDENTS}
    return {**_policy(told), **numbers, "loss": text(found.get("loss"))}
