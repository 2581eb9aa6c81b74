"""`temperature = "auto"`: a softmax temperature that follows the spread of the teacher's Q-values."""

import math

import torch
from torch import Tensor

from distributed_kd.learning.adam import known_finite
from distributed_kd.learning.moving import Progress
from distributed_kd.learning.replicas import ALONE, Replicas
from distributed_kd.maths.targets import action_gap, auto_temperature
from distributed_kd.maths.temporal_difference import weighted_mean

GAP_MEMORY = 0.99
"""Share of the running action gap that one batch leaves in place: it follows the teacher within some hundred updates"""


class AutoTemperature:
    """The running mean of the teacher's action gap, and the temperature that it comes to.

    It depends on the teacher and the batches alone, so all students share it, and each learns as it would alone.
    """

    def __init__(self, device: torch.device, replicas: Replicas = ALONE):
        self._replicas = replicas
        # Kept on the device, so that following costs no synchronisation; NaN until the first batch sets it.
        self._gap = torch.full((), float("nan"), device=device)

    def follow(self, teacher_q: Tensor, weight: Tensor | None = None, progress: Progress = 0.0) -> Tensor:
        """Take in the Q-values [B, A] of one batch; gives the temperature now, 0-d, in the unit of returns.

        A gap that is not finite leaves it as it was. `progress` as the update is handed it.

        `weight` [B] of mean 1 where its observations were not drawn alike.
        """
        gap = self._replicas.mean_(weighted_mean(action_gap(teacher_q), weight))
        # Written where it was, so that a recorded update finds it again.
        if known_finite(progress, gap, self._gap):
            torch.lerp(gap, self._gap, GAP_MEMORY, out=self._gap)
        else:
            followed = torch.where(self._gap.isnan(), gap, torch.lerp(gap, self._gap, GAP_MEMORY))
            torch.where(gap < math.inf, followed, self._gap, out=self._gap)
        return auto_temperature(self._gap)

    def state(self) -> Tensor:
        return self._gap.clone()

    def restore(self, gap: object) -> None:
        self._gap = torch.as_tensor(gap).to(self._gap.device).clone()
