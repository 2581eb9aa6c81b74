"""The learner: for each batch one teacher update, one teacher forward for all students, every student's update."""

import math
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distributed_kd.errors import DivergedError
from distributed_kd.learning.gathering import How, Recruit, gathered
from distributed_kd.learning.lesson import Lesson, Steps, Taken
from distributed_kd.learning.moving import Progress
from distributed_kd.learning.normaliser import Normaliser
from distributed_kd.learning.recorded import Outcome, Recorded, Recorder
from distributed_kd.learning.replicas import ALONE, Replicas
from distributed_kd.learning.skips import Skips, read
from distributed_kd.learning.students import Student
from distributed_kd.learning.teacher import FrozenTeacher, Importance, Peers, Teacher
from distributed_kd.learning.temperature import AutoTemperature
from distributed_kd.learning.together import Together
from distributed_kd.maths.priorities import corrected_weights
from distributed_kd.maths.statistics import normalised_score
from distributed_kd.networks import common_input, compile_parts, layer_shapes, to_flat
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import RANDOM, Batch, Divergence, EnvSpec, Evaluation, Priorities, State, Weights
from distributed_kd.student_config import StudentConfig

MEASURE_EVERY = 8
"""Updates between two whose losses are kept: enough for a curve."""


class Learner:
    """The teacher and its students on one device. Owns the count of updates.

    With `replicas`, each of them is given the same batches and learns from its part of each. The one that leads tells of
    priorities, of all steps, and of losses, of its own part.
    """

    def __init__(
        self,
        *,
        networks: Mapping[str, nn.Module],
        spec: EnvSpec,
        teacher: TeacherConfig,
        students: Mapping[str, StudentConfig],
        seeds: Mapping[str, int],
        device: torch.device,
        importance: Importance | None = None,
        normaliser: Normaliser | None = None,
        together: How = "loop",
        precision: Literal["float32", "bfloat16"] = "float32",
        compiled: bool = False,
        recorder: Recorder | None = None,
        replicas: Replicas = ALONE,
        skips: int = 10,
    ):
        """`seeds` of each policy's noise and of what trains beside its network; `importance` where steps are drawn by
        priority; `normaliser` where observations are seen by their mean and deviation; `together` and `precision` as
        `learner.students` and `learner.precision`, `compiled` as `learner.compile`; `recorder` where updates are recorded
        and then repeated; `skips` as `learner.skips`."""
        self._autocast = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()
        self._importance, self._normaliser, self._replicas = importance, normaliser, replicas
        self._errors: list[tuple[NDArray, Tensor]] = []
        self._device, self._warmup = device, {name: config.warmup for name, config in students.items()}
        for network in networks.values():
            network.to(device)
        self._input = common_input(list(networks.values()), spec)
        self.teacher = _teacher(networks["teacher"], teacher, tuple(students), importance, seeds["teacher"], replicas)
        self._recruit = Recruit(students, seeds, layer_shapes(networks["teacher"], spec), spec, replicas)
        self.students = {name: self._recruit(name, networks[name]) for name in students}
        if together == "auto" and replicas.count > 1:
            together = "together"  # one exchange for all, and replicas that measure could decide differently
        self._together = None if teacher.is_peers else together
        self._groups: list[Together] | None = None  # before the first batch, with which it is decided
        self._temperature = AutoTemperature(device, replicas)
        self._logged: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
        self._skips, self.diverged = Skips(skips), None
        self._newest: Taken | Lesson | None = None
        all_of_them = [self.teacher, *self.students.values()]
        self._recorded = Recorded(recorder, device, [one.random for one in all_of_them if one.random]) if recorder else None
        if compiled:
            for network in (network for one in all_of_them for network in one.networks):
                compile_parts(network)

    @property
    def updates(self) -> int:
        """Updates of the teacher since the run began; one that is frozen counts the batches that it was asked of."""
        return self.teacher.updates

    @property
    def updates_of(self) -> dict[str, int]:
        """Updates of each student since the run began."""
        return {name: student.updates for name, student in self.students.items()}

    def update(self, batch: Batch, progress: float) -> None:
        """Learn from one batch (arrays [B, ...]); `progress` is the share of the run that is over."""
        self.learn(Taken.of(batch, self._device, self._replicas), progress)

    def taken(self, batches: Batch) -> list[Taken]:
        """Batches that travelled together (arrays [K, B, ...]), each to `learn` from."""
        return Taken.of(batches, self._device, self._replicas).split()

    def learn(self, batch: Taken, progress: float) -> None:
        """As `update`, from a batch that is on the device. Nothing here waits for a GPU."""
        measure = self._replicas.leads and self.updates % MEASURE_EVERY == 0
        self._newest = batch
        self.teacher.begin()
        names = tuple(name for name, one in self._begun() if one.can_learn(name in batch.own))
        for name in names:
            self.students[name].begin(progress)
        learn = partial(self._learn, names=names, measure=measure)
        if self._recorded and self._groups is not None:
            phase = self.teacher.phase, tuple((name, self.students[name].phase(progress)) for name in names)
            outcome = self._recorded.update(learn, batch, progress, phase, measure)
        else:
            outcome = learn(batch, progress)
        if outcome.priority is not None and self._replicas.leads:
            self._errors.append((batch.row, outcome.priority))
        for (network, key), value in outcome.logged.items():
            self._logged[network, key].append(value)

    def _learn(self, batch: Taken, progress: Progress, names: tuple[str, ...], measure: bool) -> Outcome:
        """The update that was counted last, of the teacher and these students: what of it is done on the device.

        It leaves no tensor behind under a name of its own, so that it can be recorded.
        """
        with self._autocast:
            return self._learned(batch, progress, names, measure)

    def _learned(self, batch: Taken, progress: Progress, names: tuple[str, ...], measure: bool) -> Outcome:
        steps = self._seen(batch.steps, follow=True)
        learned = self.teacher.learn(steps, progress)
        logged = {"teacher": learned.logged if measure else {}}
        taught = steps if batch.students is None else self._seen(batch.students)
        # The teacher went through its own batch for its update: once is enough, before that update or behind it.
        lesson = learned.lesson if taught is steps and learned.lesson else self.teacher.lesson(taught.observation)
        if self._importance and batch.students is None:
            lesson = replace(lesson, weight=self._replicas.part(corrected_weights(taught.oversampling)))
        own = {name: self._seen(one) for name, one in batch.own.items()}
        temperature = self._temperature.follow(lesson.q, lesson.weight, progress)
        if self._groups is None:
            self._groups = gathered(self.students, self._recruit, lesson, self._together) if self._together else []
        for group in self._groups:
            if group.names <= set(names):
                logged |= group.learn(lesson, temperature, progress, measure, taught)
        for name in (name for name in names if name not in logged):
            told = lesson.addressed_to(name)
            mine = (own[name], self.teacher.lesson(own[name].observation).addressed_to(name)) if name in own else None
            logged[name] = self.students[name].learn(told, temperature, progress, measure, taught, mine)
        by_place = {(network, key): value for network, values in logged.items() for key, value in values.items()}
        priority = learned.priority
        return Outcome(by_place, None if priority is None else self._replicas.whole(priority))

    def _seen(self, steps: Steps, follow: bool = False) -> Steps:
        """Steps with observations as the networks see them; with `follow` they enter mean and deviation.

        Only those that the teacher learns from do: what students are given beside them must not move what it sees.
        """
        if self._normaliser and follow:
            self._normaliser.follow(self._replicas.whole(steps.observation))
        return replace(steps, observation=self.seen(steps.observation), next_observation=self.seen(steps.next_observation))

    def seen(self, observation: Tensor) -> Tensor:
        """Observations [B, *input_shape] as the networks see them; nothing is learned of what they look like.

        They come in the form that all networks can take as it is, so that each of them need not convert them again.
        """
        return self._input.prepared(observation if self._normaliser is None else self._normaliser.seen(observation))

    def priorities(self) -> Priorities | None:
        """Of all steps learned from since the last call, in the order of learning; None where there are none.

        A step of which it is not finite keeps the one that it has.
        """
        waiting = self._waiting()
        self._errors = []
        return waiting

    def _waiting(self) -> Priorities | None:
        """The priorities that nobody asked for yet."""
        if not self._errors:
            return None
        values = torch.cat([priority for _, priority in self._errors]).cpu().numpy()
        rows, finite = np.concatenate([row for row, _ in self._errors]), np.isfinite(values)
        return Priorities(rows[finite], values[finite]) if finite.any() else None

    def distil(self, lesson: Lesson, progress: float, names: frozenset[str]) -> Tensor:
        """Let some students learn from a lesson alone, without steps; gives the `auto` temperature, 0-d."""
        measure = self.updates % MEASURE_EVERY == 0
        self._newest = lesson
        self.teacher.begin()
        temperature = self._temperature.follow(lesson.q)
        for name, student in self._begun():
            if name in names:
                logged = student.update(lesson.addressed_to(name), temperature, progress, measure)
                for key, value in logged.items():
                    self._logged[name, key].append(value)
        return temperature

    def _begun(self) -> list[tuple[str, Student]]:
        """The students whose warm-up is over."""
        return [(name, one) for name, one in self.students.items() if self.updates > self._warmup[name]]

    def losses(self) -> dict[str, dict[str, float]]:
        """Means of what was finite over the measured updates since the last call; where values are read from the device.

        From then on `skipped` and `diverged` are of the time before this call.
        """
        logged, self._logged = self._logged, defaultdict(list)
        if not logged:
            self._skips.new = {}  # what was skipped since is told with the next that are measured
            return {}
        trained = self._trained
        told = read(logged, {name: one.skipped for name, one in trained.items()})
        for name, row in self._skips.look({name: (trained[name].updates, n) for name, n in told.skipped.items()}).items():
            loss = told.losses.get(name, math.nan)
            self.diverged = Divergence(name, self.updates, row, loss, self._newest.arrays())
        return told.means

    @property
    def skipped(self) -> dict[str, int]:
        """Updates of each network that were left out, as its gradient or loss was not finite, where there were any."""
        return self._skips.new

    @property
    def _trained(self) -> dict[str, Teacher | Student]:
        """All that learn."""
        teacher = {"teacher": self.teacher} if isinstance(self.teacher, Teacher) else {}
        return {**teacher, **self.students}

    def heed(self, evaluation: Evaluation) -> None:
        """Take in how well teacher and students play: some of what is learned goes by it."""
        self.teacher.heed(evaluation)
        means = {name: float(np.mean(score.returns)) for name, score in evaluation.scores.items()}
        for name, student in self.students.items():
            student.heed(normalised_score(means[name], means[RANDOM], means["teacher"]))

    def weights(self) -> Weights:
        """A copy of all parameters, named by the count of updates."""
        named = {"teacher": self.teacher, **self.students}
        flat = {name: to_flat(one.network) for name, one in named.items()}
        return Weights(self.updates, flat, self._normaliser.normal if self._normaliser else None)

    def state(self) -> State:
        """All that decides what is learned next. Raises DivergedError rather than give weights that are not finite."""
        for name, flat in self.weights().flat.items():
            if not np.isfinite(flat).all():
                why = f"they are not finite after update {self.updates}"
                raise DivergedError(f"the run diverged ({name}.weights=nan): {why}. Lower the learning rate of {name}")
        waiting = self._waiting()
        return {
            "teacher": self.teacher.state(),
            "students": {name: one.state() for name, one in self.students.items()},
            "temperature": self._temperature.state(),
            "normaliser": self._normaliser.state() if self._normaliser else None,
            "errors": {"row": waiting.row, "priority": waiting.priority} if waiting else None,
        }

    def restore(self, state: State) -> None:
        """Go on from `state`; a student that is not in it begins anew. Raises RuntimeError where a shape does not fit."""
        self.teacher.restore(state["teacher"])
        self._temperature.restore(state["temperature"])
        if self._normaliser:
            self._normaliser.restore(state["normaliser"])
        errors = state["errors"]
        self._errors = [(np.array(errors["row"]), torch.tensor(errors["priority"], device=self._device))] if errors else []
        for name, student in self.students.items():
            if name in state["students"]:
                student.restore(state["students"][name])
        self._skips.begin({name: one.updates for name, one in self._trained.items()})
        self._groups = None  # those of one age may be others now
        if self._recorded:
            self._recorded.drop()


def _teacher(
    network: nn.Module,
    config: TeacherConfig,
    students: tuple[str, ...],
    importance: Importance | None,
    seed: int,
    replicas: Replicas,
) -> Teacher | FrozenTeacher:
    if config.is_peers:
        return Peers(network, students, config)
    return Teacher(network, config, importance, seed, replicas) if config.learns else FrozenTeacher(network)
