"""The parts of one run, cut out of its configuration: what each class is built from, and every seed.

Only here and in the loops is it known that a run has one environment, one teacher and one replay.
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distributed_kd import networks
from distributed_kd.config import RunConfig
from distributed_kd.errors import ConfigurationError
from distributed_kd.learning.normaliser import Normaliser
from distributed_kd.learning.recorded import CudaGraphs
from distributed_kd.learning.teacher import Importance
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.networks.q_network import PLAIN
from distributed_kd.records import EnvSpec
from distributed_kd.replay.pace import Pace
from distributed_kd.rollouts.exploration import plan_lanes
from distributed_kd.storage.sources import Source


class Parts:
    """Keyword arguments of the run's classes."""

    def __init__(
        self,
        config: RunConfig,
        spec: EnvSpec,
        teachers: Sequence[Source] = (),
        starts: Mapping[str, Source] = MappingProxyType({}),
    ):
        """`teachers` that were trained elsewhere, where the teacher does not begin here; `starts` of students, by name."""
        self.config, self.spec, self._teachers, self._starts = config, spec, teachers, starts
        drivers = [number for number, name in enumerate(config.policies) if number and config.students[name].drives]
        rollouts = config.rollouts
        # Dealt to those that the run begins with; each further actor has the lanes of one of them, so that every policy and
        # every rung of the ladder has its share however many there are.
        self.plans = plan_lanes(rollouts.behaviour, drivers, rollouts.least, rollouts.envs_per_actor)
        self._own = {
            name: number
            for number, name in enumerate(config.policies)
            if number and config.students[name].learns_from_own_lanes
        }

    def seed(self, *name: str | int) -> np.random.SeedSequence:
        """The random stream of that name: a child of the run's one seed, whatever other streams there are."""
        key = tuple(part if isinstance(part, int) else zlib.crc32(part.encode()) for part in name)
        return np.random.SeedSequence(self.config.seed, spawn_key=key)

    @cached_property
    def parameters(self) -> dict[str, int]:
        """How many each policy has."""
        return {name: networks.parameter_count(network) for name, network in self.networks().items()}

    def networks(self) -> dict[str, nn.Module]:
        """Teacher and students as the run begins with them, each from a random stream of its own name."""
        students = {}
        for name, student in self.config.students.items():
            students[name] = self._built(student.network, name, f"students.{name}.network")
            if name in self._starts:
                networks.transfer(students[name], self._starts[name].parameters)
        return {"teacher": self._teacher(students), **students}

    def _built(self, config: NetworkConfig, name: str, key: str, head: HeadConfig = PLAIN) -> nn.Module:
        """A policy's network as it begins. Raises ConfigurationError, naming the `key` of its table, where it misfits."""
        try:
            return networks.build(config, self.spec, self._number("network", name), head)
        except ConfigurationError as error:
            raise ConfigurationError(*(line.replace("(network.", f"({key}.", 1) for line in error.lines)) from error

    def _teacher(self, students: Mapping[str, nn.Module]) -> nn.Module:
        teacher = self.config.teacher
        if teacher.is_peers:
            return Ensemble(list(students.values()), teacher.combine, temperature=teacher.combine_temperature)
        if not self._teachers:
            return self._built(teacher.network, "teacher", "teacher.network", teacher.head)
        members = []
        for source in self._teachers:
            members.append(networks.build(source.network, self.spec, head=source.head))
            networks.transfer(members[-1], source.parameters)
        if len(members) == 1:
            return members[0]
        return Ensemble(members, teacher.combine, teacher.weights, teacher.combine_temperature)

    def _number(self, *name: str) -> int:
        """A seed for PyTorch, from the random stream of that name."""
        return int(self.seed(*name).generate_state(1)[0])

    @property
    def pace(self) -> Pace:
        """How far the learner and the rollouts may run ahead of each other."""
        replay, rollouts = self.config.replay, self.config.rollouts
        return Pace.between(
            replay.samples_per_insert, replay.warmup, replay.batch_size, rollouts.segment_steps, rollouts.most
        )

    def replay(self) -> dict[str, object]:
        """Of `Replay`, and of each `Shard`."""
        return {
            "spec": self.spec,
            "config": self.config.replay,
            "n_step": self.config.teacher.n_step,
            "reward_clip": self.config.teacher.reward_clip,
            "pace": self.pace,
            "seed": self.seed("replay"),
            "own": self._own,
        }

    def learner(self, device: torch.device, repeatable: bool = True) -> dict[str, object]:
        """`repeatable`: nothing is chosen by how long it takes, and nobody's neighbours change what is learned."""
        config, replay = self.config, self.config.replay
        together = config.learner.students
        return {
            "networks": self.networks(),
            "spec": self.spec,
            "teacher": config.teacher,
            "students": config.students,
            "seeds": {"teacher": self._number("teacher"), **{n: self._number("student", n) for n in config.students}},
            "device": device,
            "importance": Importance(replay.importance, replay.importance_end) if replay.prioritized else None,
            "normaliser": Normaliser(self.spec, device, self.normal) if config.env.normalise else None,
            "together": "loop" if repeatable and together == "auto" else together,
            "precision": config.learner.precision,
            "compiled": config.learner.compile,
            "recorder": CudaGraphs() if config.learner.cuda_graph else None,
            "skips": config.learner.skips,
        }

    @property
    def normal(self) -> NDArray[np.float32] | None:
        """What teachers from elsewhere see observations by; None where they see them as they are, or are learned here."""
        return self._teachers[0].normal if self._teachers else None

    def rollout(self, actor: int, incarnation: int, repeatable: bool) -> dict[str, object]:
        config = self.config
        return {
            "env": config.env,
            "spec": self.spec,
            "networks": self.networks(),
            "plan": self.plans[actor % len(self.plans)],
            "rollouts": config.rollouts,
            "exploration": config.teacher.exploration,
            "gamma": config.teacher.gamma,
            "sampled": frozenset(self._own),
            "seed": self.seed("rollout", actor, incarnation),
            "actor": actor,
            "incarnation": incarnation,
            "repeatable": repeatable,
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
