"""Fully connected networks."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them; observations of any shape are flattened and taken as float32.

    With `dueling`, value and advantage streams share the hidden layers: q = v + a - mean(a) (Wang et al. 2016).
    """

    def __init__(self, inputs: int, hidden: tuple[int, ...], actions: int, dueling: bool = False):
        super().__init__()
        widths = (inputs, *hidden)
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.advantage = nn.Linear(widths[-1], actions)
        self.value = nn.Linear(widths[-1], 1) if dueling else None

    def forward(self, observation: Tensor) -> Tensor:
        """[B, *shape] -> [B, A]."""
        return self._head(self.body(observation.flatten(1).to(torch.float32)))

    def trace(self, observation: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """[B, *shape] -> the outputs [B, A], as of `forward`, and what each hidden layer gives [B, width], first to last."""
        features, hidden = observation.flatten(1).to(torch.float32), []
        for layer in self.body:
            features = layer(features)
            if isinstance(layer, nn.ReLU):
                hidden.append(features)
        return self._head(features), tuple(hidden)

    def _head(self, features: Tensor) -> Tensor:
        advantage = self.advantage(features)
        if self.value is None:
            return advantage
        return self.value(features) + advantage - advantage.mean(1, keepdim=True)
