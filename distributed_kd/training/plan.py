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
    """those that the run begins with"""
    rollout_cpus: float
    shards: int = 1
    replicas: int = 1
    learner_cpus: float = LEARNER_CPUS
    replay_cpus: float = SHARED_CPUS
    evaluation_cpus: float = SHARED_CPUS

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"

    @property
    def core_bundles(self) -> list[dict[str, float]]:
        """Learner, the replay's first shard and evaluation side by side, then each further shard, each further replica."""
        gpu = {"GPU": self.gpus} if self.gpus else {}
        core = {"CPU": self.learner_cpus + self.replay_cpus + self.evaluation_cpus, **gpu}
        replicas = [{"CPU": self.learner_cpus, **gpu}] * (self.replicas - 1)
        return [core, *[{"CPU": self.replay_cpus}] * (self.shards - 1), *replicas]

    @property
    def bundles(self) -> list[dict[str, float]]:
        """The core's, then each rollout's."""
        return [*self.core_bundles, *self.rollout_bundles]

    @property
    def rollout_bundles(self) -> list[dict[str, float]]:
        return [{"CPU": self.rollout_cpus}] * self.rollout_actors

    @property
    def cpus(self) -> float:
        return sum(bundle["CPU"] for bundle in self.bundles)

    def lines(self, config: RunConfig) -> list[str]:
        """The plan as a person reads it."""
        rollouts = config.rollouts
        learner = f"{self.learner_cpus:g} CPU{' + 1 GPU' if self.gpus else ''}"
        learner = f"{self.replicas} x ({learner})" if self.replicas > 1 else learner
        batches = f"batches of {config.replay.batch_size}"
        batches += f" in {self.replicas} parts" if self.replicas > 1 else ""
        replay = f"{self.shards} x {self.replay_cpus:g}" if self.shards > 1 else f"{self.replay_cpus:g}"
        actors = f"{self.rollout_actors}" + (f" to {rollouts.most}" if rollouts.most > self.rollout_actors else "")
        return [
            f"learner     {learner}, on {self.device}: teacher and {len(config.students)} students, {batches}",
            f"replay      {replay} CPU: {config.replay.capacity:,} rows",
            f"rollouts    {actors} x {self.rollout_cpus:g} CPU: {rollouts.envs_per_actor} lanes each, "
            f"{rollouts.behaviour.teacher:.0%} driven by the teacher",
            f"evaluation  {self.evaluation_cpus:g} CPU: {config.evaluation.episodes} episodes for each policy",
            f"in all      {self.cpus:g} of {self.cpus_there:g} CPU",
        ]


def make_plan(config: RunConfig, nodes: Sequence[Node]) -> Plan:
    """Share these machines out: learner, replay and evaluation on one of them, the rollouts wherever there is room.

    Raises ResourceError where they are too small, no GPU is there and one is asked for, or one but not one for each replica.
    """
    if config.learner.needs_gpu and not any(node.gpus >= 1 for node in nodes):
        raise ResourceError(no_gpu(config))
    core, shards, replicas = LEARNER_CPUS + 2 * SHARED_CPUS, config.replay.shards, config.learner.replicas
    able = [node for node in nodes if node.cpus >= core]
    with_gpu = [node for node in able if node.gpus >= 1 and config.learner.device != "cpu"]
    fit = with_gpu if config.learner.needs_gpu else with_gpu or able
    if with_gpu and (gpus := sum(int(node.gpus) for node in nodes)) < replicas:
        raise ResourceError(_too_few_gpus(replicas, gpus))
    # Replicas exchange gradients at every update: as many as can be stand on one machine.
    home = max(fit, key=lambda node: (min(int(node.gpus), replicas) if with_gpu else 0, node.cpus), default=None)
    there, actors = sum(node.cpus for node in nodes), config.rollouts.least
    free = [node.cpus - (core if node is home else 0.0) for node in nodes] if home else []
    for _ in range(shards - 1 if home else 0):  # each where most is free
        free[free.index(max(free))] -= SHARED_CPUS
    gpus_left = [int(node.gpus) - (node is home) for node in nodes]
    for _ in range(replicas - 1 if home else 0):
        place = max((place for place, left in enumerate(gpus_left) if left > 0 or not with_gpu), key=free.__getitem__)
        free[place] -= LEARNER_CPUS
        gpus_left[place] -= 1
    for each in ROLLOUT_CPUS:
        if home and min(free) >= 0 and _room(free, each) >= actors:
            return Plan(there, 1.0 if with_gpu else 0.0, actors, each, shards, replicas)
    most = _room(free, ROLLOUT_CPUS[-1]) if home and min(free) >= 0 else 0
    needed = core + (shards - 1) * SHARED_CPUS + (replicas - 1) * LEARNER_CPUS + actors * ROLLOUT_CPUS[-1]
    why = f"the run needs {needed:g} CPU, there are {there:g}"
    if len(nodes) > 1:
        why += f" on {len(nodes)} nodes, and the learner needs {core:g} on one"
    several = [key for key, count in (("--replay.shards", shards), ("--learner.replicas", replicas)) if count > 1]
    smaller = f"Lower {' or '.join(several)}, use a larger machine," if several else "Use a larger machine,"
    fix = f"Lower --{config.rollouts.least_key} to {most}" if most else f"{smaller} or --runner inline"
    raise ResourceError(Problem("too few CPUs", config.rollouts.least_key, actors, why, fix))


def _room(free: Sequence[float], each: float) -> int:
    """Rollouts that find room; the small constant keeps 0.75 / 0.25 from falling below 3."""
    return sum(math.floor(cpus / each + 1e-6) for cpus in free)


def _too_few_gpus(replicas: int, gpus: int) -> Problem:
    why = f"each of them learns on a GPU of its own, and {'one is' if gpus == 1 else f'{gpus} are'} there"
    fix = f"Lower --learner.replicas to {gpus}, or set --learner.device cpu"
    return Problem("too few GPUs", "learner.replicas", replicas, why, fix)


def no_gpu(config: RunConfig) -> Problem:
    key = config.learner.needs_gpu
    value, other = ("cuda", "auto") if key == "device" else ("true", "false")
    fix = f"Set --learner.{key} {other}, or run where one is"
    return Problem("no GPU", f"learner.{key}", value, "there is none here", fix)


def plan_here(config: RunConfig) -> Plan:
    """The plan for this machine."""
    return make_plan(config, [node_here()])


def node_here() -> Node:
    """This machine."""
    return Node(cores(), torch.cuda.device_count())


def gpus_here() -> list[str]:
    """The names of this machine's GPUs, as CUDA_VISIBLE_DEVICES knows them."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return seen.split(",") if seen else [str(number) for number in range(torch.cuda.device_count())]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
