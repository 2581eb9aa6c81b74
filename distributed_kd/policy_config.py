"""The tables of a run file that describe a policy: its network, how the teacher learns, how a student is taught."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from distributed_kd.checks import above_zero, at_least, share
from distributed_kd.errors import Problem

LossName = Literal["kl", "kl_q", "kl_hinton", "cross_entropy", "nll", "mse", "huber"]


@dataclass(frozen=True)
class NetworkConfig:
    """A network by name, with its widths."""

    kind: Literal["mlp"] = "mlp"
    """mlp: fully connected with ReLU"""
    hidden: tuple[int, ...] = (256, 256)
    """units of each hidden layer"""

    def problems(self, key: str) -> Iterator[Problem]:
        for width in self.hidden:
            yield from at_least(f"{key}.hidden", width, 1, "bad layer width")


@dataclass(frozen=True)
class ExplorationConfig:
    """Epsilon of the teacher's lanes over the run."""

    start: float = 1.0
    """epsilon of every lane at the start"""
    end: float = 0.05
    """epsilon of the most curious lane at the end"""
    fraction: float = 0.2
    """share of the run over which epsilon falls from start to end"""
    ladder: float = 1.0
    """lane i of N explores with epsilon ** (1 + ladder * i / (N - 1)); 0 = all lanes alike"""

    def problems(self, key: str) -> Iterator[Problem]:
        for name in ("start", "end", "fraction"):
            yield from share(f"{key}.{name}", getattr(self, name), "bad exploration")
        yield from at_least(f"{key}.ladder", self.ladder, 0, "bad exploration")


@dataclass(frozen=True)
class TeacherConfig:
    """The DQN that the students learn from."""

    source: Literal["learn"] = "learn"
    """learn: trained in this run"""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    learning_rate: float = 1e-3
    """Adam's step size at the start"""
    learning_rate_end: float = 1.0
    """share of learning_rate left at the end of the run, reached linearly; 1 = constant"""
    gamma: float = 0.99
    """discount per environment step"""
    n_step: int = 1
    """steps summed before bootstrapping"""
    double: bool = True
    """double DQN: the online network picks the action, the target network values it"""
    dueling: bool = False
    """separate value and advantage streams"""
    target_update: float = 500.0
    """updates between copies to the target network; below 1: Polyak rate per update"""
    max_grad_norm: float = 10.0
    """gradient norm above which the teacher's gradient is scaled down"""
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)

    def problems(self, key: str = "teacher") -> Iterator[Problem]:
        yield from self.network.problems(f"{key}.network")
        yield from above_zero(f"{key}.learning_rate", self.learning_rate, "bad learning rate")
        yield from share(f"{key}.learning_rate_end", self.learning_rate_end, "bad learning rate")
        yield from share(f"{key}.gamma", self.gamma, "bad discount")
        yield from at_least(f"{key}.n_step", self.n_step, 1, "bad n-step")
        yield from above_zero(f"{key}.target_update", self.target_update, "bad target update")
        if 1 <= self.target_update < math.inf and self.target_update != round(self.target_update):
            why, fix = (
                "1 and above counts updates, so it must be whole",
                f"Set --{key}.target_update {round(self.target_update)}",
            )
            yield Problem("bad target update", f"{key}.target_update", self.target_update, why, fix)
        yield from above_zero(f"{key}.max_grad_norm", self.max_grad_norm, "bad gradient clip")
        yield from self.exploration.problems(f"{key}.exploration")


@dataclass(frozen=True)
class StudentConfig:
    """One student: its network and how it is taught."""

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(hidden=(64, 64)))
    loss: LossName = "kl"
    """how the student's outputs are drawn to the teacher's Q-values"""
    temperature: float | Literal["auto"] = 0.01
    """divides the teacher's Q-values before the softmax; auto: follows the spread of its action gaps"""
    learning_rate: float = 1e-3
    """Adam's step size at the start"""
    learning_rate_end: float = 1.0
    """share of learning_rate left at the end of the run, reached linearly; 1 = constant"""
    max_grad_norm: float = 10.0
    """gradient norm above which this student's gradient is scaled down"""

    def problems(self, key: str) -> Iterator[Problem]:
        yield from self.network.problems(f"{key}.network")
        if self.temperature != "auto":
            yield from above_zero(f"{key}.temperature", self.temperature, "bad temperature")
        yield from above_zero(f"{key}.learning_rate", self.learning_rate, "bad learning rate")
        yield from share(f"{key}.learning_rate_end", self.learning_rate_end, "bad learning rate")
        yield from above_zero(f"{key}.max_grad_norm", self.max_grad_norm, "bad gradient clip")
