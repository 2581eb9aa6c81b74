"""CleanRL's DQN in bare PyTorch: one environment, one ring of NumPy arrays, one network, one step after the other.

Written in the manner of its dqn.py (Huang et al. 2022, https://github.com/vwxyzjn/cleanrl), with its settings; it logs
nothing, which makes it a little faster than the script.
"""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from distributed_kd.bench.contenders import Baton

STEPS_PER_BEAT = 500


@dataclass(frozen=True)
class Settings:
    """Those of the script, but for the start of learning and of exploration: what is measured is the rate while learning."""

    env: str = "CartPole-v1"
    hidden: tuple[int, int] = (120, 84)
    capacity: int = 10_000
    batch_size: int = 128
    learning_starts: int = 1_000
    """the script's 10,000, cut short"""
    train_every: int = 10
    target_every: int = 500
    """environment steps between two copies to the target network"""
    learning_rate: float = 2.5e-4
    gamma: float = 0.99
    epsilon: float = 0.05
    """the script's end value, from the start"""


class Ring:
    """The newest transitions of one environment, drawn uniformly."""

    def __init__(self, capacity: int, shape: tuple[int, ...]):
        self.observation = np.zeros((capacity, *shape), np.float32)
        self.next_observation = np.zeros((capacity, *shape), np.float32)
        self.action = np.zeros(capacity, np.int64)
        self.reward = np.zeros(capacity, np.float32)
        self.terminated = np.zeros(capacity, np.float32)
        self.added = 0

    def add(self, observation: NDArray, action: int, reward: float, terminated: bool, next_observation: NDArray) -> None:
        slot = self.added % len(self.action)
        self.observation[slot], self.next_observation[slot] = observation, next_observation
        self.action[slot], self.reward[slot], self.terminated[slot] = action, reward, terminated
        self.added += 1

    def sample(self, count: int, random: np.random.Generator) -> tuple[Tensor, ...]:
        """observation [B, *shape], action [B, 1], reward [B], terminated [B], next_observation [B, *shape]."""
        slots = random.integers(0, min(self.added, len(self.action)), count)
        columns = (self.observation, self.action[:, None], self.reward, self.terminated, self.next_observation)
        return tuple(torch.from_numpy(column[slots]) for column in columns)


class Dqn:
    """The whole of the script's state, and one pass of its loop as `step`."""

    def __init__(self, settings: Settings, seed: int = 1):
        self._settings = settings
        self._random = np.random.default_rng(seed)
        torch.manual_seed(seed)
        # Statistics of episodes and a vector of one: as the script has it.
        make = [lambda: gym.wrappers.RecordEpisodeStatistics(gym.make(settings.env))]
        self._envs = SyncVectorEnv(make, autoreset_mode=AutoresetMode.SAME_STEP)
        self._observation, _ = self._envs.reset(seed=seed)
        shape, self._actions = self._envs.single_observation_space.shape, int(self._envs.single_action_space.n)
        self.network, self.target = self._network(shape), self._network(shape)
        self.target.load_state_dict(self.network.state_dict())
        self._adam = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        self.ring = Ring(settings.capacity, shape)
        self.env_steps = self.updates = 0

    def _network(self, shape: tuple[int, ...]) -> nn.Module:
        first, second = self._settings.hidden
        return nn.Sequential(
            nn.Linear(int(np.prod(shape)), first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, self._actions),
        )

    def step(self) -> None:
        """One environment step, and what is due of learning."""
        settings = self._settings
        if self._random.random() < settings.epsilon:
            action = self._random.integers(0, self._actions, 1)
        else:
            action = self.network(torch.from_numpy(self._observation)).argmax(1).numpy()
        following, reward, terminated, _, info = self._envs.step(action)
        after = info["final_obs"][0] if "final_obs" in info else following[0]
        self.ring.add(self._observation[0], int(action[0]), float(reward[0]), bool(terminated[0]), after)
        self._observation = following
        self.env_steps += 1
        if self.env_steps <= settings.learning_starts:
            return
        if self.env_steps % settings.train_every == 0:
            self._learn()
        if self.env_steps % settings.target_every == 0:
            self.target.load_state_dict(self.network.state_dict())

    def _learn(self) -> None:
        settings = self._settings
        observation, action, reward, terminated, after = self.ring.sample(settings.batch_size, self._random)
        with torch.no_grad():
            target = reward + settings.gamma * self.target(after).max(1).values * (1.0 - terminated)
        loss = functional.mse_loss(self.network(observation).gather(1, action).squeeze(1), target)
        self._adam.zero_grad()
        loss.backward()
        self._adam.step()
        self.updates += 1

    def close(self) -> None:
        self._envs.close()


def train(baton: Baton) -> None:
    """Train until told to end, on one thread."""
    torch.set_num_threads(1)
    dqn = Dqn(Settings())
    while dqn.env_steps <= dqn._settings.learning_starts:
        dqn.step()
    while baton.beat(dqn.env_steps, dqn.updates):
        for _ in range(STEPS_PER_BEAT):
            dqn.step()
    dqn.close()
