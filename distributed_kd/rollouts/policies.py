"""The networks of a run as a rollout or an evaluation holds them: filled with published weights.

How a rollout explores around their best actions is in `exploration`.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distributed_kd.maths.normalisation import LARGEST, LEAST_DEVIATION
from distributed_kd.networks import load_flat
from distributed_kd.networks.noisy import draw_noise, is_noisy
from distributed_kd.networks.on_arrays import Perceptron, SideBySide
from distributed_kd.networks.tree import TreeNetwork
from distributed_kd.records import Weights

Act = Callable[[NDArray], NDArray[np.float32]]
"""Observations [N, *input_shape] to outputs [N, A], which the next call may write over"""


class Policies:
    """Named networks on the CPU, refilled whenever newer weights are handed in.

    Plain perceptrons and trees act in NumPy, all others in PyTorch: which one it is hangs on nothing but the network, so
    that the same weights always give the same outputs.
    """

    def __init__(self, networks: Mapping[str, nn.Module], normal: NDArray[np.float32] | None = None):
        """`normal` as in `records.Weights`: what the networks see observations by, until weights bring another."""
        self.names = tuple(networks)
        self.version = -1
        self._perceptrons = {name: Perceptron(network) for name, network in networks.items() if Perceptron.fits(network)}
        self._modules = {name: network for name, network in networks.items() if name not in self._perceptrons}
        self._noisy = [network for network in self._modules.values() if is_noisy(network)]
        self._alone: dict[tuple[str, int], Act] = {}
        self._see_by(normal)

    def load(self, weights: Weights) -> None:
        """Take over a publication, unless it is the one at hand. Raises ValueError where a network does not fit."""
        if weights.version == self.version:
            return
        for name, perceptron in self._perceptrons.items():
            perceptron.load(weights.flat[name])
        for name, network in self._modules.items():
            load_flat(network, weights.flat[name])
        self._see_by(weights.normal)
        self.version = weights.version

    def draw_noise(self, random: np.random.Generator) -> None:
        """Give the networks that explore by noise on their weights a new one; no number is drawn where there is none."""
        for network in self._noisy:
            draw_noise(network, lambda count: torch.from_numpy(random.standard_normal(count, dtype=np.float32)))

    def greedy(self, name: str, observation: NDArray) -> NDArray[np.int64]:
        """Best actions [N] for observations [N, *input_shape]."""
        return self._of(name, len(observation))(observation).argmax(1)

    def outputs(self, name: str, observation: NDArray) -> NDArray[np.float32]:
        """What the network gives for each action, [N, A], for observations [N, *input_shape]."""
        return self._of(name, len(observation))(observation).copy()

    def together(self, groups: Sequence[tuple[str, slice]], rows: int) -> Act:
        """What acts on N rows of observations, each group of rows, in their order and without a gap, by its network."""
        fast = [(self._perceptrons[name], lanes) for name, lanes in groups if name in self._perceptrons]
        others = [(self._modules[name], lanes) for name, lanes in groups if name in self._modules]
        side_by_side = SideBySide(fast, rows) if fast else None

        def act(observation: NDArray) -> NDArray[np.float32]:
            seen = self._seen(observation)
            if side_by_side is None:
                return np.concatenate([_forward(network, seen[lanes]) for network, lanes in others])
            outputs = side_by_side.outputs(seen)
            for network, lanes in others:
                outputs[lanes] = _forward(network, seen[lanes])
            return outputs

        return act

    def _of(self, name: str, rows: int) -> Act:
        """One network alone on so many rows."""
        if (name, rows) not in self._alone:
            self._alone[name, rows] = self.together([(name, slice(None))], rows)
        return self._alone[name, rows]

    def _see_by(self, normal: NDArray[np.float32] | None) -> None:
        self._normal = None if normal is None else (normal[0].copy(), np.maximum(normal[1], np.float32(LEAST_DEVIATION)))

    def _seen(self, observation: NDArray) -> NDArray:
        """As `maths.normalisation.normalised` does it on tensors."""
        if self._normal is None:
            return observation
        mean, deviation = self._normal
        return np.clip((observation.astype(np.float32, copy=False) - mean) / deviation, -LARGEST, LARGEST)


@torch.inference_mode()
def _forward(network: nn.Module, observation: NDArray) -> NDArray[np.float32]:
    if isinstance(network, TreeNetwork):
        return network.on_arrays(observation)
    # Rows out of the vector environments are contiguous and ours for the call, so they are shared, not copied.
    return network(torch.from_numpy(np.ascontiguousarray(observation))).numpy()
