"""The students: each draws its network's outputs to the teacher's Q-values, apart from all others."""

import torch
from torch import Tensor, nn

from distributed_kd.learning.trainable import Trainable
from distributed_kd.maths.distillation import LOSSES, agreement, target_entropy
from distributed_kd.records import State
from distributed_kd.student_config import StudentConfig


class Student:
    """One small network taught by online policy distillation. It sees Q-values and never asks where they come from."""

    def __init__(self, network: nn.Module, config: StudentConfig):
        self._loss = LOSSES[config.loss]
        self._fixed = None if config.temperature == "auto" else config.temperature
        self._trained = Trainable(network, config.learning_rate, config.learning_rate_end, config.max_grad_norm)
        self.network = network
        self.updates = 0

    def update(
        self, observation: Tensor, teacher_q: Tensor, auto_temperature: Tensor, progress: float, measure: bool
    ) -> dict[str, Tensor]:
        """One distillation update from observations [B, *shape] and the teacher's Q-values there [B, A].

        Returns 0-d tensors where `measure` asks for them, else nothing.
        """
        temperature = auto_temperature if self._fixed is None else self._fixed
        outputs = self.network(observation)
        loss = self._loss(outputs, teacher_q, temperature)
        norm = self._trained.step(loss, progress)
        self.updates += 1
        if not measure:
            return {}
        return {
            "loss": loss.detach(),
            "grad_norm": norm,
            "temperature": torch.as_tensor(temperature, device=loss.device),
            "teacher_entropy": target_entropy(teacher_q, temperature),
            "agreement": agreement(outputs.detach(), teacher_q),
        }

    def state(self) -> State:
        return {"trained": self._trained.state(), "updates": self.updates}

    def restore(self, state: State) -> None:
        self._trained.restore(state["trained"])
        self.updates = state["updates"]
