"""The one account of what observations look like, by which a teacher and all of its students see them."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distributed_kd.maths.normalisation import merged, normalised
from distributed_kd.records import EnvSpec, State


class Normaliser:
    """Mean and standard deviation of each number of an observation, over all that the teacher learned from so far.

    The networks never see an observation otherwise, so whoever acts with them is given `normal` beside their weights.
    """

    def __init__(self, spec: EnvSpec, device: torch.device, given: NDArray[np.float32] | None = None):
        """`given` [2, *observation_shape], of a teacher from elsewhere, is kept as it is."""
        shape = spec.observation_shape
        self._stacked = spec.frame_stack > 1
        self._frozen = given is not None
        self._count = torch.zeros((), dtype=torch.float64, device=device)
        self._mean = torch.zeros(shape, dtype=torch.float64, device=device)
        self._squares = torch.zeros_like(self._mean)
        self._normal = torch.stack([torch.zeros(shape), torch.ones(shape)]).to(device)
        if given is not None:
            self._normal = torch.tensor(given, dtype=torch.float32, device=device)

    def follow(self, observation: Tensor) -> None:
        """Take in observations [B, *input_shape]; of stacked ones the newest, as each of the others was it before."""
        if self._frozen:
            return
        values = (observation[:, -1] if self._stacked else observation).to(torch.float64)
        account = self._count, self._mean, self._squares
        # Written where they were, so that a recorded update finds them again.
        for mine, new in zip(account, merged(*account, values), strict=True):
            mine.copy_(new)
        deviation = (self._squares / self._count).sqrt()
        self._normal.copy_(torch.stack([self._mean, deviation]))

    def seen(self, observation: Tensor) -> Tensor:
        """Observations as the networks see them."""
        return normalised(observation, self._normal)

    @property
    def normal(self) -> NDArray[np.float32]:
        """Mean and standard deviation [2, *observation_shape]; a copy."""
        return self._normal.cpu().numpy().copy()

    def state(self) -> State:
        return {
            "count": self._count.clone(),
            "mean": self._mean.clone(),
            "squares": self._squares.clone(),
            "normal": self._normal.clone(),
        }

    def restore(self, state: State) -> None:
        device = self._normal.device
        self._count, self._mean, self._squares, self._normal = (
            torch.as_tensor(state[name]).to(device).clone() for name in ("count", "mean", "squares", "normal")
        )
