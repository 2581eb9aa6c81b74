"""An environment that shows given observations one after another, of any kind of space; importing this registers it."""

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Text

VECTOR = Box(-1, 1, (3,), np.float32)

GRID = Dict({"image": Box(0, 255, (2, 2, 3), np.uint8), "direction": Discrete(4), "mission": Text(20)})
"""as MiniGrid has it"""


class Shows(gym.Env):
    """Shows `values` in their order; the episode ends with the last one."""

    def __init__(self, space, values, actions=2, start=0):
        self.observation_space, self.action_space = space, Discrete(actions, start=start)
        self.values = values

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0
        return self.values[0], {}

    def step(self, action):
        self.place += 1
        return self.values[self.place], 1.0, self.place == len(self.values) - 1, False, {}


class Sized(gym.Env):
    """Observations of zeros; their shape and the number of actions are arguments, so that evaluation can have others."""

    def __init__(self, shape=(3,), high=1.0, dtype="float32", actions=2, start=0):
        self.observation_space = Box(0, high, tuple(shape), np.dtype(dtype))
        self.action_space = Discrete(actions, start=start)


for name, entry_point in {"Shows-v0": Shows, "Sized-v0": Sized}.items():
    gym.register(name, entry_point=entry_point)
