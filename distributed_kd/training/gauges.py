"""A run's newest figures among the metrics of the cluster that it runs on, for Prometheus to fetch from Ray."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ray.util.metrics import Gauge


@dataclass(frozen=True)
class Shown:
    """A gauge, by the pattern of the paths in a line of metrics that it shows; named groups of that become labels."""

    path: str
    name: str
    about: str
    scale: float = 1.0


SHOWN = (
    Shown("env_steps", "env_steps", "Environment steps so far"),
    Shown("updates", "updates", "Updates of the teacher so far"),
    Shown("charts/env_steps_per_second", "env_steps_per_second", "Environment steps a second, of all rollouts"),
    Shown("charts/updates_per_second", "updates_per_second", "Updates a second"),
    Shown("charts/learner_busy_share", "learner_busy_share", "Share of the time that the learner spends in updates, 0 to 1"),
    Shown("charts/learner_wait_share", "learner_wait_share", "Share of the time that the learner waits for batches, 0 to 1"),
    Shown("charts/rollouts_wait_share", "rollouts_wait_share", "Share of the time that rollouts do not act, 0 to 1"),
    Shown("charts/rollouts", "rollouts", "Rollout actors"),
    Shown("charts/policy_lag_updates", "policy_lag_updates", "Updates since the weights that rollouts act with"),
    Shown("charts/sample_age_rows", "sample_age_rows", "Steps stored since those that are learned from"),
    Shown("charts/replay_answer_seconds", "replay_answer_seconds", "How long a batch is waited for"),
    Shown("charts/replay_store_seconds", "replay_store_seconds", "From the end of a segment to its receipt"),
    Shown("charts/replay_size", "replay_rows", "Steps in the replay"),
    Shown("charts/samples_per_insert", "samples_per_insert", "Steps learned from for each one stored"),
    Shown(r"charts/memory_(?P<part>\w+)_mb", "memory_bytes", "Resident memory of the largest process of a kind", 2.0**20),
    Shown("charts/env_faults", "env_faults", "Environments that failed so far"),
    Shown("charts/skipped_updates", "skipped_updates", "Updates left out so far, since they were not finite"),
    Shown(r"restarts/(?P<part>\w+)", "restarts", "Actors replaced so far"),
    Shown("checkpoint_seconds", "checkpoint_seconds", "How long the newest checkpoint took to write"),
    Shown("checkpoint_stall_seconds", "checkpoint_stall_seconds", "How long the learner stood still for it"),
    Shown("checkpoint_bytes", "checkpoint_bytes", "Its size"),
    Shown("evaluation/(?P<policy>[^/]+)/return_mean", "evaluation_return", "Mean return of full greedy episodes"),
    Shown("evaluation/(?P<policy>[^/]+)/normalised_score", "normalised_score", "(return - random) / (teacher - random)"),
    Shown("evaluation/(?P<policy>[^/]+)/action_agreement", "action_agreement", "How often it picks the teacher's action"),
    Shown("episodes/(?P<policy>[^/]+)/return_mean", "rollout_return", "Mean return of episodes that rollouts ended"),
    Shown("losses/(?P<policy>[^/]+)/loss", "loss", "Newest loss"),
    Shown("losses/(?P<policy>[^/]+)/grad_norm", "grad_norm", "Newest norm of the gradient, before it is clipped"),
)
PREFIX = "distributed_kd_"
"""Of every name; Ray puts `ray_` before it"""


class _Place(NamedTuple):
    gauge: Gauge
    tags: dict[str, str]
    scale: float


class Gauges:
    """Labelled with the run, so that several on one cluster do not mix. A `tracking.Tracker`; Ray has been joined."""

    name, place = "Ray's metrics", "the cluster's Prometheus"

    def __init__(self, run: str):
        self._shown = []
        for one in SHOWN:
            pattern = re.compile(one.path)
            gauge = Gauge(PREFIX + one.name, one.about, tag_keys=("run", *pattern.groupindex))
            self._shown.append((pattern, gauge.set_default_tags({"run": run}), one.scale))
        self._places: dict[str, _Place | None] = {}

    def log(self, env_steps: int, updates: int, numbers: Mapping[str, float]) -> None:
        for path, value in {"env_steps": env_steps, "updates": updates, **numbers}.items():
            if path not in self._places:
                self._places[path] = self._place(path)
            if place := self._places[path]:
                place.gauge.set(place.scale * value, tags=place.tags)

    def _place(self, path: str) -> _Place | None:
        for pattern, gauge, scale in self._shown:
            if found := pattern.fullmatch(path):
                return _Place(gauge, found.groupdict(), scale)
        return None

    def finish(self, summary: Mapping[str, float], finished: bool) -> None:
        """Gauges end with the process."""
