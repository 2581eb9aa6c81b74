"""A decision tree as a network: complete, so that all trees of one depth have the same parameters. Others fit it."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.networks.inputs import Flat
from distributed_kd.records import EnvSpec

MOST_NUMBERS = 64
"""of an observation, that a tree may ask of: rules over pixels tell nobody anything"""


class TreeNetwork(nn.Module):
    """Observations [B, *input_shape] to what the leaf that each falls into says of the actions [B, A].

    Decision n of 2^depth - 1 asks whether number `feature[n]` is above `threshold[n]`; on no the next one is 2n + 1, on yes
    2n + 2, and behind the last ones stand the 2^depth `leaves`. A shorter branch goes on with decisions between equals.
    Parameters are what is published and saved; none has a gradient. It walks by products, as in Nakandala et al. 2020,
    2010.04804, section 4.
    """

    def __init__(self, depth: int, spec: EnvSpec):
        """Raises ConfigurationError where observations are images, or more than MOST_NUMBERS numbers."""
        super().__init__()
        numbers = math.prod(spec.input_shape)
        if numbers > MOST_NUMBERS:
            shape = list(spec.input_shape)
            why = f"observations of shape {shape} are {numbers} numbers, and a tree reads {MOST_NUMBERS} at most"
            raise ConfigurationError(Problem("network does not fit", "network.kind", "tree", why, "Choose another kind"))
        self.depth, self.input = depth, Flat(spec)
        decisions = 2**depth - 1
        self.feature, self.threshold = (nn.Parameter(torch.zeros(decisions), requires_grad=False) for _ in range(2))
        self.leaves = nn.Parameter(torch.zeros(decisions + 1, spec.actions), requires_grad=False)
        self._scale = spec.scale
        ways = _ways(depth)
        self.register_buffer("_ways", ways, persistent=False)
        self.register_buffer("_noes", (ways < 0).sum(0).to(torch.float32), persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> [B, A]."""
        numbers = self.input(observation).index_select(1, self.feature.long())
        answers = (numbers > self.threshold).to(torch.float32)
        # Of each leaf's way the answers that lead along it are counted, and only one leaf has all of them.
        return self.leaves[torch.addmm(self._noes, answers, self._ways).argmax(1)]

    def on_arrays(self, observation: NDArray) -> NDArray[np.float32]:
        """As `forward` of a tree on the CPU, in NumPy: for a single observation less than half of the time."""
        seen = observation.reshape(len(observation), -1)
        if seen.dtype != np.float32:
            seen = seen.astype(np.float32) * (1.0 if seen.dtype.kind == "f" else self._scale)
        feature, threshold, leaves, ways, noes = (
            one.numpy() for one in (self.feature, self.threshold, self.leaves, self._ways, self._noes)
        )
        answers = (seen.take(feature.astype(np.intp), axis=1) > threshold).astype(np.float32)
        return leaves.take((answers @ ways + noes).argmax(1), axis=0)

    def trace(self, observation: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outputs [B, A], and no hidden layers: it has none."""
        return self(observation), ()


def _ways(depth: int) -> Tensor:
    """[2^depth - 1, 2^depth]: 1 where the way to a leaf takes a decision's yes, -1 where its no, 0 where neither."""
    ways = torch.zeros(2**depth - 1, 2**depth)
    for leaf in range(2**depth):
        place = leaf + 2**depth - 1
        while place:
            before = (place - 1) // 2
            ways[before, leaf] = 1.0 if place == 2 * before + 2 else -1.0
            place = before
    return ways
