"""The words of a run file: frozen dataclasses, one per table, that know their defaults and check themselves.

`problems()` of each names everything wrong with it at once. Tables of their own files: the teacher's in `policy_config.py`,
a student's in `student_config.py`, the learner's in `learner_config.py`, where the data comes from in `data_config.py`,
where actors stand in `placement_config.py`, what is done beside learning in `upkeep_config.py`.
Reading TOML and flags into them lives in `run_file.py` and `flags.py`.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from distributed_kd.checks import at_least
from distributed_kd.data_config import DataConfig, ReplayConfig, RolloutsConfig
from distributed_kd.errors import Problem
from distributed_kd.learner_config import LearnerConfig
from distributed_kd.network_config import TREE
from distributed_kd.placement_config import PlacementConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import BETWEEN_STATES, LAYER_LOSSES, StudentConfig
from distributed_kd.upkeep_config import CheckpointConfig, EvaluationConfig, SupervisionConfig, TrackingConfig

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
RESERVED_NAMES = ("teacher", "random", "none", "version", "seconds", "env_steps")


@dataclass(frozen=True)
class EnvConfig:
    """The environment that is played."""

    id: str = "CartPole-v1"
    """any Gymnasium id; "module:Id-v0" imports module first, only with --allow-env-import"""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """keyword arguments for gymnasium.make"""
    evaluation_kwargs: dict[str, Any] = field(default_factory=dict)
    """laid over kwargs where policies are evaluated, such as a test set's split"""
    flatten: bool = False
    """lay a Dict or Tuple of observations out as one row of numbers"""
    frame_stack: int = 1
    """newest observations that a network sees at once; each is stored once"""
    channels: Literal["auto", "first", "last"] = "auto"
    """where an image's channels stand; auto: first if that axis is the shorter one, else last"""
    normalise: bool = False
    """observations less their running mean, divided by their running standard deviation, the same for all networks"""
    protocol: Literal["machado", "classic", "none"] = "machado"
    """Atari: machado: sticky actions, all 18 actions, an episode is a game (Machado et al. 2018); classic: up to 30 idle
    steps first, few actions, a lost life ends an episode for learning (Mnih et al. 2015); none: as Gymnasium makes it"""

    def problems(self, key: str = "env") -> Iterator[Problem]:
        if not self.id.strip():
            yield Problem("no environment", f"{key}.id", repr(self.id), "an id is needed", f"Set --{key}.id CartPole-v1")
        yield from at_least(f"{key}.frame_stack", self.frame_stack, 1, "bad frame stack")


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
    data: DataConfig = field(default_factory=DataConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    supervision: SupervisionConfig = field(default_factory=SupervisionConfig)
    placement: PlacementConfig = field(default_factory=PlacementConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

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
        yield from self.data.problems()
        yield from self.learner.problems()
        yield from self.evaluation.problems()
        yield from self.checkpoint.problems()
        yield from self.supervision.problems()
        yield from self.placement.problems()
        yield from self._fit_problems()

    def _fit_problems(self) -> Iterator[Problem]:
        """What one table asks for against what another allows."""
        # Every step can end an episode, whose last observation takes a row; each lane begins with the frames before.
        before = self.rollouts.envs_per_actor * (self.env.frame_stack - 1)
        longest = 2 * self.rollouts.segment_steps + before
        if self.replay.capacity >= 1 and self.replay.shard_capacity < longest:
            why = f"one segment can take {longest} rows{self.replay.in_shards}"
            fix = f"Set --replay.capacity {longest * max(self.replay.shards, 1)} or more"
            yield Problem("replay too small", "replay.capacity", self.replay.capacity, why, fix)
        if 0 < self.stop.env_steps <= self.replay.warmup:
            why, fix = (
                f"the run ends at {self.stop.env_steps} steps",
                f"Set --replay.warmup {max(1, self.stop.env_steps // 10)} or less",
            )
            yield Problem("warm-up never ends", "replay.warmup", self.replay.warmup, why, fix)
        if self.data.file and self.learner.cuda_graph:
            why, fix = "updates from a set of states are not recorded", "Set --learner.cuda_graph false"
            yield Problem("option without effect", "learner.cuda_graph", "true", why, fix)
        size, replicas = self.replay.batch_size, self.learner.replicas
        if replicas > 1 and size >= 1 and size % replicas:
            why = f"a batch of {size} steps has no {replicas} equal parts"
            fix = f"Set --learner.replicas {math.gcd(size, replicas)}, or --replay.batch_size {size + -size % replicas}"
            yield Problem("parts that are not equal", "learner.replicas", replicas, why, fix)
        yield from self._tree_problems()
        yield from self._peer_problems()
        yield from self._priority_problems()
        by_scores = [
            f"students.{name}.distillation" for name, one in self.students.items() if one.distillation == "performance"
        ]
        by_scores += ["teacher.teaches"] if self.teacher.teaches == "best" else []
        by_scores += ["teacher.combine"] if self.teacher.is_peers and self.teacher.combine == "best" else []
        if by_scores and not self.evaluation.every_env_steps:
            why, fix = (
                f"{by_scores[0]} goes by evaluations, so time must not decide when",
                "Set --evaluation.every_env_steps 2000",
            )
            yield Problem("evaluations by time", "evaluation.every_env_steps", 0, why, fix)
        for name, student in self.students.items():
            yield from self._data_problems(name, student)

    def _tree_problems(self) -> Iterator[Problem]:
        if self.teacher.network.is_tree and self.teacher.learns:
            why, fix = "a tree is fitted to a teacher, it learns from no rewards", "Set --teacher.network.kind mlp"
            yield Problem("a teacher that cannot learn", "teacher.network.kind", TREE, why, fix)
        if self.learner.cuda_graph and any(one.network.is_tree for one in self.students.values()):
            why, fix = "a tree is fitted on the processor", "Set --learner.cuda_graph false"
            yield Problem("an update that cannot be recorded", "learner.cuda_graph", "true", why, fix)

    def _priority_problems(self) -> Iterator[Problem]:
        """What cannot go with steps that are drawn by priority."""
        if not self.replay.prioritized or self.data.file:  # from a set of states there are no draws of the replay
            return
        if not self.teacher.learns:
            why, fix = "a teacher that does not learn sets no priorities", "Set --replay.prioritized false"
            yield Problem("nothing to draw by", "replay.prioritized", "true", why, fix)
        for name, student in self.students.items():
            if self.replay.student_batches == "corrected" and any(term.name in BETWEEN_STATES for term in student.terms):
                why = f"{student.label} compares states with each other, so no weight undoes how they were drawn"
                fix = "Set --replay.student_batches uniform"
                yield Problem(
                    "a loss that cannot be corrected", f"students.{name}.{student.loss_key}", student.label, why, fix
                )

    def _peer_problems(self) -> Iterator[Problem]:
        teacher = self.teacher
        if teacher.is_peers and self.data.file:
            why, fix = "a set of states is learned from with a teacher", "Set --teacher.source to a run or a file"
            yield Problem("no teacher", "teacher.source", "peers", why, fix)
            return
        if teacher.is_peers and len(self.students) < 2:
            why, fix = "peers teach each other", "Add a student, or set --teacher.source learn"
            yield Problem("too few peers", "students", len(self.students), why, fix)
        for name, student in self.students.items():
            if teacher.is_peers and not student.td_weight:
                why, fix = (
                    "without a teacher each peer learns from the environment too",
                    f"Set --students.{name}.td_weight 1",
                )
                yield Problem("nobody learns", f"students.{name}.td_weight", student.td_weight, why, fix)
        several = teacher.is_peers or teacher.is_ensemble
        layered = [name for name, one in self.students.items() if any(t.name in LAYER_LOSSES for t in one.terms)]
        if several and layered:
            why, fix = "several teachers have no hidden layers in common", "Use losses on outputs, or one teacher"
            student = self.students[layered[0]]
            yield Problem("no layer to learn from", f"students.{layered[0]}.{student.loss_key}", student.label, why, fix)
        valued = [name for name, one in self.students.items() if one.reads_values]
        if several and teacher.combine == "logsumexp" and valued:
            why, fix = "logsumexp gives preferences, no returns", "Set --teacher.combine mean, or another loss"
            student = self.students[valued[0]]
            yield Problem("no values to learn", f"students.{valued[0]}.{student.loss_key}", student.label, why, fix)

    def _data_problems(self, name: str, student: StudentConfig) -> Iterator[Problem]:
        """A student that needs what a data set, the lanes or a batch do not give."""
        key, own = f"students.{name}", student.learns_from_own_lanes
        if self.data.file and (student.td_weight or own):
            why, fix = "a data set holds states, no rewards", f"Use losses on the teacher's outputs, and --{key}.td_weight 0"
            yield Problem("no rewards to learn from", f"{key}.{student.loss_key}", student.label, why, fix)
        if self.data.file and not student.network.is_tree and not any(term.until == 1 for term in student.terms):
            why, fix = "no loss counts to the end, so nothing tells when it has learned enough", "Let one have until = 1"
            yield Problem("no loss at the end", f"{key}.losses", student.label, why, fix)
        size, replicas = self.replay.batch_size, max(self.learner.replicas, 1)
        if size == replicas and any(term.name in BETWEEN_STATES for term in student.terms):
            parted = f", and {replicas} replicas of the learner part it" if replicas > 1 else ""
            why, fix = f"{student.label} compares the states of a batch{parted}", f"Set --replay.batch_size {64 * replicas}"
            yield Problem("a batch of one", "replay.batch_size", size, why, fix)
        if own and not self.data.file and not self.rollouts.behaviour.students:
            why, fix = "policy_gradient learns from the student's own lanes", "Set --rollouts.behaviour.students 0.5"
            yield Problem("no lanes of its own", "rollouts.behaviour.students", 0, why, fix)
        if own and (self.rollouts.behaviour.beta or self.rollouts.behaviour.beta_end):
            why, fix = (
                f"{name} must act alone in its lanes, since it learns from what it does",
                "Set --rollouts.behaviour.beta 0 and --rollouts.behaviour.beta_end 0",
            )
            yield Problem("two policies in one lane", "rollouts.behaviour.beta", self.rollouts.behaviour.beta, why, fix)

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
