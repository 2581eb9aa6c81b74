"""Environments stepped side by side; a lane that ends an episode starts the next one in the same step.

`Lanes.step` always gives the true last observation of an episode apart from the first one of the next.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from distributed_kd.config import EnvConfig
from distributed_kd.envs.atari import AtariFrames
from distributed_kd.envs.atari_lanes import atari_lanes
from distributed_kd.envs.cartpole_lanes import CartPoleLanes
from distributed_kd.envs.faults import checked, checked_reward, fault_of
from distributed_kd.envs.injected import NOTHING, Injected
from distributed_kd.envs.lane_step import Lanes, LaneStep
from distributed_kd.envs.progress import begin
from distributed_kd.envs.spec import make
from distributed_kd.records import EnvSpec, Fault, State


def make_lanes(
    config: EnvConfig,
    spec: EnvSpec,
    lanes: int,
    seed: np.random.SeedSequence,
    repeatable: bool = True,
    injected: Injected = NOTHING,
) -> Lanes:
    """Lanes of an environment, by its fast vector form where there is one whose episodes can be told apart.

    `repeatable` lanes can be saved and restored exactly; others may be faster, and begin new episodes when restored.
    """
    if injected:
        return SyncLanes(config, spec, lanes, seed, injected)
    if not repeatable and (fast := atari_lanes(config, lanes, seed)) is not None:
        return fast
    registered = gym.registry.get(config.id)
    if registered is not None and registered.vector_entry_point == _CARTPOLE and _both_forms_take(config.kwargs):
        return CartPoleLanes(config, lanes, seed)
    return SyncLanes(config, spec, lanes, seed)


_CARTPOLE = f"{CartPoleVectorEnv.__module__}:{CartPoleVectorEnv.__name__}"


def _both_forms_take(kwargs: Mapping[str, object]) -> bool:
    """Whether the vector form knows all of these and means the same: a limit of -1 is none in gymnasium.make."""
    return set(kwargs) <= {"sutton_barto_reward", "max_episode_steps"} and kwargs.get("max_episode_steps") != -1


def _atari_frames(env: gym.Env) -> AtariFrames | None:
    while isinstance(env, gym.Wrapper) and not isinstance(env, AtariFrames):
        env = env.env
    return env if isinstance(env, AtariFrames) else None


GOES_ON = int(np.iinfo(np.int64).min)
"""among the actions of a tape: a reset that began an episode in the same game, after a lost life"""


class Tape(gym.Wrapper):
    """Seeds each episode from the lane's own stream and remembers its actions, so that it can be played again.

    A Gymnasium environment has no state that can be read out; its first seed and its actions are one. An Atari game can go
    on over several episodes, one for each life: they are one stretch of tape, begun with one seed.

    Where the environment fails in a step, the episode is truncated there and the fault is kept for `SyncLanes`; where it
    fails to begin an episode, it is made anew, once.
    """

    def __init__(self, make: Callable[[], gym.Env], seed: np.random.SeedSequence, lane: int):
        super().__init__(make())
        self._make, self._seed, self._lane = make, seed, lane
        self._game = _atari_frames(self.env)
        space = self.observation_space
        self._blank = np.zeros(space.shape, space.dtype)
        self.episode = -1
        self.actions: list[int] = []
        self.faults: list[Fault] = []

    @property
    def episode_seed(self) -> int:
        child = np.random.SeedSequence(self._seed.entropy, spawn_key=(*self._seed.spawn_key, self.episode))
        return int(child.generate_state(1)[0])

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        if self._game is not None and self._game.goes_on:
            self.actions.append(GOES_ON)
        else:
            self.episode += 1
            self.actions.clear()
        try:
            return self._begin(options), {}
        except Exception as error:  # whatever the user's environment raises
            self._keep(error, steps=0)
        with suppress(Exception):  # it is broken already, and nothing more is asked of it
            self.env.close()
        self.env = self._make()
        self._game = _atari_frames(self.env)
        self.actions.clear()
        return self._begin(options), {}

    def _begin(self, options: dict | None) -> NDArray:
        begin()
        return checked(self.env.reset(seed=self.episode_seed, options=options)[0], self._blank)

    def step(self, action: int):
        self.actions.append(int(action))
        begin()
        try:
            observation, reward, terminated, truncated, _ = self.env.step(action)
            observation, reward = checked(observation, self._blank), checked_reward(reward)
        except Exception as error:  # whatever the user's environment raises
            self._keep(error, steps=1)
            if self._game is not None:
                self._game.goes_on = False
            return self._blank, 0.0, False, True, {}
        if terminated or truncated:
            # An environment may write all its observations into one array; the reset that follows would overwrite it.
            observation = np.array(observation)
        # No info: nobody reads it, and the vector environment fails where the lanes' infos differ in shape.
        return observation, reward, terminated, truncated, {}

    def _keep(self, error: Exception, steps: int) -> None:
        self.faults.append(fault_of(error, self._lane, self.episode_seed, steps))

    def play_again(self, episode: int, actions: NDArray) -> NDArray:
        """Bring the environment to where `actions` led in that episode; returns the observation there."""
        if self._game is not None:
            self._game.goes_on = False
        self.episode = episode - 1
        observation, _ = self.reset()
        for action in actions:
            observation = self.reset()[0] if action == GOES_ON else self._step_again(int(action))
        return observation

    def _step_again(self, action: int) -> NDArray:
        """As it went well before, it must now: whatever is raised is the caller's."""
        self.actions.append(action)
        return checked(self.env.step(action)[0], self._blank)


class SyncLanes:
    """Any Gymnasium environment, stepped lane after lane in this process."""

    def __init__(
        self,
        config: EnvConfig,
        spec: EnvSpec,
        lanes: int,
        seed: np.random.SeedSequence,
        injected: Injected = NOTHING,
    ):
        self._spec = spec
        children = [*enumerate(seed.spawn(lanes))]
        faults = seed.spawn(lanes)
        makers = [
            lambda lane=lane, child=child: Tape(lambda: injected.into(make(config), faults[lane]), child, lane)
            for lane, child in children
        ]
        # copy=False: the rollout copies every observation into its own buffer at once.
        self._envs = SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)

    def reset(self) -> NDArray:
        return self._envs.reset()[0]

    def step(self, action: NDArray[np.int64]) -> LaneStep:
        observation, reward, terminated, truncated, info = self._envs.step(action + self._spec.action_start)
        after = observation
        if "final_obs" in info:
            after = observation.copy()
            for lane in np.flatnonzero(info["_final_obs"]):
                after[lane] = info["final_obs"][lane]
        return LaneStep(observation, after, reward, terminated, truncated, self._faults())

    def _faults(self) -> tuple[Fault, ...]:
        """What failed since the last call."""
        failed = [tape for tape in self._envs.envs if tape.faults]
        faults = tuple(fault for tape in failed for fault in tape.faults)
        for tape in failed:
            tape.faults.clear()
        return faults

    def state(self) -> State:
        return {
            str(lane): {"episode": tape.episode, "actions": np.array(tape.actions, np.int64)}
            for lane, tape in enumerate(self._envs.envs)
        }

    def restore(self, state: State) -> NDArray:
        return np.stack(
            [
                tape.play_again(state[str(lane)]["episode"], state[str(lane)]["actions"])
                for lane, tape in enumerate(self._envs.envs)
            ]
        )

    def close(self) -> None:
        self._envs.close()
