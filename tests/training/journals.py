"""Receipts, reports, evaluations, and a journal to tell them to: small pieces for the tests beside this file."""

from dataclasses import replace

import numpy as np

from distributed_kd.config import EvaluationConfig, ReplayConfig, RolloutsConfig, RunConfig, StopConfig
from distributed_kd.data_config import BehaviourConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import EpisodeStats, Evaluation, LearnerReport, PolicyScore, Receipt
from distributed_kd.storage.metrics import Metrics
from distributed_kd.student_config import StudentConfig
from distributed_kd.training.bounds import Bounds
from distributed_kd.training.journal import Journal

CONFIG = RunConfig(
    stop=StopConfig(env_steps=1_000),
    teacher=TeacherConfig(network=NetworkConfig(hidden=(8,))),
    students={"big": StudentConfig(network=NetworkConfig(hidden=(4,))), "small": StudentConfig(loss="mse")},
    rollouts=RolloutsConfig(actors=2, envs_per_actor=4, steps_per_segment=4, behaviour=BehaviourConfig(0.5, 0.5)),
    replay=ReplayConfig(capacity=500, warmup=100, batch_size=10, samples_per_insert=4.0),
    evaluation=EvaluationConfig(episodes=2),
)
SPEC = read_spec(CONFIG.env)


def journal(folder, show=lambda _: None, config=CONFIG, **more) -> Journal:
    metrics = Metrics(folder / "metrics.jsonl", folder / "tb")
    return Journal(config.policies, Bounds.of(config), metrics, config.rollouts.actors, show, **more)


def receipt(inserted=0, sampled=0, evicted=0, dropped=None, size=None) -> Receipt:
    held = inserted - evicted if size is None else size
    return Receipt(inserted, evicted, held, sampled, insert_limit=inserted + 32, dropped=dropped or {})


def stats(steps=16, version=0, episodes=(), seconds=0.0) -> EpisodeStats:
    """`episodes` are (number of the policy, return, length)."""
    policy, returns, lengths = (np.array(column) for column in zip(*episodes, strict=True)) if episodes else ([], [], [])
    return EpisodeStats(0, 0, 0, steps, version, seconds, policy, returns, lengths)


def report(updates, done, **more) -> LearnerReport:
    base = LearnerReport(updates, done, 0.0, 0.0, started=100.0, ended=100.0, starved=False, receipt=receipt())
    counted = {"big": updates, "small": updates}
    return replace(base, updates_of=counted, **more)


def evaluation(version=7, **returns) -> Evaluation:
    """Scores by policy, each a tuple of returns."""
    scores = {
        name: PolicyScore(values, tuple(1 for _ in values), version, agreement=0.5, decision_microseconds=2.0)
        for name, values in returns.items()
    }
    return Evaluation(version, 0.1, scores, np.zeros(3, np.float32))
