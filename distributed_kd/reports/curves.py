"""Scores while a run trained, read back from its metrics.jsonl, and when a policy was first good enough.

How they got there is the journal's matter (`training/journal.py`), how they are shown that of the other reports.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from distributed_kd.errors import CheckpointError, Problem
from distributed_kd.reports.shown import measured

KEEPS = 0.95
"""Normalised score from which a student is said to keep the teacher's score"""

Curve = list[tuple[int, float]]
"""(environment steps, mean return) of one evaluation after the other"""
Evaluated = tuple[int, dict[str, float]]
"""Environment steps, and the mean return of each policy then"""
Read = TypeVar("Read")


def read_lines(path: Path, understood: Callable[[dict], Read]) -> list[Read]:
    """What `understood` makes of each line of a metrics.jsonl; [] without such a file.

    A damaged last line is what a crash leaves and is passed over; CheckpointError tells of any other.
    """
    found: list[Read] = []
    for number, line in enumerate(lines := path.read_bytes().splitlines() if path.is_file() else [], 1):
        try:
            found.append(understood(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            if number == len(lines):
                break
            why, fix = f"line {number} is damaged, {type(error).__name__}: {error}", "Remove that line"
            raise CheckpointError(Problem("the metrics cannot be read", "path", path, why, fix)) from error
    return found


def read_curves(path: Path) -> dict[str, Curve]:
    """The evaluations in a metrics.jsonl as a curve for each policy, the random one among them; {} without such a file.

    Raises CheckpointError as `read_lines`.
    """
    return curves_of(read_lines(path, evaluation_in))


def curves_of(evaluations: Iterable[Evaluated | None]) -> dict[str, Curve]:
    """A curve for each policy.

    A resumed run goes back to its checkpoint: what was evaluated at the same or later steps before is not of this run
    any more.
    """
    kept: list[Evaluated] = []
    for evaluation in evaluations:
        if evaluation:
            while kept and kept[-1][0] >= evaluation[0]:
                kept.pop()
            kept.append(evaluation)
    curves: dict[str, Curve] = defaultdict(list)
    for env_steps, returns in kept:
        for name, mean in returns.items():
            curves[name].append((env_steps, mean))
    return dict(curves)


def evaluation_in(line: dict) -> Evaluated | None:
    """Steps and mean returns in a line of metrics; None in one that tells of other things."""
    told = line.get("evaluation")
    if told is None:
        return None
    returns = {name: float(measured(score["return_mean"])) for name, score in told.items() if isinstance(score, dict)}
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
