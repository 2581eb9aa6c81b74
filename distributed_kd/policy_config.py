"""The tables of a run file that describe the teacher: where it comes from, how it learns and how it explores."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from distributed_kd.checks import above_zero, at_least, share
from distributed_kd.errors import Problem
from distributed_kd.network_config import HeadConfig, NetworkConfig

LEARN, PEERS = "learn", "peers"
"""Sources of a teacher that are no files"""


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

    source: str | tuple[str, ...] = LEARN
    """learn: trained in this run; a run's folder (RUN or RUN:STUDENT), a Stable-Baselines3 DQN .zip or a .safetensors file;
    several of them teach together; peers: no teacher, the students teach each other"""
    frozen: bool = True
    """a teacher that comes from elsewhere is left as it is; false: it learns on"""
    combine: Literal["mean", "logsumexp", "best"] = "mean"
    """several teachers, or peers: mean of their Q-values, log of their mean policy, or the best by evaluation"""
    weights: tuple[float, ...] = ()
    """weight of each of several teachers in mean and logsumexp; none = all alike"""
    combine_temperature: float = 1.0
    """logsumexp: divides the Q-values before each teacher's softmax, in the unit of returns"""
    teaches: Literal["now", "target", "average", "best"] = "now"
    """whom the students learn from: the teacher as it is, its target copy, an average of its weights over time, or the
    best so far by evaluation"""
    average_rate: float = 0.001
    """average: share of the newest weights that enters it at every update"""
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
    noisy: bool = False
    """noise that is learned on the weights of the head, to explore with; set exploration.start and end to 0 beside it"""
    distribution: Literal["none", "c51", "quantile"] = "none"
    """learn the distribution of the return, whose mean is taught: none, c51 (atoms from v_min to v_max) or quantile"""
    atoms: int = 51
    """c51, quantile: numbers for each action that describe its distribution"""
    v_min: float = -10.0
    """c51: the least return"""
    v_max: float = 10.0
    """c51: the greatest return"""
    munchausen: float = 0.0
    """factor before the log-policy that is added to the reward (Vieillard et al. 2020), in place of double; 0 = none, 0.9
    usual"""
    munchausen_temperature: float = 0.03
    """munchausen: entropy temperature of that policy, in the unit of returns"""
    reward_clip: float = 0.0
    """rewards are cut to [-reward_clip, reward_clip], for learning only; 0 = not"""
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
        yield from target_update_problems(f"{key}.target_update", self.target_update)
        yield from above_zero(f"{key}.max_grad_norm", self.max_grad_norm, "bad gradient clip")
        yield from self.exploration.problems(f"{key}.exploration")
        yield from above_zero(f"{key}.combine_temperature", self.combine_temperature, "bad temperature")
        yield from share(f"{key}.average_rate", self.average_rate, "bad rate")
        yield from at_least(f"{key}.reward_clip", self.reward_clip, 0, "bad reward clip")
        yield from self._value_problems(key)
        for weight in self.weights:
            yield from above_zero(f"{key}.weights", weight, "bad weight of a teacher")
        yield from self._source_problems(key)

    @property
    def head(self) -> HeadConfig:
        """What its network ends in."""
        return HeadConfig(self.dueling, self.noisy, self.distribution, self.atoms, self.v_min, self.v_max)

    @property
    def sources(self) -> tuple[str, ...]:
        """The files and folders that the teacher comes from; none where it learns here or the students are peers."""
        named = (self.source,) if isinstance(self.source, str) else self.source
        return () if named in ((LEARN,), (PEERS,)) else named

    @property
    def is_peers(self) -> bool:
        return self.source == PEERS

    @property
    def is_ensemble(self) -> bool:
        """Several teachers teach together; of those the best is taken from, one is left."""
        return len(self.sources) > 1 and self.combine != "best"

    @property
    def learns(self) -> bool:
        """It has DQN updates of its own in this run."""
        return not self.is_peers and (not self.sources or not self.frozen)

    def _value_problems(self, key: str) -> Iterator[Problem]:
        """What values are learned, and how."""
        yield from at_least(f"{key}.atoms", self.atoms, 2, "bad distribution")
        if not self.v_min < self.v_max or not math.isfinite(self.v_max - self.v_min):
            why, fix = f"it must lie below v_max, {self.v_max:g}", "Set the least and the greatest return that can come"
            yield Problem("bad distribution", f"{key}.v_min", self.v_min, why, fix)
        yield from share(f"{key}.munchausen", self.munchausen, "bad Munchausen term")
        yield from above_zero(f"{key}.munchausen_temperature", self.munchausen_temperature, "bad Munchausen term")
        if self.munchausen and self.n_step > 1:
            why, fix = "its log-policy is that of one step", f"Set --{key}.n_step 1"
            yield Problem("Munchausen over several steps", f"{key}.n_step", self.n_step, why, fix)
        if self.munchausen and self.distribution != "none":
            why, fix = "the term is that of plain Q-values", f"Set --{key}.distribution none"
            yield Problem("Munchausen with a distribution", f"{key}.distribution", self.distribution, why, fix)
        if self.network.is_foreign and self.head != HeadConfig(atoms=self.atoms, v_min=self.v_min, v_max=self.v_max):
            why, fix = "a factory's network has a head of its own", "Leave dueling, noisy and distribution out"
            yield Problem("option without effect", f"{key}.network.kind", self.network.kind, why, fix)

    def _source_problems(self, key: str) -> Iterator[Problem]:
        count = len(self.sources)
        if not isinstance(self.source, str):
            wrong = [name or "''" for name in self.source if name.strip() in ("", LEARN, PEERS)]
            if not self.source or wrong:
                why, fix = "a list names runs or files", f"Give paths, or --{key}.source learn alone"
                yield Problem("bad teacher", f"{key}.source", ", ".join(wrong) or "[]", why, fix)
        elif not self.source.strip():
            yield Problem("bad teacher", f"{key}.source", "''", "it names nothing", f"Set --{key}.source learn")
        if count > 1 and not self.frozen:
            why, fix = "several teachers cannot learn on as one", f"Set --{key}.frozen true, or give one source"
            yield Problem("bad teacher", f"{key}.frozen", "false", why, fix)
        if self.weights and len(self.weights) != count:
            why, fix = f"there are {count} sources", "Give one weight for each, or none"
            yield Problem("bad weight of a teacher", f"{key}.weights", len(self.weights), why, fix)
        if self.weights and self.combine == "best":
            yield Problem(
                "option without effect", f"{key}.weights", len(self.weights), "the best teaches alone", "Remove it"
            )
        if self.teaches != "now" and not self.learns:
            why, fix = "the teacher never changes here, or is made of the students", f"Set --{key}.teaches now"
            yield Problem("bad teacher", f"{key}.teaches", self.teaches, why, fix)


def target_update_problems(key: str, value: float) -> Iterator[Problem]:
    """What is wrong with a period in updates, or a Polyak rate below 1."""
    yield from above_zero(key, value, "bad target update")
    if 1 <= value < math.inf and value != round(value):
        why, fix = "1 and above counts updates, so it must be whole", f"Set --{key} {round(value)}"
        yield Problem("bad target update", key, value, why, fix)
