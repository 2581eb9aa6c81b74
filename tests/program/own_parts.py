"""Environments and networks of a user's own, which no package brings. Tests copy this file to where a run finds it."""

from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from torch import nn

# Whoever imports a module runs its code: this is how a test sees that somebody did.
Path(__file__).with_suffix(".imported").touch()

FIRST = 5
"""The first of three actions of `Lamps`: they are 5, 6 and 7"""


class Lamps(gym.Env):
    """Of three lamps one burns, drawn anew in every step; its action, from FIRST on, is worth 1. An episode is ten steps."""

    def __init__(self, as_dict: bool = True):
        lamps = MultiBinary(3)
        self.observation_space = Dict({"lamps": lamps, "hour": Box(0, 1, (1,), np.float32)}) if as_dict else lamps
        self.action_space = Discrete(3, start=FIRST)
        self.as_dict = as_dict

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.hour = 0
        return self._seen(), {}

    def step(self, action):
        if action not in self.action_space:
            raise ValueError(f"there is no action {action}")
        reward = float(action - FIRST == self.burns)
        self.hour += 1
        return self._seen(), reward, self.hour == 10, False, {}

    def _seen(self):
        self.burns = int(self.np_random.integers(3))
        lamps = np.eye(3, dtype=np.int8)[self.burns]
        return {"lamps": lamps, "hour": np.array([self.hour / 10], np.float32)} if self.as_dict else lamps


gym.register("Lamps-v0", Lamps)
gym.register("Bits-v0", Lamps, kwargs={"as_dict": False})


def make_network(input_shape: tuple[int, ...], actions: int) -> nn.Module:
    """A network for observations in one row."""
    (inputs,) = input_shape
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, actions))


def make_wide(input_shape: tuple[int, ...], actions: int) -> nn.Module:
    """It does not keep to the number of actions."""
    return nn.Linear(input_shape[0], actions + 1)
