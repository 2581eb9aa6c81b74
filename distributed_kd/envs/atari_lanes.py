"""Atari games side by side in ALE's own C++ vector environment: fast, but its state cannot be saved."""

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from distributed_kd.config import EnvConfig
from distributed_kd.envs.atari import SIDE, Protocol, follows_protocol, protocol_of
from distributed_kd.envs.lane_step import LaneStep
from distributed_kd.envs.packages import provide
from distributed_kd.records import State

UNBOUNDED = 1 << 30
"""frames; ALE adds 1 to it in 32 bits"""


def atari_lanes(config: EnvConfig, lanes: int, seed: np.random.SeedSequence) -> "AtariLanes | None":
    """Lanes in C++ where the id is one of ALE's and its arguments are known to both forms, else None."""
    provide(config)
    if not follows_protocol(config):
        return None
    protocol, rest = protocol_of(config, config.kwargs)
    registered = gym.registry.get(config.id.rpartition(":")[2])
    if rest or registered is None:
        return None
    try:
        import ale_py.vector_env  # noqa: F401  a part of ALE that some builds leave out
    except ImportError:
        return None
    return AtariLanes(registered.kwargs["game"], protocol, lanes, seed)


class AtariLanes:
    """N games, stepped by one thread of their own. Frames [N, 84, 84] uint8, equal to the byte to those of AtariFrames.

    Two things are not left to ALE. Its `episodic_life` begins a new game after each lost life, so that later lives are never
    seen: here the game goes on. At its bound on frames it leaves the last frame out of the final observation: here the games
    are cut off from outside. (At a game's own end it still does; nothing is ever learned from the observation there.)
    """

    def __init__(self, game: str, protocol: Protocol, lanes: int, seed: np.random.SeedSequence):
        from ale_py.vector_env import AtariVectorEnv

        self._protocol = protocol
        self._seeds = (seed.generate_state(lanes) >> 1).astype(np.int64)  # ALE takes 31 bits
        self._vector = AtariVectorEnv(
            game,
            lanes,
            num_threads=1,
            max_num_frames_per_episode=UNBOUNDED,
            repeat_action_probability=protocol.repeat_action_probability,
            full_action_space=protocol.full_action_space,
            autoreset_mode=AutoresetMode.SAME_STEP,
            img_height=SIDE,
            img_width=SIDE,
            stack_num=1,
            frameskip=protocol.frameskip,
            noop_max=protocol.noop_max + 1,  # it draws from 0 to one less
            reward_clipping=False,
            use_fire_reset=False,
        )
        self._lives = np.zeros(lanes, np.int64)
        self._frames = np.zeros(lanes, np.int64)

    def reset(self) -> NDArray:
        return self._begin(self._seeds)

    def _begin(self, seeds: NDArray[np.int64] | None) -> NDArray:
        observation, info = self._vector.reset(seed=seeds)
        self._lives, self._frames = info["lives"], np.zeros_like(self._frames)
        return observation[:, 0]

    def step(self, action: NDArray[np.int64]) -> LaneStep:
        """Its arrays are new ones at every step: ALE hands them over."""
        stacked, reward, over, _, info = self._vector.step(action)
        observation = after = stacked[:, 0]
        lives = info["lives"]
        lost = ~over & (lives > 0) & (lives < self._lives) & self._protocol.terminal_on_life_loss
        if over.any():
            # The rows of lanes that go on hold nothing of use.
            after = np.where(over[:, None, None], info["final_obs"][:, 0], observation)
        self._frames = np.where(over, 0, self._frames + self._protocol.frameskip)
        truncated = self._frames >= self._protocol.max_num_frames_per_episode
        if truncated.any():
            stacked, info = self._vector.reset(options={"reset_mask": truncated})
            observation, lives = stacked[:, 0], np.where(truncated, info["lives"], lives)
            self._frames[truncated] = 0
        self._lives = lives
        return LaneStep(observation, after, reward, over | lost, truncated)

    def state(self) -> State:
        """Nothing: ALE keeps the games' state to itself. Only the inline runner resumes to the bit, with other lanes."""
        return {}

    def restore(self, state: State) -> NDArray:
        """Begin new episodes, none of which has been played before."""
        return self._begin(None)

    def close(self) -> None:
        self._vector.close()
