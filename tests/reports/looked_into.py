"""Networks that never were trained, and states that no run met, for the tests of what is told of a checkpoint."""

import numpy as np
import torch
from torch import nn

from distributed_kd.records import EnvSpec
from distributed_kd.reports.opened import Opened
from distributed_kd.rollouts.policies import Policies


class Rule(nn.Module):
    """Values of two actions that `q` gives for observations [B, ...] as float32: [B, 2]."""

    def __init__(self, q):
        super().__init__()
        self.q = q

    def forward(self, observation):
        return self.q(observation.float())


def of_sum(weights, flip=1.0):
    """Action 1 is better by the weighted sum of the numbers; flipped, action 0."""
    weight = torch.tensor(weights)
    return Rule(lambda x: torch.stack([torch.zeros(len(x)), flip * (x.flatten(1) @ weight)], dim=1))


def opened(states, networks, channels="none", frame_stack=1, scale=1.0):
    states = np.asarray(states)
    shape = states.shape[2:] if frame_stack > 1 else states.shape[1:]
    spec = EnvSpec("Made-v0", shape, str(states.dtype), 2, frame_stack=frame_stack, channels=channels, scale=scale)
    return Opened(spec, networks, Policies(networks), None, states)
