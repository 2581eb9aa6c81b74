"""Tiny Gymnasium environments whose every step can be foretold; importing this module registers them."""

from typing import ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete


class Walk(gym.Env):
    """An episode of 2 to 8 steps, all of it decided by its seed: its mark, its length, and how it ends.

    The observation is [mark, steps taken, last action taken], the reward scale * (mark + step - 3). So each observation
    says which episode it belongs to, where it stands there, and what led to it.
    """

    resets: ClassVar[list[int]] = []
    """seed of every reset of every Walk, in order"""

    def __init__(self, actions=2, start=0, ends="either", scale=1.0, one_array=False, odd_infos=False, fault="", fault_at=5):
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = Discrete(actions, start=start)
        self.ends, self.scale, self.one_array, self.odd_infos = ends, scale, one_array, odd_infos
        self.fault, self.fault_at, self.taken_in_all = fault, fault_at, 0
        self.row = np.zeros(3, np.float32)

    def _see(self, last_action):
        self.row[:] = self.mark, self.taken, last_action
        return self.row if self.one_array else self.row.copy()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        Walk.resets.append(seed)
        if self.fault == "reset" or (self.fault == "broken" and self.taken_in_all >= self.fault_at):
            raise OSError("no such level")
        self.mark = np.float32(self.np_random.random())
        self.length = int(self.np_random.integers(2, 9))
        self.terminates = self.ends == "terminated" or (self.ends == "either" and bool(self.np_random.integers(2)))
        self.taken = 0
        return self._see(-1), {"lives": 3}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.taken += 1
        self.taken_in_all += 1
        over = self.taken >= self.length
        reward = self.scale * (float(self.mark) + self.taken - 3)
        observation = self._see(int(action))
        if self.taken_in_all == self.fault_at:
            if self.fault in ("step", "broken"):
                raise RuntimeError("the engine stalled")
            if self.fault == "shape":
                observation = np.zeros(4, np.float32)
            reward = {"reward": float("nan"), "infinite": float("inf")}.get(self.fault, reward)
            if self.fault == "observation":
                observation = np.full(3, np.nan, np.float32)
        # A life is lost after every second step, which is no end of the episode.
        info = {"lives": 3 - self.taken // 2}
        if self.odd_infos:
            info["path"] = np.zeros(self.taken)
        return observation, reward, over and self.terminates, over and not self.terminates, info


class Recorded(gym.Wrapper):
    """Another environment that remembers the seed of each of its resets."""

    made: ClassVar[list["Recorded"]] = []

    def __init__(self, inner):
        super().__init__(gym.make(inner))
        self.seeds = []
        Recorded.made.append(self)

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        return super().reset(seed=seed, options=options)


class Spaces(gym.Env):
    """Nothing but its spaces."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action


for name, entry_point in {"Walk-v0": Walk, "Recorded-v0": Recorded, "Spaces-v0": Spaces}.items():
    gym.register(name, entry_point=entry_point)
