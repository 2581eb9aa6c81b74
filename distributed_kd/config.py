"""The words of a run file: frozen dataclasses, one per table, that know their defaults and check themselves.

`problems()` of each names everything wrong with it at once. Reading TOML and flags into them lives in `run_file.py` and
`flags.py`, not here.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from distributed_kd.checks import at_least, share
from distributed_kd.errors import Problem
from distributed_kd.policy_config import StudentConfig, TeacherConfig

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
RESERVED_NAMES = ("teacher", "random", "none")


@dataclass(frozen=True)
class EnvConfig:
    """The environment that is played."""

    id: str = "CartPole-v1"
    """any Gymnasium id; "module:Id-v0" imports module first, only with --allow-env-import"""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """keyword arguments for gymnasium.make"""

    def problems(self, key: str = "env") -> Iterator[Problem]:
        if not self.id.strip():
            yield Problem("no environment", f"{key}.id", repr(self.id), "an id is needed", f"Set --{key}.id CartPole-v1")


@dataclass(frozen=True)
class StopConfig:
    """When the run ends: whichever bound comes first; 0 = no bound."""

    env_steps: int = 100_000
    """environment steps over all lanes"""
    updates: int = 0
    """teacher updates"""
    minutes: float = 0.0
    """wall time of this process, evaluation at the end not counted"""

    def problems(self, key: str = "stop") -> Iterator[Problem]:
        for name in ("env_steps", "updates", "minutes"):
            yield from at_least(f"{key}.{name}", getattr(self, name), 0, "bad bound")
        if not any((self.env_steps, self.updates, self.minutes)):
            yield Problem(
                "no end", f"{key}.env_steps", 0, "schedules need at least one bound", f"Set --{key}.env_steps 100000"
            )


@dataclass(frozen=True)
class BehaviourConfig:
    """Share of the environment lanes that each kind of policy drives."""

    teacher: float = 0.5
    """share of the lanes that the teacher drives"""
    students: float = 0.5
    """share of the lanes that the students drive, dealt out evenly"""

    def problems(self, key: str) -> Iterator[Problem]:
        for name in ("teacher", "students"):
            yield from share(f"{key}.{name}", getattr(self, name), "bad share of lanes")
        in_range = 0 <= self.teacher <= 1 and 0 <= self.students <= 1
        if in_range and not math.isclose(self.teacher + self.students, 1.0, abs_tol=1e-6):
            yield Problem("bad shares of lanes", key, f"{self.teacher} + {self.students}", "they must add up to 1",
                          f"Set --{key}.students {1 - self.teacher:g}")  # fmt: skip


@dataclass(frozen=True)
class RolloutsConfig:
    """Actors that play the environment."""

    actors: int = 2
    """rollout actors"""
    envs_per_actor: int = 16
    """environment lanes of each"""
    steps_per_segment: int = 16
    """steps of every lane in one segment sent to the replay"""
    behaviour: BehaviourConfig = field(default_factory=BehaviourConfig)
    student_epsilon: float = 0.02
    """epsilon of the students' lanes"""

    @property
    def lanes(self) -> int:
        return self.actors * self.envs_per_actor

    @property
    def segment_steps(self) -> int:
        """Environment steps in one segment."""
        return self.envs_per_actor * self.steps_per_segment

    def problems(self, key: str = "rollouts") -> Iterator[Problem]:
        for name in ("actors", "envs_per_actor", "steps_per_segment"):
            yield from at_least(f"{key}.{name}", getattr(self, name), 1, "bad number of rollouts")
        yield from self.behaviour.problems(f"{key}.behaviour")
        yield from share(f"{key}.student_epsilon", self.student_epsilon, "bad exploration")


@dataclass(frozen=True)
class ReplayConfig:
    """The shared memory of steps."""

    capacity: int = 100_000
    """rows of the ring; the last observation of an episode or of a lane's part of a segment takes a row too"""
    prioritized: Literal[False] = False
    """steps are drawn uniformly"""
    warmup: int = 1_000
    """steps inserted before the first batch is drawn"""
    batch_size: int = 64
    """steps in a batch, shared by teacher and students"""
    samples_per_insert: float = 8.0
    """steps drawn for each step inserted, held within 1 %; 0 = as fast as both sides go"""
    shards: Literal[1] = 1
    """replay actors"""

    def problems(self, key: str = "replay") -> Iterator[Problem]:
        for name in ("capacity", "warmup", "batch_size"):
            yield from at_least(f"{key}.{name}", getattr(self, name), 1, "bad size")
        yield from at_least(f"{key}.samples_per_insert", self.samples_per_insert, 0, "bad pace")
        if 1 <= self.capacity < self.batch_size:
            yield Problem("replay too small", f"{key}.capacity", self.capacity, f"a batch has {self.batch_size} steps",
                          f"Set --{key}.capacity {self.batch_size} or more")  # fmt: skip
        if self.warmup > self.capacity >= 1:
            yield Problem("warm-up never ends", f"{key}.warmup", self.warmup, f"the replay holds {self.capacity} rows",
                          f"Set --{key}.warmup {self.capacity // 2} or less")  # fmt: skip


@dataclass(frozen=True)
class LearnerConfig:
    """Where and how the networks learn."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one"""
    updates_per_call: int = 32
    """updates between two publications of weights to the rollouts"""

    def problems(self, key: str = "learner") -> Iterator[Problem]:
        yield from at_least(f"{key}.updates_per_call", self.updates_per_call, 1, "bad number of updates")


@dataclass(frozen=True)
class EvaluationConfig:
    """Full greedy episodes on seeds of their own."""

    episodes: int = 20
    """episodes for each policy"""
    every_seconds: float = 15.0
    """time between two evaluations while training; 0 = only at the end"""

    def problems(self, key: str = "evaluation") -> Iterator[Problem]:
        yield from at_least(f"{key}.episodes", self.episodes, 2, "bad number of episodes")
        yield from at_least(f"{key}.every_seconds", self.every_seconds, 0, "bad interval")


@dataclass(frozen=True)
class CheckpointConfig:
    """What a resumed run starts from."""

    every_seconds: float = 60.0
    """time between two checkpoints; 0 = only at the end"""
    keep: int = 3
    """checkpoints kept"""

    def problems(self, key: str = "checkpoint") -> Iterator[Problem]:
        yield from at_least(f"{key}.every_seconds", self.every_seconds, 0, "bad interval")
        yield from at_least(f"{key}.keep", self.keep, 1, "bad number of checkpoints")


@dataclass(frozen=True)
class RunConfig:
    """One run: a teacher, its students, and what they share."""

    seed: int = 0
    """every random stream of the run is spawned from it"""
    env: EnvConfig = field(default_factory=EnvConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    students: dict[str, StudentConfig] = field(default_factory=dict)
    """--students.NEW.loss kl adds a student, --students.NAME none drops one"""
    rollouts: RolloutsConfig = field(default_factory=RolloutsConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    @property
    def policies(self) -> tuple[str, ...]:
        """Names of all policies; a policy's place here is its number in a segment."""
        return ("teacher", *self.students)

    def problems(self) -> Iterator[Problem]:
        """Everything wrong with this run that can be told without making its environment."""
        yield from at_least("seed", self.seed, 0, "bad seed")
        yield from self.env.problems()
        yield from self.stop.problems()
        yield from self.teacher.problems()
        yield from self._student_problems()
        yield from self.rollouts.problems()
        yield from self.replay.problems()
        yield from self.learner.problems()
        yield from self.evaluation.problems()
        yield from self.checkpoint.problems()
        yield from self._fit_problems()

    def _fit_problems(self) -> Iterator[Problem]:
        """What one table asks for against what another allows."""
        longest = 2 * self.rollouts.segment_steps  # every step can end an episode, whose last observation takes a row
        if 1 <= self.replay.capacity < longest:
            why, fix = f"one segment can take {longest} rows", f"Set --replay.capacity {longest} or more"
            yield Problem("replay too small", "replay.capacity", self.replay.capacity, why, fix)
        if self.stop.env_steps and self.replay.warmup >= self.stop.env_steps:
            why, fix = (
                f"the run ends at {self.stop.env_steps} steps",
                f"Set --replay.warmup {self.stop.env_steps // 10} or less",
            )
            yield Problem("warm-up never ends", "replay.warmup", self.replay.warmup, why, fix)

    def _student_problems(self) -> Iterator[Problem]:
        if not self.students:
            yield Problem("no students", "students", "none", "there is nothing to distil into",
                          "Add one with --students.tiny.network.hidden 16 16")  # fmt: skip
        seen: dict[str, str] = {}
        for name, student in self.students.items():
            if not NAME.match(name) or name.lower() in RESERVED_NAMES:
                why = f"a name has 1 to 64 letters, digits, '.', '_' or '-' and is none of {', '.join(RESERVED_NAMES)}"
                yield Problem("bad student name", "students", repr(name)[:80], why, "Rename it")
            if (twin := seen.setdefault(name.lower(), name)) != name:
                yield Problem(
                    "two students alike", "students", f"{twin}, {name}", "the names differ in case only", "Rename one"
                )
            yield from student.problems(f"students.{name}")
