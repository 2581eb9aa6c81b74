"""Summaries and metrics of runs that never were, for the tests of what is printed and drawn."""

import copy
import json

NAN = float("nan")


def student(parameters=100, score=0.9, share=0.1, **more):
    return {
        "parameters": parameters,
        "parameter_share": share,
        "return_mean": 50.0,
        "return_ci95": [40.0, 60.0],
        "normalised_score": score,
        "action_agreement": 0.8,
        "gap_weighted_agreement": 0.95,
        "decision_microseconds": 20.0,
        "episodes": 5,
        "updates": 10,
        "loss": "kl",
    } | more


BASE = {
    "env": "CartPole-v1",
    "seed": 0,
    "status": "finished",
    "env_steps": 1234,
    "updates": 10,
    "wall_seconds": 61.4,
    "random_return": 10.0,
    "teacher": {
        "parameters": 1000,
        "return_mean": 60.0,
        "return_ci95": [55.0, 65.0],
        "episodes": 5,
        "updates": 10,
        "decision_microseconds": 30.0,
    },
    "students": {},
    "throughput": {"env_steps_per_second": 1000.4, "updates_per_second": 250.0, "learner_busy_share": 0.875},
    "replay": {
        "inserted": 1200,
        "evicted": 200,
        "size": 1000,
        "sampled": 4800,
        "samples_per_insert": 4.0,
        "prioritised": 0,
        "late_priorities": 0,
    },
    "accounting": {
        "generated": 1234,
        "accepted": 1200,
        "dropped": {"duplicate": 30, "fenced": 4},
        "unknown": 0,
        "restarts": {"rollout": 0, "replay": 0, "learner": 0, "evaluation": 0},
        "env_faults": {},
        "rollbacks": {"count": 0, "env_steps": 0, "updates": 0},
        "recovery_seconds": {},
        "on_purpose": {},
    },
    "checkpoints": {
        "count": 2,
        "last_step": 10,
        "last_bytes": 4096,
        "largest_stall_seconds": 0.02,
        "stall_share": 0.001,
    },
    "invariants": {"I1": 0, "I2": 0, "I3": 0, "I5": 0, "I6": 0},
}


def summary(students, **more):
    return copy.deepcopy(BASE) | {"students": students} | more


def unmeasured(value):
    """The summary of a run that broke off before its first evaluation: every score is `value`."""
    gone = {"return_mean": value, "return_ci95": [value, value], "decision_microseconds": value}
    one = student(score=value, action_agreement=value, **gone)
    return summary({"a": one}, status="failed", random_return=value, teacher={**BASE["teacher"], **gone})


def evaluation_line(env_steps, **returns):
    """A line of metrics with one evaluation, as the journal writes it after more steps than it was asked at."""
    policies = {name: {"return_mean": value, "normalised_score": 0.5, "length_mean": 7.0} for name, value in returns.items()}
    evaluation = {**policies, "version": 3, "seconds": 0.5, "env_steps": env_steps}
    return json.dumps({"time": 1.0, "env_steps": env_steps + 64, "updates": 1, "evaluation": evaluation})


def write_metrics(folder, evaluations):
    """metrics.jsonl of `(env_steps, returns by policy)`, one after the other."""
    lines = [evaluation_line(env_steps, **returns) for env_steps, returns in evaluations]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
