"""Students that learn together: one backward, one optimizer and, where their networks are equal, one computation for all.

A small network's update is bound by the number of operations, not by their size, so that several students cost little more
than one. Each keeps its own learning rate, its own clip and its own moments, and what it learns is what it would learn
alone but for rounding.
"""

import math
from collections.abc import Mapping
from itertools import groupby

import torch
from torch import Tensor

from distributed_kd.learning.adam import Adam, known_finite
from distributed_kd.learning.lesson import Lesson, Steps
from distributed_kd.learning.moving import Progress, scalar
from distributed_kd.learning.objective import Sight, Temperatures, Told
from distributed_kd.learning.replicas import ALONE, Replicas
from distributed_kd.learning.students import Attempt, Student
from distributed_kd.learning.trainable import backward
from distributed_kd.maths.targets import agreement, target_entropy
from distributed_kd.networks.plain import EqualNetworks, PlainNetworks, Sizes, sizes_of


class Together:
    """Students whose parameters are the rows of one matrix [K, P], each padded with zeros, as are their gradients.

    Padding has no gradient and stays 0. So norms and clips by row, and Adam over rows of one rate, are one operation each.
    """

    def __init__(self, students: Mapping[str, Student], replicas: Replicas = ALONE):
        """All of them as many updates old. From now on they learn here alone; `replicas` as in `Trainable`."""
        self._replicas = replicas
        # Equal networks that learn by the same loss stand side by side.
        self._students = dict(sorted(students.items(), key=lambda item: _place(item[1])))
        ones = list(self._students.values())
        flats = [one.trained.flat for one in ones]
        shape = len(ones), max(flat.numel() for flat in flats)
        self._flat, self._gradient = (torch.zeros(shape, device=flats[0].device) for _ in range(2))
        sizes = [flat.numel() for flat in flats]
        self._adam = Adam(self._flat, self._gradient, sizes)
        for row, (one, size) in enumerate(zip(ones, sizes, strict=True)):
            one.trained.move(self._flat[row, :size], self._gradient[row, :size], self._adam, row)
        self._limit = torch.tensor([one.trained.max_grad_norm for one in ones], device=self._flat.device)
        self._choirs, self._alone = self._parted()
        # Automatic differentiation adds to the gradients that stand there; plain networks write over theirs.
        self._adds_up = bool(self._alone) or not all(choir.is_plain for choir in self._choirs)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._students)

    def _parted(self) -> tuple[list["Choir"], dict[str, Student]]:
        """Those of which one loss is taken, and those with losses of their own."""
        choirs, alone = [], {}
        numbered = enumerate(self._students.items())
        for key, members in groupby(numbered, key=lambda item: item[1][1].key()):
            members = list(members)
            if key is None:
                alone |= dict(one for _, one in members)
            else:
                first = members[0][0]
                rows = slice(first, first + len(members))
                choirs.append(Choir(dict(one for _, one in members), self._flat[rows], self._gradient[rows]))
        return choirs, alone

    def update(
        self, lesson: Lesson, auto_temperature: Tensor, progress: float, measure: bool, steps: Steps | None = None
    ) -> dict[str, dict[str, Tensor]]:
        """One update of each student, as `Student.update`; gives what each logs, by name."""
        for one in self._students.values():
            one.begin(progress)
        return self.learn(lesson, auto_temperature, progress, measure, steps)

    def learn(
        self, lesson: Lesson, auto_temperature: Tensor, progress: Progress, measure: bool, steps: Steps | None = None
    ) -> dict[str, dict[str, Tensor]]:
        """The update of each that was counted last, as `update`."""
        attempts: dict[str, Attempt] = {}
        losses = []
        if self._adds_up:
            self._gradient.zero_()
        for choir in self._choirs:
            loss, of_each = choir.attempt(lesson, auto_temperature, progress, measure)
            losses += [] if loss is None else [loss]
            attempts |= of_each
        for name, student in self._alone.items():
            attempts[name] = student.attempt(lesson, auto_temperature, progress, measure, steps)
            losses.append(attempts[name].loss)
        if losses:
            backward(sum(losses[1:], start=losses[0]))
        norms = self._descend(attempts).unbind()
        return {
            name: student.done(attempts[name], norm)
            for (name, student), norm in zip(self._students.items(), norms, strict=True)
        }

    @torch.no_grad()
    def _descend(self, attempts: Mapping[str, Attempt]) -> Tensor:
        """One descent of each student along its gradient; gives the norms [K] of these before clipping.

        A student stays as it is where its gradient is not finite, or its loss, where that was taken for it alone.
        """
        progresses = [attempts[name].progress for name in self._students]
        norms = torch.linalg.vector_norm(self._replicas.mean_(self._gradient), dim=1)
        # Replicas know of their own part's losses alone, and all must do the same.
        losses = {name: attempts[name].loss.detach() for name in self._alone} if self._replicas.count == 1 else {}
        finite = None
        if not known_finite(progresses[0], norms, *losses.values()):
            told = norms
            if losses:  # of what is not finite, not even 0 times it is
                each = zip(self._students, norms.unbind(), strict=True)
                told = torch.stack([norm.add(losses.get(name, norm), alpha=0) for name, norm in each])
            finite = told < math.inf
        self._gradient.mul_((self._limit / (norms + 1e-6)).clamp(max=1.0).unsqueeze(1))
        each = zip(self._students.values(), progresses, strict=True)
        self._adam.step([one.trained.learning_rate(at) for one, at in each], finite)
        return norms


class Choir:
    """Students that learn by the same loss, so that it is taken once, over the outputs of all of them."""

    def __init__(self, students: Mapping[str, Student], flat: Tensor, gradient: Tensor):
        """`flat` and `gradient` [K, P] hold their parameters, row by row, equal networks side by side."""
        self._students = dict(students)
        self._leader = next(iter(self._students.values()))
        ones = list(self._students.values())
        plain = [one for one in ones if sizes_of(one.network)]  # they stand first
        self._others = [one.network for one in ones[len(plain) :]]
        members, row = [], 0
        for sizes, equals in groupby(plain, key=lambda one: sizes_of(one.network)):
            rows = slice(row, row + len(list(equals)))
            members.append(EqualNetworks(sizes, flat[rows], gradient[rows]))
            row = rows.stop
        self._plain = PlainNetworks(members) if members else None
        self._input = ones[0].network.input
        self.is_plain = not self._others
        self._has_closed_form = self.is_plain and self._leader.objective.has_closed_form

    def attempt(
        self, lesson: Lesson, auto_temperature: Tensor, progress: Progress, measure: bool
    ) -> tuple[Tensor | None, dict[str, Attempt]]:
        """The sum of their losses, 0-d, and of each what is told of it; None where their gradients stand written already."""
        progress = self._leader.own_progress(progress)  # of one age, so all alike
        temperatures = self._leader.temperatures(auto_temperature, progress)
        told, count, loss = self._leader.told(lesson, temperatures), len(self._students), None
        if self._has_closed_form:
            outputs = self._plain.computed(self._input(lesson.observation))
            self._plain.backward(self._leader.objective.gradient(outputs, told, temperatures))
        else:
            outputs = self._outputs(lesson.observation)
            weight = None if told.weight is None else told.weight.repeat(count)
            joint = Told(told.q.repeat(count, 1), (), weight)
            # The losses are means over states, so the sum over students is their number times the mean over all.
            loss = count * self._loss(outputs.flatten(0, 1), joint, temperatures, float(progress))
        logged = self._logged(outputs.detach(), told, temperatures, float(progress)) if measure else [{}] * count
        return loss, {name: Attempt(loss, progress, its) for name, its in zip(self._students, logged, strict=True)}

    @torch.no_grad()
    def _logged(self, outputs: Tensor, told: Told, temperatures: Temperatures, progress: float) -> list[dict[str, Tensor]]:
        """As each of them would log it, from outputs [K, B, A]."""
        temperature = scalar(temperatures.of(), outputs.device)
        of_all = {"temperature": temperature, "teacher_entropy": target_entropy(told.q, temperature)}
        return [
            {"loss": self._loss(its, told, temperatures, progress), **of_all, "agreement": agreement(its, told.q)}
            for its in outputs
        ]

    def _outputs(self, observation: Tensor) -> Tensor:
        """Of all students, [K, B, A]."""
        outputs = [self._plain(self._input(observation))] if self._plain else []
        outputs += [network(observation).unsqueeze(0) for network in self._others]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _loss(self, outputs: Tensor, told: Told, temperatures: Temperatures, progress: float) -> Tensor:
        sight = Sight(outputs, (), outputs)  # no loss of theirs looks at layers or features
        return self._leader.objective.from_teacher(sight, told, temperatures, progress)


def _place(student: Student) -> tuple[str, bool, Sizes]:
    """By which students are sorted: those of one loss side by side, plain networks first, equal ones side by side."""
    sizes = sizes_of(student.network)
    return repr(student.key()), not sizes, sizes
