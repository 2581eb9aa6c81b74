"""The summary of a run: what `summary.json` says."""

import math

import numpy as np

from distributed_kd.maths.statistics import bootstrap_ci95, normalised_score
from distributed_kd.records import RANDOM, Evaluation, PolicyScore
from distributed_kd.training.journal import Journal
from distributed_kd.training.parts import Parts


def summarise(parts: Parts, journal: Journal, status: str, final: Evaluation | None) -> dict:
    """The run's answer as plain numbers; not a number where nothing was measured.

    Without a final evaluation (the run was stopped) the scores are those of the newest one while training.
    """
    evaluation = final or journal.evaluation
    config, counts = parts.config, parts.parameters
    teacher_mean, random_mean = _mean(evaluation, "teacher"), _mean(evaluation, RANDOM)
    students = {}
    for name, student in config.students.items():
        score = evaluation.scores[name] if evaluation else None
        students[name] = {
            "parameters": counts[name],
            "parameter_share": counts[name] / counts["teacher"],
            **_returns(score),
            "normalised_score": normalised_score(_mean(evaluation, name), random_mean, teacher_mean),
            "action_agreement": score.agreement if score else math.nan,
            "gap_weighted_agreement": score.gap_weighted_agreement if score else math.nan,
            "decision_microseconds": score.decision_microseconds if score else math.nan,
            "updates": journal.updates_of.get(name, 0),
            "loss": student.label,
        }
    teacher = evaluation.scores["teacher"] if evaluation else None
    receipt = journal.receipt
    return {
        "env": config.env.id,
        "seed": config.seed,
        "status": status,
        "env_steps": journal.generated,
        "updates": journal.updates,
        "wall_seconds": journal.bounds.seconds,
        "random_return": random_mean,
        "teacher": {
            "parameters": counts["teacher"],
            **_returns(teacher),
            "decision_microseconds": teacher.decision_microseconds if teacher else math.nan,
            "updates": journal.updates,
        },
        "students": students,
        "throughput": journal.throughput(),
        "replay": {
            "inserted": receipt.inserted,
            "evicted": receipt.evicted,
            "size": receipt.size,
            "sampled": receipt.sampled,
            "samples_per_insert": journal.samples_per_insert,
            "prioritised": receipt.prioritised,
            "late_priorities": receipt.late_priorities,
        },
        "accounting": journal.accounting(broke_off=status == "failed"),
        "checkpoints": journal.checkpoints(),
        "invariants": journal.invariants.told(),
    }


def _mean(evaluation: Evaluation | None, name: str) -> float:
    return float(np.mean(evaluation.scores[name].returns)) if evaluation else math.nan


def _returns(score: PolicyScore | None) -> dict[str, object]:
    if score is None:
        return {"return_mean": math.nan, "return_ci95": [math.nan, math.nan], "episodes": 0}
    return {
        "return_mean": float(np.mean(score.returns)),
        "return_ci95": list(bootstrap_ci95(score.returns)),
        "episodes": len(score.returns),
    }
