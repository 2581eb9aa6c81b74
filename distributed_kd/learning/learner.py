"""The learner: for each batch one teacher update, one teacher forward for all students, every student's update."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from distributed_kd.errors import DivergedError
from distributed_kd.learning.students import Student
from distributed_kd.learning.teacher import Teacher
from distributed_kd.learning.temperature import AutoTemperature
from distributed_kd.networks import to_flat
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import Batch, State, Weights
from distributed_kd.student_config import StudentConfig

MEASURE_EVERY = 8
"""Updates between two whose losses are kept: enough for a curve, and a network that is not finite stays so."""


class Learner:
    """The teacher and its students on one device. Owns the count of updates."""

    def __init__(
        self,
        *,
        networks: Mapping[str, nn.Module],
        teacher: TeacherConfig,
        students: Mapping[str, StudentConfig],
        device: torch.device,
    ):
        self._device = device
        self.teacher = Teacher(networks["teacher"].to(device), teacher)
        self.students = {name: Student(networks[name].to(device), config) for name, config in students.items()}
        self._temperature = AutoTemperature(device)
        self._logged: list[dict[str, dict[str, Tensor]]] = []

    @property
    def updates(self) -> int:
        """Updates of the teacher since the run began."""
        return self.teacher.updates

    def update(self, batch: Batch, progress: float) -> None:
        """Learn from one batch (arrays [B, ...]); `progress` is the share of the run that is over."""
        measure = self.updates % MEASURE_EVERY == 0
        observation, next_observation = self._tensor(batch.observation), self._tensor(batch.next_observation)
        action, returns, discount = map(self._tensor, (batch.action, batch.n_step_return, batch.discount))
        logged = {"teacher": self.teacher.update(observation, action, returns, discount, next_observation, progress)}
        teacher_q = self.teacher.targets(observation)
        temperature = self._temperature.follow(teacher_q)
        for name, student in self.students.items():
            logged[name] = student.update(observation, teacher_q, temperature, progress, measure)
        if measure:
            self._logged.append(logged)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, device=self._device)

    def losses(self) -> dict[str, dict[str, float]]:
        """Means over the measured updates since the last call; the one place where values are read back from the device.

        Raises DivergedError where a loss or a gradient's norm is not finite.
        """
        logged, self._logged = self._logged, []
        if not logged:
            return {}
        names = [(network, key) for network, values in logged[0].items() for key in values]
        table = torch.stack([torch.stack([one[network][key].float() for network, key in names]) for one in logged])
        means = dict(zip(names, table.mean(0).tolist(), strict=True))
        for (network, key), value in means.items():
            if key in ("loss", "grad_norm") and not math.isfinite(value):
                raise self._diverged(network, key, value)
        return {network: {key: means[network, key] for key in values} for network, values in logged[0].items()}

    def _diverged(self, network: str, key: str, value: float) -> DivergedError:
        why = f"it stopped being finite before update {self.updates}"
        return DivergedError(f"the run diverged ({network}.{key}={value}): {why}. Lower the learning rate of {network}")

    def weights(self) -> Weights:
        """A copy of all parameters, named by the count of updates."""
        named = {"teacher": self.teacher, **self.students}
        return Weights(self.updates, {name: to_flat(one.network) for name, one in named.items()})

    def state(self) -> State:
        """All that decides what is learned next. Raises DivergedError rather than give weights that are not finite."""
        for name, flat in self.weights().flat.items():
            if not np.isfinite(flat).all():
                raise self._diverged(name, "weights", math.nan)
        return {
            "teacher": self.teacher.state(),
            "students": {name: one.state() for name, one in self.students.items()},
            "temperature": self._temperature.state(),
        }

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises KeyError where a student is missing, RuntimeError where a shape does not fit."""
        self.teacher.restore(state["teacher"])
        self._temperature.restore(state["temperature"])
        for name, student in self.students.items():
            student.restore(state["students"][name])
