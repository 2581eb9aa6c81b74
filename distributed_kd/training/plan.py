"""Who runs with how much of the machine or cluster, and whether it is large enough. Pure arithmetic, without Ray."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from distributed_kd.config import RunConfig
from distributed_kd.errors import Problem, ResourceError

LEARNER_CPUS = 1.0
SHARED_CPUS = 0.25
"""What the replay and the evaluation ask for each: on a small machine they share cores"""
ROLLOUT_CPUS = (1.0, 0.5, 0.25)
"""What each rollout asks for: as much as there is room for"""


@dataclass(frozen=True)
class Node:
    """What one machine of a cluster has."""

    cpus: float
    gpus: float


@dataclass(frozen=True)
class Plan:
    """Who runs with how much."""

    cpus_there: float
    gpus: float
    rollout_actors: int
    rollout_cpus: float
    shards: int = 1
    learner_cpus: float = LEARNER_CPUS
    replay_cpus: float = SHARED_CPUS
    evaluation_cpus: float = SHARED_CPUS

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Learner, the replay's first shard and evaluation side by side, then each further shard and each rollout."""
        core = {"CPU": self.learner_cpus + self.replay_cpus + self.evaluation_cpus}
        if self.gpus:
            core["GPU"] = self.gpus
        others = [self.replay_cpus] * (self.shards - 1) + [self.rollout_cpus] * self.rollout_actors
        return [core, *({"CPU": cpus} for cpus in others)]

    @property
    def cpus(self) -> float:
        return sum(bundle["CPU"] for bundle in self.bundles)

    def lines(self, config: RunConfig) -> list[str]:
        """The plan as a person reads it."""
        rollouts = config.rollouts
        replay = f"{self.shards} x {self.replay_cpus:g}" if self.shards > 1 else f"{self.replay_cpus:g}"
        return [
            f"learner     {self.learner_cpus:g} CPU{' + 1 GPU' if self.gpus else ''}, on {self.device}: "
            f"teacher and {len(config.students)} students, batches of {config.replay.batch_size}",
            f"replay      {replay} CPU: {config.replay.capacity:,} rows",
            f"rollouts    {self.rollout_actors} x {self.rollout_cpus:g} CPU: {rollouts.envs_per_actor} lanes each, "
            f"{rollouts.behaviour.teacher:.0%} driven by the teacher",
            f"evaluation  {self.evaluation_cpus:g} CPU: {config.evaluation.episodes} episodes for each policy",
            f"in all      {self.cpus:g} of {self.cpus_there:g} CPU",
        ]


def make_plan(config: RunConfig, nodes: Sequence[Node]) -> Plan:
    """Share these machines out: learner, replay and evaluation on one of them, the rollouts wherever there is room.

    Raises ResourceError where they are too small, or no GPU is there and one is asked for.
    """
    if config.learner.needs_gpu and not any(node.gpus >= 1 for node in nodes):
        raise ResourceError(no_gpu(config))
    core, shards = LEARNER_CPUS + 2 * SHARED_CPUS, config.replay.shards
    able = [node for node in nodes if node.cpus >= core]
    with_gpu = [node for node in able if node.gpus >= 1 and config.learner.device != "cpu"]
    fit = with_gpu if config.learner.needs_gpu else with_gpu or able
    home = max(fit, key=lambda node: node.cpus, default=None)
    there, actors = sum(node.cpus for node in nodes), config.rollouts.actors
    free = [node.cpus - (core if node is home else 0.0) for node in nodes] if home else []
    for _ in range(shards - 1 if home else 0):  # each where most is free
        free[free.index(max(free))] -= SHARED_CPUS
    for each in ROLLOUT_CPUS:
        if home and min(free) >= 0 and _room(free, each) >= actors:
            return Plan(there, 1.0 if with_gpu else 0.0, actors, each, shards)
    most = _room(free, ROLLOUT_CPUS[-1]) if home and min(free) >= 0 else 0
    needed = core + (shards - 1) * SHARED_CPUS + actors * ROLLOUT_CPUS[-1]
    why = f"the run needs {needed:g} CPU, there are {there:g}"
    if len(nodes) > 1:
        why += f" on {len(nodes)} nodes, and the learner needs {core:g} on one"
    smaller = "Lower --replay.shards, use a larger machine," if shards > 1 else "Use a larger machine,"
    fix = f"Lower --rollouts.actors to {most}" if most else f"{smaller} or --runner inline"
    raise ResourceError(Problem("too few CPUs", "rollouts.actors", actors, why, fix))


def _room(free: Sequence[float], each: float) -> int:
    """Rollouts that find room; the small constant keeps 0.75 / 0.25 from falling below 3."""
    return sum(math.floor(cpus / each + 1e-6) for cpus in free)


def no_gpu(config: RunConfig) -> Problem:
    key = config.learner.needs_gpu
    value, other = ("cuda", "auto") if key == "device" else ("true", "false")
    fix = f"Set --learner.{key} {other}, or run where one is"
    return Problem("no GPU", f"learner.{key}", value, "there is none here", fix)


def plan_here(config: RunConfig) -> Plan:
    """The plan for this machine."""
    return make_plan(config, [Node(cores(), torch.cuda.device_count())])


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
