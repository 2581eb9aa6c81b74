"""Multilayer perceptrons acted with NumPy: for few observations most of PyTorch's time is not that of its products.

Several of them act side by side, each on observations of its own. Every other kind of network is acted by PyTorch.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distributed_kd.networks import to_flat
from distributed_kd.networks.inputs import Flat
from distributed_kd.networks.prepared import ONE_THREAD
from distributed_kd.networks.q_network import QNetwork

FEW = 16
"""Observations from which on a product that is larger goes to PyTorch, whose threads are set by who runs it; for fewer it is
done in parts by NumPy. A layer of 256x256 takes, on one core of an AMD EPYC with AVX-512: for 8 observations 18 microseconds
in 3 parts and 62 in PyTorch, for 16 of them 28 in 5 parts and 30, for 32 of them 61 in 9 parts and 52."""


class Perceptron:
    """The layers of a network as matrices [out, in + 1], the bias in the last column; the last one gives the outputs.

    `scale` is what the network makes of a byte of 1.
    """

    def __init__(self, network: nn.Module):
        """`network` is one that `fits`; its parameters are copied."""
        linear = network.plain_layers()
        read = [np.empty((layer.out_features, layer.in_features + 1), np.float32) for layer in linear]
        # Value plus advantages less their mean are one layer of the features, as each of them is.
        self._read, self._is_dueling = read, network.is_dueling
        self.layers = [*read[:-2], np.empty_like(read[-2])] if self._is_dueling else read
        self._size = sum(layer.size for layer in read)
        self.scale = network.input(torch.ones((1, linear[0].in_features), dtype=torch.uint8))[0, 0].item()
        self.load(to_flat(network))

    @staticmethod
    def fits(network: nn.Module) -> bool:
        """Whether it is nothing but linear layers with a ReLU between each two, and gives one output for each action."""
        return isinstance(network, QNetwork) and isinstance(network.input, Flat) and network.plain_layers() is not None

    def load(self, flat: NDArray[np.float32]) -> None:
        """Copy a vector [P] from `to_flat` into the matrices. Raises ValueError where the sizes differ."""
        if flat.shape != (self._size,):
            raise ValueError(f"a vector of {flat.shape} does not fit a network of {self._size} parameters")
        start = 0
        for matrix in self._read:
            outputs, inputs = matrix.shape[0], matrix.shape[1] - 1
            middle, end = start + outputs * inputs, start + matrix.size
            matrix[:, :-1] = flat[start:middle].reshape(outputs, inputs)
            matrix[:, -1] = flat[middle:end]
            start = end
        if self._is_dueling:
            advantage, value = self._read[-2:]
            np.add(advantage - advantage.mean(0), value, out=self.layers[-1])


_Left = tuple[Sequence[NDArray], slice, NDArray]
"""The layers that a network has left, its rows, and what the first of those layers sees [in + 1, rows]"""


class SideBySide:
    """Perceptrons with the same inputs and actions, each acting on its own rows of [N, ...] observations.

    What lies between the layers is kept from call to call: of each layer one array, in which the networks' parts [width + 1,
    rows] stand one behind the other, each closed by ones that the next layer's biases are multiplied by.
    """

    def __init__(self, parts: Sequence[tuple[Perceptron, slice]], rows: int):
        """`parts`: who acts on which of the N `rows`; what belongs to no one is given outputs of 0."""
        one = parts[0][0]
        seen = np.ones((one.layers[0].shape[1], rows), np.float32)
        self._inputs, self._scale = seen[:-1], one.scale
        self._outputs = np.zeros((len(one.layers[-1]), rows), np.float32)
        self._calls: list[Callable[[], object]] = []
        left = [(perceptron.layers, lanes, seen[:, lanes]) for perceptron, lanes in parts]
        while left:
            left = self._layer(left)

    def _layer(self, left: Sequence[_Left]) -> list[_Left]:
        """Note the calls that take every network one layer on; gives what is left, with what it sees then."""
        deeper = [(len(layers[0]) + 1) * seen.shape[1] for layers, _, seen in left if len(layers) > 1]
        hidden, start, after = np.ones(sum(deeper), np.float32), 0, []
        for (matrix, *layers), lanes, seen in left:
            if not layers:
                self._calls += _products(matrix, seen, self._outputs[:, lanes])
                continue
            end = start + (len(matrix) + 1) * seen.shape[1]
            part, start = hidden[start:end].reshape(len(matrix) + 1, -1), end
            self._calls += _products(matrix, seen, part[:-1])
            after.append((layers, lanes, part))
        if after:
            self._calls.append(partial(np.maximum, hidden, np.float32(0), out=hidden))
        return after

    def outputs(self, observation: NDArray) -> NDArray[np.float32]:
        """[N, ...] of any type -> the outputs [N, A], which the next call writes over."""
        np.copyto(self._inputs, observation.reshape(len(observation), -1).T, casting="same_kind")
        if self._scale != 1.0 and observation.dtype.kind != "f":  # only bytes have a scale
            np.multiply(self._inputs, self._scale, self._inputs)
        for call in self._calls:
            call()
        return self._outputs.T


def _products(matrix: NDArray, seen: NDArray, out: NDArray) -> list[Callable[[], object]]:
    """What writes matrix @ seen into `out`."""
    rows, (inputs, count) = len(matrix), seen.shape
    if matrix.size * count > ONE_THREAD and count >= FEW:
        return [partial(torch.mm, torch.from_numpy(matrix), torch.from_numpy(seen), out=torch.from_numpy(out))]
    most = max(1, ONE_THREAD // max(1, inputs * count))
    parts = np.array_split(np.arange(rows), -(-rows // most))
    # `dot` costs less to call, and can write into whole arrays only.
    product = np.dot if out.flags.c_contiguous else np.matmul
    return [partial(product, matrix[part[0] : part[-1] + 1], seen, out[part[0] : part[-1] + 1]) for part in parts]
