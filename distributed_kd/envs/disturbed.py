"""An environment as a device meets it: sensors that are not exact, and actions that come late."""

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import ArrayLike, NDArray


class Disturbed(gym.Wrapper):
    """Observations with Gaussian noise, and actions in whose place the one before is sometimes taken again.

    An episode's disturbances are drawn from streams of their own, which its seed decides: every policy meets the same ones,
    and what the environment itself draws is as without them. Sticky actions: Machado et al. 2018, 1709.06009.
    """

    def __init__(self, env: gym.Env, noise: ArrayLike, sticky: float):
        """`noise` is the standard deviation, in the observation's unit, of each number [*shape] or of all; `sticky` the
        probability that the action before is taken again. Bytes stay bytes, from 0 to the highest that they can be."""
        super().__init__(env)
        self._deviation, self._sticky = np.asarray(noise, np.float64), sticky
        space = env.observation_space
        self._is_bytes = space.dtype == np.uint8
        if not self._is_bytes:  # noise keeps to no bounds
            self.observation_space = Box(-np.inf, np.inf, space.shape, space.dtype)

    def reset(self, *, seed: int, options: dict | None = None) -> tuple[NDArray, dict]:
        self._noise, self._slips = (np.random.default_rng(stream) for stream in np.random.SeedSequence(seed).spawn(2))
        self._before = None
        observation, info = self.env.reset(seed=seed, options=options)
        return self._noisy(observation), info

    def step(self, action: int) -> tuple[NDArray, float, bool, bool, dict]:
        if self._slips.random() < self._sticky and self._before is not None:
            action = self._before
        self._before = action
        observation, *rest = self.env.step(action)
        return self._noisy(observation), *rest

    def _noisy(self, observation: NDArray) -> NDArray:
        space = self.env.observation_space
        seen = observation + self._deviation * self._noise.standard_normal(space.shape)
        if self._is_bytes:
            seen = np.clip(np.rint(seen), 0, space.high)
        return seen.astype(space.dtype)
