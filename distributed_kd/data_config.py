"""The tables of a run file that say where the data comes from: rollouts and their replay, or a fixed set of states."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from distributed_kd.checks import above_zero, at_least, share
from distributed_kd.errors import Problem


@dataclass(frozen=True)
class BehaviourConfig:
    """Share of the environment lanes that each kind of policy drives."""

    teacher: float = 0.5
    """share of the lanes that the teacher drives"""
    students: float = 0.5
    """share of the lanes that the students drive, dealt out evenly"""
    beta: float = 0.0
    """DAgger's beta at the start: share of the steps in the students' lanes in which the teacher acts instead"""
    beta_end: float = 0.0
    """beta at the end"""
    beta_fraction: float = 0.5
    """share of the run over which beta moves from start to end"""

    def problems(self, key: str) -> Iterator[Problem]:
        for name in ("teacher", "students", "beta", "beta_end", "beta_fraction"):
            yield from share(f"{key}.{name}", getattr(self, name), "bad share of lanes")
        in_range = 0 <= self.teacher <= 1 and 0 <= self.students <= 1
        if in_range and not math.isclose(self.teacher + self.students, 1.0, abs_tol=1e-6):
            yield Problem("bad shares of lanes", key, f"{self.teacher} + {self.students}", "they must add up to 1",
                          f"Set --{key}.students {1 - self.teacher:g}")  # fmt: skip


@dataclass(frozen=True)
class ElasticConfig:
    """A number of rollout actors that follows the room on the cluster (with `--runner inline`: `min`)."""

    min: int = 1
    """rollout actors that the run begins with"""
    max: int = 64
    """rollout actors at most: further ones join where there is room, also on nodes that come later, and leave with theirs"""

    def problems(self, key: str) -> Iterator[Problem]:
        yield from at_least(f"{key}.min", self.min, 1, "bad number of rollouts")
        if self.max < max(self.min, 1):
            why, fix = f"it must not lie below {key}.min, {self.min}", f"Set --{key}.max {max(self.min, 1)} or more"
            yield Problem("bad number of rollouts", f"{key}.max", self.max, why, fix)


@dataclass(frozen=True)
class RolloutsConfig:
    """Actors that play the environment."""

    actors: int | ElasticConfig = 2
    """rollout actors: so many; or a table, --rollouts.actors.min 2 --rollouts.actors.max 64, as the cluster has room"""
    envs_per_actor: int = 16
    """environment lanes of each"""
    steps_per_segment: int = 16
    """steps of every lane in one segment sent to the replay"""
    behaviour: BehaviourConfig = field(default_factory=BehaviourConfig)
    student_epsilon: float = 0.02
    """epsilon of the students' lanes"""
    env_faults: int = 100
    """environments may fail so often in a run (raise, give NaN or a wrong shape), each time at the cost of an episode"""
    step_timeout: float = 60.0
    """seconds that a step of an environment may take; an actor that hangs in one for longer is replaced (on Ray)"""

    @property
    def least(self) -> int:
        """Actors that the run begins with."""
        return self.actors.min if isinstance(self.actors, ElasticConfig) else self.actors

    @property
    def most(self) -> int:
        """Actors that there may be."""
        return self.actors.max if isinstance(self.actors, ElasticConfig) else self.actors

    @property
    def least_key(self) -> str:
        """The key of the run file that says how many the run begins with."""
        return "rollouts.actors.min" if isinstance(self.actors, ElasticConfig) else "rollouts.actors"

    @property
    def lanes(self) -> int:
        """Of the actors that the run begins with."""
        return self.least * self.envs_per_actor

    @property
    def segment_steps(self) -> int:
        """Environment steps in one segment."""
        return self.envs_per_actor * self.steps_per_segment

    def problems(self, key: str = "rollouts") -> Iterator[Problem]:
        if isinstance(self.actors, ElasticConfig):
            yield from self.actors.problems(f"{key}.actors")
        else:
            yield from at_least(f"{key}.actors", self.actors, 1, "bad number of rollouts")
        for name in ("envs_per_actor", "steps_per_segment"):
            yield from at_least(f"{key}.{name}", getattr(self, name), 1, "bad number of rollouts")
        yield from self.behaviour.problems(f"{key}.behaviour")
        yield from share(f"{key}.student_epsilon", self.student_epsilon, "bad exploration")
        yield from at_least(f"{key}.env_faults", self.env_faults, 0, "bad number of faults")
        yield from above_zero(f"{key}.step_timeout", self.step_timeout, "bad time-out")


@dataclass(frozen=True)
class ReplayConfig:
    """The shared memory of steps."""

    capacity: int = 100_000
    """rows of the ring; the last observation of an episode or of a lane's part of a segment takes a row too"""
    prioritized: bool = False
    """steps are drawn in proportion to their last temporal-difference error (Schaul et al. 2016), not uniformly"""
    priority_exponent: float = 0.6
    """prioritized: how much the error counts; 0 = uniform"""
    importance: float = 0.4
    """prioritized: exponent of the teacher's importance weights at the start, which undo what prioritising biases"""
    importance_end: float = 1.0
    """prioritized: that exponent at the end of the run, reached linearly"""
    student_batches: Literal["corrected", "uniform"] = "corrected"
    """prioritized: students learn from the teacher's batches with full importance weights, or from uniform ones apart"""
    warmup: int = 1_000
    """steps inserted before the first batch is drawn"""
    batch_size: int = 64
    """steps in a batch, shared by teacher and students"""
    samples_per_insert: float = 8.0
    """steps drawn for each step inserted, held within 1 %; 0 = as fast as both sides go"""
    shards: int = 1
    """replay actors, each of which holds as large a part of the capacity as the others"""

    @property
    def students_apart(self) -> bool:
        """Whether the students' batches are drawn apart from the teacher's."""
        return self.prioritized and self.student_batches == "uniform"

    @property
    def shard_capacity(self) -> int:
        """Rows of the smallest shard."""
        return self.capacity // max(self.shards, 1)

    @property
    def in_shards(self) -> str:
        """For a message on what a shard is too small for; empty where there is one alone."""
        return f", and each of {self.shards} shards has {self.shard_capacity} rows" if self.shards > 1 else ""

    def problems(self, key: str = "replay") -> Iterator[Problem]:
        for name in ("capacity", "warmup", "batch_size"):
            yield from at_least(f"{key}.{name}", getattr(self, name), 1, "bad size")
        yield from at_least(f"{key}.shards", self.shards, 1, "bad number of shards")
        yield from at_least(f"{key}.samples_per_insert", self.samples_per_insert, 0, "bad pace")
        for name in ("priority_exponent", "importance", "importance_end"):
            yield from share(f"{key}.{name}", getattr(self, name), "bad priorities")
        if self.capacity >= 1 and self.shard_capacity < self.batch_size:
            why = f"a batch has {self.batch_size} steps{self.in_shards}"
            fix = f"Set --{key}.capacity {self.batch_size * max(self.shards, 1)} or more"
            yield Problem("replay too small", f"{key}.capacity", self.capacity, why, fix)
        if self.warmup > self.capacity >= 1:
            yield Problem("warm-up never ends", f"{key}.warmup", self.warmup, f"the replay holds {self.capacity} rows",
                          f"Set --{key}.warmup {max(1, self.capacity // 2)} or less")  # fmt: skip


@dataclass(frozen=True)
class DataConfig:
    """A fixed set of states to distil on, in place of the environment."""

    file: str = ""
    """.npz file, as `dataset` writes it: students learn on its states alone; empty = from the replay"""
    held_out: float = 0.2
    """share of the states that is only looked at to tell when a student has learned enough"""
    updates: int = 20_000
    """updates at most"""
    check_every: int = 100
    """updates between two looks at the held-out states"""
    patience: int = 20
    """looks without a better one after which a student stops, and its best weights are taken"""

    def problems(self, key: str = "data") -> Iterator[Problem]:
        yield from share(f"{key}.held_out", self.held_out, "bad share of states")
        if self.held_out in (0, 1):
            fix = f"Set --{key}.held_out 0.2"
            yield Problem("bad share of states", f"{key}.held_out", self.held_out, "both parts need states", fix)
        for name in ("updates", "check_every", "patience"):
            yield from at_least(f"{key}.{name}", getattr(self, name), 1, "bad number")
