"""The parts of one run, cut out of its configuration: what each class is built from, and every seed.

Only here and in the loops is it known that a run has one environment, one teacher and one replay.
"""

import zlib

import numpy as np
import torch
from torch import nn

from distributed_kd import networks
from distributed_kd.config import RunConfig
from distributed_kd.records import EnvSpec
from distributed_kd.replay.pace import Pace
from distributed_kd.rollouts.exploration import plan_lanes


class Parts:
    """Keyword arguments of the run's classes."""

    def __init__(self, config: RunConfig, spec: EnvSpec):
        self.config, self.spec = config, spec
        self._plans = plan_lanes(
            config.rollouts.behaviour, len(config.students), config.rollouts.actors, config.rollouts.envs_per_actor
        )

    def seed(self, *name: str | int) -> np.random.SeedSequence:
        """The random stream of that name: a child of the run's one seed, whatever other streams there are."""
        key = tuple(part if isinstance(part, int) else zlib.crc32(part.encode()) for part in name)
        return np.random.SeedSequence(self.config.seed, spawn_key=key)

    def networks(self) -> dict[str, nn.Module]:
        """Teacher and students, freshly initialised, each from a stream of its own name."""

        def seed(name: str) -> int:
            return int(self.seed("network", name).generate_state(1)[0])

        teacher = self.config.teacher
        built = {"teacher": networks.build(teacher.network, self.spec, seed("teacher"), teacher.dueling)}
        for name, student in self.config.students.items():
            built[name] = networks.build(student.network, self.spec, seed(name))
        return built

    def replay(self) -> dict[str, object]:
        replay, rollouts = self.config.replay, self.config.rollouts
        pace = Pace.between(
            replay.samples_per_insert, replay.warmup, replay.batch_size, rollouts.segment_steps, rollouts.actors
        )
        return {
            "spec": self.spec,
            "capacity": replay.capacity,
            "n_step": self.config.teacher.n_step,
            "pace": pace,
            "seed": self.seed("replay"),
        }

    def learner(self, device: torch.device) -> dict[str, object]:
        config = self.config
        return {"networks": self.networks(), "teacher": config.teacher, "students": config.students, "device": device}

    def rollout(self, actor: int, incarnation: int) -> dict[str, object]:
        config = self.config
        return {
            "env": config.env,
            "spec": self.spec,
            "networks": self.networks(),
            "plan": self._plans[actor],
            "rollouts": config.rollouts,
            "exploration": config.teacher.exploration,
            "gamma": config.teacher.gamma,
            "seed": self.seed("rollout", actor, incarnation),
            "actor": actor,
            "incarnation": incarnation,
        }

    def evaluator(self) -> dict[str, object]:
        config = self.config
        return {
            "env": config.env,
            "spec": self.spec,
            "networks": self.networks(),
            "episodes": config.evaluation.episodes,
            "seed": self.seed("evaluation"),
        }


def device_of(name: str) -> torch.device:
    """The device that `learner.device` means on the machine that asks."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
