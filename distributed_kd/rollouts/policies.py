"""The networks of a run as a rollout or an evaluation holds them: filled with published weights.

How a rollout explores around their best actions is in `exploration`.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distributed_kd.networks import load_flat
from distributed_kd.records import Weights


class Policies:
    """Named networks on the CPU, refilled whenever newer weights are handed in."""

    def __init__(self, networks: Mapping[str, nn.Module]):
        self.networks = dict(networks)
        self.version = -1

    def load(self, weights: Weights) -> None:
        """Take over a publication, unless it is the one at hand. Raises ValueError where a network does not fit."""
        if weights.version == self.version:
            return
        for name, network in self.networks.items():
            load_flat(network, weights.flat[name])
        self.version = weights.version

    def greedy(self, name: str, observation: NDArray) -> NDArray[np.int64]:
        """Best actions [N] for observations [N, *shape]."""
        return self._forward(name, observation).argmax(1).numpy()

    def outputs(self, name: str, observation: NDArray) -> NDArray[np.float32]:
        """What the network gives for each action, [N, A], for observations [N, *shape]."""
        return self._forward(name, observation).numpy()

    @torch.inference_mode()
    def _forward(self, name: str, observation: NDArray) -> Tensor:
        # Rows out of the vector environments are contiguous and ours for the call, so they are shared, not copied.
        return self.networks[name](torch.from_numpy(np.ascontiguousarray(observation)))
