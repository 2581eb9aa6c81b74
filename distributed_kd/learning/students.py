"""The students: each draws its network's outputs to the teacher's Q-values, apart from all others."""

import torch
from torch import Tensor, nn

from distributed_kd.config import StudentConfig
from distributed_kd.learning.trainable import Trainable
from distributed_kd.maths.distillation import LOSSES, action_gap, agreement, auto_temperature, target_entropy
from distributed_kd.records import State

GAP_MEMORY = 0.99
"""Share of the running action gap that one batch leaves in place: it follows the teacher within some hundred updates."""


class Student:
    """One small network taught by online policy distillation. It sees Q-values and never asks where they come from."""

    def __init__(self, network: nn.Module, config: StudentConfig, device: torch.device):
        self._loss = LOSSES[config.loss]
        self._fixed = None if config.temperature == "auto" else config.temperature
        self._trained = Trainable(network, config.learning_rate, config.learning_rate_end, config.max_grad_norm)
        # Kept on the device, so that "auto" costs no synchronisation; NaN until the first batch sets it.
        self._gap = torch.full((), float("nan"), device=device)
        self.updates = 0

    @property
    def network(self) -> nn.Module:
        return self._trained.network

    def update(self, observation: Tensor, teacher_q: Tensor, progress: float, measure: bool) -> dict[str, Tensor]:
        """One distillation update from observations [B, *shape] and the teacher's Q-values there [B, A].

        Returns 0-d tensors where `measure` asks for them, else nothing.
        """
        temperature = self._temperature(teacher_q)
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

    def _temperature(self, teacher_q: Tensor) -> float | Tensor:
        if self._fixed is not None:
            return self._fixed
        gap = action_gap(teacher_q).mean()
        self._gap = torch.where(self._gap.isnan(), gap, GAP_MEMORY * self._gap + (1.0 - GAP_MEMORY) * gap)
        return auto_temperature(self._gap)

    def state(self) -> State:
        return {"trained": self._trained.state(), "gap": self._gap.clone(), "updates": self.updates}

    def restore(self, state: State) -> None:
        self._trained.restore(state["trained"])
        self._gap = torch.as_tensor(state["gap"]).to(self._gap.device).clone()
        self.updates = state["updates"]
