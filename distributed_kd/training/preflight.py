"""What is checked before Ray starts: the configuration, the environment, and whether the machine is large enough."""

import os
from dataclasses import dataclass

import torch

from distributed_kd.config import RunConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.errors import ConfigurationError, Problem, ResourceError
from distributed_kd.records import EnvSpec

LEARNER_CPUS = 1.0
SHARED_CPUS = 0.25
"""What the replay and the evaluation ask for each, and the least for a rollout: on a small machine they share cores"""


@dataclass(frozen=True)
class Plan:
    """Who runs with how much of the machine or cluster."""

    cpus_there: float
    gpus: float
    rollout_actors: int
    rollout_cpus: float
    learner_cpus: float = LEARNER_CPUS
    replay_cpus: float = SHARED_CPUS
    evaluation_cpus: float = SHARED_CPUS

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Learner, replay and evaluation side by side, then each rollout."""
        core = {"CPU": self.learner_cpus + self.replay_cpus + self.evaluation_cpus}
        if self.gpus:
            core["GPU"] = self.gpus
        return [core, *({"CPU": self.rollout_cpus} for _ in range(self.rollout_actors))]

    @property
    def cpus(self) -> float:
        return sum(bundle["CPU"] for bundle in self.bundles)

    def lines(self, config: RunConfig) -> list[str]:
        """The plan as a person reads it."""
        rollouts = config.rollouts
        return [
            f"learner     {self.learner_cpus:g} CPU{' + 1 GPU' if self.gpus else ''}, on {self.device}: "
            f"teacher and {len(config.students)} students, batches of {config.replay.batch_size}",
            f"replay      {self.replay_cpus:g} CPU: {config.replay.capacity:,} rows",
            f"rollouts    {self.rollout_actors} x {self.rollout_cpus:g} CPU: {rollouts.envs_per_actor} lanes each, "
            f"{rollouts.behaviour.teacher:.0%} driven by the teacher",
            f"evaluation  {self.evaluation_cpus:g} CPU: {config.evaluation.episodes} episodes for each policy",
            f"in all      {self.cpus:g} of {self.cpus_there:g} CPU",
        ]


def make_plan(config: RunConfig, cpus: float, gpus: float) -> Plan:
    """Share a machine or cluster of so many CPUs and GPUs out. Raises ResourceError where it is too small."""
    actors = config.rollouts.actors
    if config.learner.device == "cuda" and not gpus:
        raise ResourceError(
            Problem(
                "no GPU",
                "learner.device",
                "cuda",
                "there is none here",
                "Set --learner.device auto, or run where one is",
            )
        )
    fixed = LEARNER_CPUS + 2 * SHARED_CPUS
    need = fixed + actors * SHARED_CPUS
    if need > cpus:
        most = int((cpus - fixed) / SHARED_CPUS)
        fix = f"Lower --rollouts.actors to {most}" if most >= 1 else "Use a larger machine, or --runner inline"
        raise ResourceError(
            Problem("too few CPUs", "rollouts.actors", actors, f"the run needs {need:g} CPU, there are {cpus:g}", fix)
        )
    each = min(1.0, (cpus - fixed) / actors)
    # Ray counts in ten-thousandths of a CPU; rounding down keeps the sum within what is there.
    each = int(each * 100) / 100
    on_gpu = 1.0 if gpus >= 1 and config.learner.device != "cpu" else 0.0
    return Plan(cpus, on_gpu, actors, each)


def plan_here(config: RunConfig) -> Plan:
    """The plan for this machine."""
    return make_plan(config, float(cores()), float(torch.cuda.device_count()))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_device(config: RunConfig) -> None:
    """Raise ResourceError where this process is to learn on a GPU and has none."""
    if config.learner.device == "cuda" and not torch.cuda.is_available():
        make_plan(config, float("inf"), 0.0)


def check_run(config: RunConfig, allow_env_import: bool) -> EnvSpec:
    """Make the environment once and read its spaces. Raises ConfigurationError where it cannot be played."""
    if ":" in config.env.id and not allow_env_import:
        module = config.env.id.rpartition(":")[0]
        raise ConfigurationError(
            Problem(
                "a module would be imported",
                "env.id",
                config.env.id,
                f"importing {module} runs its code",
                "If you trust it, add --allow-env-import",
            )
        )
    return read_spec(config.env)
