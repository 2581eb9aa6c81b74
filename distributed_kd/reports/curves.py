"""Scores while a run trained, read back from its metrics.jsonl, and when a policy was first good enough.

How they got there is the journal's matter (`training/journal.py`), how they are shown that of the other reports.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from distributed_kd.errors import CheckpointError, Problem
from distributed_kd.reports.shown import measured

KEEPS = 0.95
"""Normalised score from which a student is said to keep the teacher's score"""

Curve = list[tuple[int, float]]
"""(environment steps, mean return) of one evaluation after the other"""


def read_curves(path: Path) -> dict[str, Curve]:
    """The evaluations in a metrics.jsonl as a curve for each policy, the random one among them; {} without such a file.

    A resumed run goes back to its checkpoint: what was evaluated at the same or later steps before is not of this run
    any more. A damaged last line is what a crash leaves and is passed over; CheckpointError tells of any other.
    """
    lines = path.read_bytes().splitlines() if path.is_file() else []
    evaluations: list[tuple[int, dict[str, float]]] = []
    for number, line in enumerate(lines, 1):
        try:
            evaluation = _evaluation(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if number == len(lines):
                break
            why, fix = f"line {number} is damaged, {type(error).__name__}: {error}", "Remove that line"
            raise CheckpointError(Problem("the metrics cannot be read", "path", path, why, fix)) from error
        if evaluation:
            while evaluations and evaluations[-1][0] >= evaluation[0]:
                evaluations.pop()
            evaluations.append(evaluation)
    curves: dict[str, Curve] = defaultdict(list)
    for env_steps, returns in evaluations:
        for name, mean in returns.items():
            curves[name].append((env_steps, mean))
    return dict(curves)


def _evaluation(line: bytes) -> tuple[int, dict[str, float]] | None:
    """Steps and mean returns in a line of metrics; None in one that tells of other things."""
    told = json.loads(line).get("evaluation")
    if told is None:
        return None
    returns = {name: measured(score["return_mean"]) for name, score in told.items() if isinstance(score, dict)}
    return int(told["env_steps"]), returns


def steps_to(curve: Curve, random: float, teacher: float, share: float = KEEPS) -> int | None:
    """The environment steps after which a policy's mean return reached random + share * (teacher - random), and held it.

    Held: it is there at the next evaluation too, if there is one; a single good evaluation of twenty episodes is often luck.
    None where it never did, and where the teacher is no better than random: then every policy would have from the start.
    """
    if not teacher > random:
        return None
    enough = random + share * (teacher - random)
    reached = [mean >= enough for _, mean in curve]
    held = (env_steps for place, (env_steps, _) in enumerate(curve) if all(reached[place : place + 2]))
    return next(held, None)


def steps_to_keep(summary: Mapping, curves: Mapping[str, Curve]) -> dict[str, int | None]:
    """`steps_to` by policy, measured by the final scores of teacher and random; only policies that have a curve.

    Nobody's where students learned from a fixed set of states: no step was taken.
    """
    if summary["env_steps"] == 0:
        return {}
    random, teacher = measured(summary["random_return"]), measured(summary["teacher"]["return_mean"])
    names = [name for name in ("teacher", *summary["students"]) if name in curves]
    return {name: steps_to(curves[name], random, teacher) for name in names}
