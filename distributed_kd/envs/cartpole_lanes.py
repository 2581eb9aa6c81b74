"""CartPole in NumPy, all lanes at once: Gymnasium's own vector form to the bit, without what it does besides each step."""

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from distributed_kd.config import EnvConfig
from distributed_kd.envs.lane_step import LaneStep
from distributed_kd.records import State


class CartPoleLanes:
    """Steps as Gymnasium's vector form does, with its numbers, its generator and its range of starts.

    By itself that resets a lane in the step *after* an end, which would be a step that nobody took (no reward, the action
    ignored). Here the ended lanes are drawn anew at once. The arrays of one step are written again by the next.
    """

    def __init__(self, config: EnvConfig, lanes: int, seed: np.random.SeedSequence):
        envs = gym.make_vec(config.id, lanes, vectorization_mode="vector_entry_point", **config.kwargs)
        vector = self._vector = envs.unwrapped
        self._first_seed = int(seed.generate_state(1)[0])
        self._forces = np.array([-vector.force_mag, vector.force_mag])
        self._limits = np.array([[vector.x_threshold], [vector.theta_threshold_radians]])
        # An episode is told by the step that it ends after at the latest: then nothing has to be counted in each step.
        self._clock = 0
        self._last_step = np.full(lanes, vector.max_episode_steps)
        self._soonest = vector.max_episode_steps
        self._state = np.zeros((4, lanes))  # x, its speed, the angle, its speed
        self._rate = np.empty((4, lanes))
        self._work = np.empty((5, lanes))
        self._magnitude, self._outside = np.empty((2, lanes)), np.empty((2, lanes), np.bool_)
        self._observation = np.empty((4, lanes), np.float32)
        self._terminated = np.empty(lanes, np.bool_)
        self._reward, self._in_time = np.ones(lanes, np.float32), np.zeros(lanes, np.bool_)
        self._reward.flags.writeable = self._in_time.flags.writeable = False  # given out as they are, step after step
        self._pays_for_the_end = vector._sutton_barto_reward

    def reset(self) -> NDArray:
        observation, _ = self._vector.reset(seed=self._first_seed)
        self._state[:] = self._vector.state
        self._begin(slice(None))
        return observation

    def step(self, action: NDArray[np.int64]) -> LaneStep:
        self._move(action)
        self._clock += 1
        np.copyto(self._observation, self._state, casting="same_kind")
        terminated, truncated, reward = self._ends(), self._in_time, self._reward
        after = self._observation.T
        if self._pays_for_the_end:
            reward = -terminated.astype(np.float32)
        if self._clock >= self._soonest:
            truncated = self._last_step <= self._clock
        elif not np.count_nonzero(terminated):
            return LaneStep(after, after, reward, terminated, truncated)
        ended = terminated | truncated
        vector = self._vector
        self._state[:, ended] = vector.np_random.uniform(vector.low, vector.high, (4, np.count_nonzero(ended)))
        self._begin(ended)
        return LaneStep(self._state.T.astype(np.float32), after, reward, terminated, truncated)

    def _move(self, action: NDArray[np.int64]) -> None:
        """One step of Euler's method. The order of the operations is Gymnasium's: another one would round otherwise."""
        vector, state, rate = self._vector, self._state, self._rate
        angle, angle_rate, sway = state[2], rate[3], rate[1]
        cosine, sine, push, work, divisor = self._work
        np.cos(angle, cosine)
        np.sin(angle, sine)
        # push = (force + polemass_length * angle_speed ** 2 * sine) / total_mass
        np.square(state[3], push)
        np.multiply(push, vector.polemass_length, push)
        np.multiply(push, sine, push)
        np.add(push, self._forces.take(action), push)
        np.divide(push, vector.total_mass, push)
        # rate[3] = (gravity * sine - cosine * push) / (length * (4 / 3 - masspole * cosine ** 2 / total_mass))
        np.multiply(sine, vector.gravity, sine)
        np.multiply(cosine, push, work)
        np.subtract(sine, work, angle_rate)
        np.square(cosine, divisor)
        np.multiply(divisor, vector.masspole, divisor)
        np.divide(divisor, vector.total_mass, divisor)
        np.subtract(4.0 / 3.0, divisor, divisor)
        np.multiply(divisor, vector.length, divisor)
        np.divide(angle_rate, divisor, angle_rate)
        # rate[1] = push - polemass_length * rate[3] * cosine / total_mass
        np.multiply(angle_rate, vector.polemass_length, work)
        np.multiply(work, cosine, work)
        np.divide(work, vector.total_mass, work)
        np.subtract(push, work, sway)
        rate[::2] = state[1::2]
        np.multiply(rate, vector.tau, rate)
        np.add(state, rate, state)

    def _ends(self) -> NDArray[np.bool_]:
        np.abs(self._state[::2], self._magnitude)
        np.greater(self._magnitude, self._limits, self._outside)
        return np.logical_or(*self._outside, self._terminated)

    def _begin(self, lanes: NDArray[np.bool_] | slice) -> None:
        """Let these lanes' episodes begin now."""
        self._last_step[lanes] = self._clock + self._vector.max_episode_steps
        self._soonest = int(self._last_step.min())

    def state(self) -> State:
        return {
            "state": self._state.copy(),
            "steps": (self._clock + self._vector.max_episode_steps - self._last_step).astype(np.int32),
            "random": self._vector.np_random.bit_generator.state,
        }

    def restore(self, state: State) -> NDArray:
        self._vector.reset()
        self._state[:] = state["state"]
        self._last_step = self._clock + self._vector.max_episode_steps - state["steps"].astype(np.int64)
        self._soonest = int(self._last_step.min())
        self._vector.np_random.bit_generator.state = state["random"]
        return self._state.T.astype(np.float32)

    def close(self) -> None:
        self._vector.close()
