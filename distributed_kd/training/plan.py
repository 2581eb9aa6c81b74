"""Who runs with how much of the machine or cluster, and whether it is large enough. Pure arithmetic, without Ray."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from distributed_kd.config import RunConfig
from distributed_kd.errors import Problem, ResourceError
from distributed_kd.placement_config import PlacementConfig, has

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
    labels: Mapping[str, str] = field(default_factory=dict)


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
    machines: int = 1
    placement: PlacementConfig = field(default_factory=PlacementConfig)

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
    def core_labels(self) -> list[tuple[str, ...]]:
        """The labels of the node that each of these is to stand on."""
        where = self.placement
        return [where.learner, *[where.shards] * (self.shards - 1), *[where.learner] * (self.replicas - 1)]

    @property
    def core_strategy(self) -> str:
        """Shards are there for the memory and the links of several machines; replicas exchange gradients at every update."""
        return "SPREAD" if self.shards > 1 and self.replicas == 1 else "PACK"

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
            f"in all      {self.cpus:g} of {self.cpus_there:g} CPU"
            + (f", on {self.machines} nodes" if self.machines > 1 else ""),
            *self._labels(),
        ]

    def _labels(self) -> list[str]:
        """Which nodes were asked for."""
        asked = {"learner": self.placement.learner, "shards": self.placement.shards, "rollouts": self.placement.rollouts}
        told = [f"{who} on {', '.join(labels)}" for who, labels in asked.items() if labels]
        return [f"labels      {'; '.join(told)}"] if told else []


class _Left:
    """What is left of each machine while parts of a run find their places."""

    def __init__(self, nodes: Sequence[Node]):
        self._nodes, self._cpus, self._gpus = nodes, [node.cpus for node in nodes], [int(node.gpus) for node in nodes]

    def take(self, place: int, cpus: float, gpus: int) -> bool:
        """Give so much of one machine away; tells whether it had that."""
        self._cpus[place] -= cpus
        self._gpus[place] -= gpus
        return self._cpus[place] >= 0 and self._gpus[place] >= 0

    def take_where_most(self, cpus: float, gpus: int, labels: Sequence[str]) -> bool:
        """The same of that one, of those with a GPU left where it is needed, which has most CPUs left."""
        places = [place for place in _places(self._nodes, labels) if self._gpus[place] >= gpus]
        return bool(places) and self.take(max(places, key=self._cpus.__getitem__), cpus, gpus)

    def cpus(self, labels: Sequence[str]) -> list[float]:
        """What is left of each machine that has these labels."""
        return [self._cpus[place] for place in _places(self._nodes, labels)]


def make_plan(config: RunConfig, nodes: Sequence[Node]) -> Plan:
    """Share these machines out: learner, replay and evaluation on one of them, the rollouts wherever there is room.

    Raises ResourceError where they are too small, no GPU is there and one is asked for, or one but not one for each replica;
    and where labels are asked for that no machine has.
    """
    where, learner, shards, actors = config.placement, config.learner, config.replay.shards, config.rollouts.least
    core, replicas = LEARNER_CPUS + 2 * SHARED_CPUS, learner.replicas
    _check_labels(where, shards, nodes)
    meant = _places(nodes, where.learner)
    if learner.needs_gpu and not any(nodes[place].gpus >= 1 for place in meant):
        raise ResourceError(no_gpu(config))
    able = [place for place in meant if nodes[place].cpus >= core]
    with_gpu = [place for place in able if nodes[place].gpus >= 1 and learner.device != "cpu"]
    if with_gpu and (gpus := sum(int(nodes[place].gpus) for place in meant)) < replicas:
        raise ResourceError(_too_few_gpus(replicas, gpus))
    # Replicas exchange gradients at every update: as many as can be stand on one machine.
    fit, gpu = with_gpu if learner.needs_gpu else with_gpu or able, int(bool(with_gpu))
    home = max(fit, key=lambda place: (gpu * min(int(nodes[place].gpus), replicas), nodes[place].cpus), default=None)
    left = _Left(nodes)
    fits = home is not None and left.take(home, core, gpu)
    fits = fits and all([left.take_where_most(SHARED_CPUS, 0, where.shards) for _ in range(shards - 1)])
    fits = fits and all([left.take_where_most(LEARNER_CPUS, gpu, where.learner) for _ in range(replicas - 1)])
    room = left.cpus(where.rollouts) if fits else []
    there = sum(node.cpus for node in nodes)
    for each in ROLLOUT_CPUS:
        if fits and _room(room, each) >= actors:
            return Plan(there, float(gpu), actors, each, shards, replicas, machines=len(nodes), placement=where)
    most = _room(room, ROLLOUT_CPUS[-1])
    needed = core + (shards - 1) * SHARED_CPUS + (replicas - 1) * LEARNER_CPUS + actors * ROLLOUT_CPUS[-1]
    why = f"the run needs {needed:g} CPU, there are {there:g}"
    if len(nodes) > 1:
        why += f" on {len(nodes)} nodes, and the learner needs {core:g} on one"
    if where.rollouts and fits:
        why += f"; {sum(room):g} are left for rollouts on nodes with {', '.join(where.rollouts)}"
    several = [key for key, count in (("--replay.shards", shards), ("--learner.replicas", replicas)) if count > 1]
    smaller = f"Lower {' or '.join(several)}, use a larger machine," if several else "Use a larger machine,"
    fix = f"Lower --{config.rollouts.least_key} to {most}" if most else f"{smaller} or --runner inline"
    raise ResourceError(Problem("too few CPUs", config.rollouts.least_key, actors, why, fix))


def best_plan(config: RunConfig) -> Plan:
    """What the run would like to have: a CPU for each rollout, and GPUs only where they are asked for by name."""
    replicas = config.learner.replicas
    gpus = replicas if config.learner.needs_gpu else 0
    most = LEARNER_CPUS * replicas + SHARED_CPUS * (config.replay.shards + 1) + ROLLOUT_CPUS[0] * config.rollouts.least
    anywhere = replace(config, placement=PlacementConfig())
    return replace(make_plan(anywhere, [Node(most, gpus)]), placement=config.placement)


def _places(nodes: Sequence[Node], labels: Sequence[str]) -> list[int]:
    return [place for place, node in enumerate(nodes) if has(node.labels, labels)]


def _check_labels(where: PlacementConfig, shards: int, nodes: Sequence[Node]) -> None:
    asked = {"learner": where.learner, "shards": where.shards if shards > 1 else (), "rollouts": where.rollouts}
    for key, labels in asked.items():
        if labels and not _places(nodes, labels):
            keys = {label.split("=", 1)[0] for label in labels}
            known = sorted({f"{name}={value}" for node in nodes for name, value in node.labels.items() if name in keys})
            why = f"of {len(nodes)} nodes none has {'it' if len(labels) == 1 else 'them all'}"
            fix = f"Theirs are {', '.join(known)}" if known else "Start nodes with `ray start --labels`, or leave it out"
            raise ResourceError(Problem("no such node", f"placement.{key}", " ".join(labels), why, fix))


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
