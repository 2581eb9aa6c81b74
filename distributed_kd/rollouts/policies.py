"""The networks of a run as a rollout or an evaluation holds them: filled with published weights.

How a rollout explores around their best actions is in `exploration`.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distributed_kd.maths.normalisation import normalised
from distributed_kd.networks import load_flat
from distributed_kd.networks.noisy import draw_noise, is_noisy
from distributed_kd.records import Weights


class Policies:
    """Named networks on the CPU, refilled whenever newer weights are handed in."""

    def __init__(self, networks: Mapping[str, nn.Module], normal: NDArray[np.float32] | None = None):
        """`normal` as in `records.Weights`: what the networks see observations by, until weights bring another."""
        self.networks = dict(networks)
        self.version = -1
        self._noisy = [name for name, network in self.networks.items() if is_noisy(network)]
        self._normal = None if normal is None else torch.tensor(normal)

    def load(self, weights: Weights) -> None:
        """Take over a publication, unless it is the one at hand. Raises ValueError where a network does not fit."""
        if weights.version == self.version:
            return
        for name, network in self.networks.items():
            load_flat(network, weights.flat[name])
        self._normal = None if weights.normal is None else torch.tensor(weights.normal)
        self.version = weights.version

    def draw_noise(self, random: np.random.Generator) -> None:
        """Give the networks that explore by noise on their weights a new one; no number is drawn where there is none."""
        for name in self._noisy:
            draw_noise(self.networks[name], lambda count: torch.from_numpy(random.standard_normal(count, dtype=np.float32)))

    def greedy(self, name: str, observation: NDArray) -> NDArray[np.int64]:
        """Best actions [N] for observations [N, *input_shape]."""
        return self._forward(name, observation).argmax(1).numpy()

    def outputs(self, name: str, observation: NDArray) -> NDArray[np.float32]:
        """What the network gives for each action, [N, A], for observations [N, *input_shape]."""
        return self._forward(name, observation).numpy()

    @torch.inference_mode()
    def _forward(self, name: str, observation: NDArray) -> Tensor:
        # Rows out of the vector environments are contiguous and ours for the call, so they are shared, not copied.
        seen = torch.from_numpy(np.ascontiguousarray(observation))
        return self.networks[name](seen if self._normal is None else normalised(seen, self._normal))
