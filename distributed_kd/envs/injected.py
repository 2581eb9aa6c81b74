"""Environments that fail on purpose, by chance: how `--chaos` shows what a run makes of that."""

import math
import time
from dataclasses import dataclass, fields

import gymnasium as gym
import numpy as np


@dataclass(frozen=True)
class Injected:
    """The chance, at each step, that an environment does this."""

    raises: float = 0.0
    hangs: float = 0.0
    """for ever"""
    nan: float = 0.0
    """gives a reward that is no number"""
    shape: float = 0.0
    """gives an observation of another shape"""

    def __bool__(self) -> bool:
        return any(getattr(self, one.name) for one in fields(self))

    def into(self, env: gym.Env, seed: np.random.SeedSequence) -> gym.Env:
        """The environment with these faults, which are drawn from `seed`."""
        return _Failing(env, self, np.random.default_rng(seed)) if self else env


NOTHING = Injected()


class _Failing(gym.Wrapper):
    def __init__(self, env: gym.Env, faults: Injected, random: np.random.Generator):
        super().__init__(env)
        self._faults, self._random = faults, random

    def step(self, action: object):
        faults = self._faults
        raises, hangs, nan, shape = self._random.random(4) < (faults.raises, faults.hangs, faults.nan, faults.shape)
        if raises:
            raise RuntimeError("raised by --chaos")
        while hangs:
            time.sleep(3600)
        observation, reward, terminated, truncated, info = self.env.step(action)
        if shape:
            observation = np.stack([observation, observation])
        return observation, math.nan if nan else reward, terminated, truncated, info
