"""Environments that cost nothing, or nothing but time: what is left of a run's time on them is the program's own.

Importing this module registers them.
"""

import time

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

NULL, SLEEPING = (f"{__name__}:{name}-v0" for name in ("Null", "Sleeping"))
"""Their ids as a run file names them"""
SLEEP_SECONDS = 0.002
EPISODE_STEPS = 1_000


class Null(gym.Env):
    """Nothing happens in it."""

    observation_space = Box(-1.0, 1.0, (4,), np.float32)
    action_space = Discrete(2)

    def __init__(self) -> None:
        self._observation = np.zeros(4, np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        return self._observation, {}

    def step(self, action: int):
        return self._observation, 1.0, False, False, {}


class Sleeping(Null):
    """Each step takes time, and no core: as a simulator elsewhere, or a machine that moves."""

    def step(self, action: int):
        time.sleep(SLEEP_SECONDS)
        return super().step(action)


for _id, _environment in ((NULL, Null), (SLEEPING, Sleeping)):
    gym.register(
        _id.rpartition(":")[2],
        entry_point=_environment,
        max_episode_steps=EPISODE_STEPS,
        order_enforce=False,
        disable_env_checker=True,
    )
