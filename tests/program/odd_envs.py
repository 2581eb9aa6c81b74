"""Environments that no run can play, or that fail while it does. Tests copy this file to where a run imports it from."""

import threading
from contextlib import suppress
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

# Whoever imports a module runs its code: this is how a test sees that somebody did.
Path(__file__).with_suffix(".imported").touch()


class Odd(gym.Env):
    """Episodes of 20 steps with a reward of 1; in an instance's `fault_at`-th step the `fault` happens, huge in any."""

    def __init__(self, fault="", fault_at=100, dict_observation=False, actions=2):
        self.observation_space = Box(-1, 1, (3,), np.float32)
        if dict_observation:
            self.observation_space = Dict({"view": self.observation_space})
        self.action_space = Discrete(actions)
        self.fault, self.fault_at, self.steps, self.taken = fault, fault_at, 0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.taken = 0
        if self.fault == "reset":
            raise OSError("no such level")
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.steps += 1
        self.taken += 1
        reward = 1.0
        if self.steps == self.fault_at:
            if self.fault == "raise":
                raise RuntimeError("the engine stalled\nat its second line")
            if self.fault == "no number":
                reward = float("nan")
            broken = Path(__file__).with_suffix(".broken")
            if self.fault == "raise once" and broken.exists():  # once for all runs together: who finds it takes it away
                broken.unlink()
                raise RuntimeError("the engine stalled")
            if self.fault == "hang once":  # who makes the file hangs
                with suppress(FileExistsError):
                    Path(__file__).with_suffix(".hung").touch(exist_ok=False)
                    threading.Event().wait()
        if self.fault == "huge":
            # Where a test asks for it: until the run beside this file has diverged, or for ever. Any two such rewards have
            # no finite sum, so that no batch that draws from them can be learned from.
            told, ever = Path(__file__).with_suffix(".huge"), Path(__file__).with_suffix(".forever")
            if told.exists() and (ever.exists() or not Path(__file__).with_name("run").joinpath("diverged").exists()):
                reward = 3e38
        return np.full(3, self.taken / 20, np.float32), reward, self.taken >= 20, False, {}


gym.register("Odd-v0", Odd)
gym.register("OddDict-v0", Odd, kwargs={"dict_observation": True})
gym.register("OddSingle-v0", Odd, kwargs={"actions": 1})
