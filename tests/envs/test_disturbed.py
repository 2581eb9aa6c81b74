"""What noise and sticky actions do to an episode, and what they leave as it is."""

import gymnasium as gym
import numpy as np
import pytest
import small_environments  # noqa: F401 registers Walk-v0
from gymnasium.spaces import Box, Discrete

from distributed_kd.envs.disturbed import Disturbed


class Endless(gym.Env):
    """Observations that are always the same, of one kind or the other; notes the actions taken."""

    def __init__(self, value):
        self.value = value
        bytes_or_not = (0, 200, (3,), np.uint8) if value.dtype == np.uint8 else (-1, 1, (3,), np.float32)
        self.observation_space, self.action_space, self.taken = Box(*bytes_or_not), Discrete(3), []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.taken = []
        return self.value, {}

    def step(self, action):
        self.taken.append(action)
        return self.value, 0.0, False, False, {}


def episode(env, seed, actions=(0, 1) * 4):
    """Everything that is seen and paid in an episode of these actions."""
    told = [env.reset(seed=seed)[0].tobytes()]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        told.append((observation.tobytes(), observation.dtype, reward, terminated, truncated))
        if terminated or truncated:
            break
    return told


def noises(env, seed=0, steps=4_000):
    """What is added to 0 [steps, 3]."""
    env.reset(seed=seed)
    return np.array([env.step(0)[0] for _ in range(steps)])


@pytest.mark.parametrize("id", ["Walk-v0", "CartPole-v1"])
def test_no_noise_and_no_stickiness_leave_an_episode_as_it_is_to_the_bit(id):
    plain, disturbed = gym.make(id), Disturbed(gym.make(id), 0.0, 0.0)
    for seed in range(20):
        assert episode(disturbed, seed) == episode(plain, seed)


def test_each_number_has_noise_of_its_own_deviation_about_its_value():
    env = Disturbed(Endless(np.zeros(3, np.float32)), np.array([0.0, 0.5, 2.0]), 0.0)
    added = noises(env)
    assert added.dtype == np.float32
    assert (added[:, 0] == 0).all()
    # Of 4,000 draws a mean strays by 0.016 deviations and a deviation by 0.011 of itself.
    assert np.abs(added.mean(0)[1:] / (0.5, 2.0)).max() < 0.07
    assert added.std(0)[1:] == pytest.approx((0.5, 2.0), rel=0.05)
    assert abs(np.corrcoef(added[:, 1], added[:, 2])[0, 1]) < 0.07
    assert abs(np.corrcoef(added[1:, 1], added[:-1, 1])[0, 1]) < 0.07
    assert np.isinf(env.observation_space.high).all(), "noise keeps to no bounds"


def test_the_seed_decides_the_disturbances_whatever_was_played_before():
    env = Disturbed(Endless(np.zeros(3, np.float32)), 1.0, 0.5)
    first, taken = noises(env, 1, 50), list(env.unwrapped.taken)
    other = noises(env, 2, 50)
    assert np.array_equal(noises(env, 1, 50), first) and env.unwrapped.taken == taken
    assert not (first == other).any()
    without = Disturbed(Endless(np.zeros(3, np.float32)), 1.0, 0.0)
    assert np.array_equal(noises(without, 1, 50), first), "the same noise with sticky actions and without"


def test_what_the_environment_itself_draws_is_as_without():
    """A Walk's mark, length and end are drawn; what it pays hangs on nothing that is disturbed."""
    plain, noisy = gym.make("Walk-v0"), Disturbed(gym.make("Walk-v0"), 3.0, 0.9)
    for seed in range(20):
        ours, theirs = episode(noisy, seed), episode(plain, seed)
        assert [step[2:] for step in ours[1:]] == [step[2:] for step in theirs[1:]]
        assert ours[0] != theirs[0]
        states = [env.unwrapped.np_random.bit_generator.state for env in (noisy, plain)]
        assert states[0] == states[1]


def test_the_environments_own_observation_is_not_written_over():
    value = np.zeros(3, np.float32)
    noises(Disturbed(Endless(value), 1.0, 0.0), steps=3)
    assert not value.any()


def test_bytes_stay_bytes_that_can_be():
    env = Disturbed(Endless(np.array([0, 100, 200], np.uint8)), 20.0, 0.0)
    seen = noises(env)
    assert seen.dtype == np.uint8 and seen.min() == 0 and seen.max() == 200
    assert np.mean(seen[:, 1]) == pytest.approx(100, abs=1.5)
    assert np.std(seen[:, 1]) == pytest.approx(20, abs=1)
    assert (seen[:, 0] == 0).mean() == pytest.approx(0.5, abs=0.05), "half of the noise is cut off at the end of the range"


def test_the_action_before_is_taken_again_so_often():
    env = Disturbed(Endless(np.zeros(3, np.float32)), 0.0, 0.25)
    env.reset(seed=0)
    meant = np.tile([0, 1, 2], 1_400)
    for action in meant.tolist():
        env.step(action)
    taken = np.array(env.unwrapped.taken)
    assert taken[0] == 0, "there is none before the first"
    # Actions come round in turn, so that one taken again is never the one that is meant.
    again = taken[1:] != meant[1:]
    assert again.mean() == pytest.approx(0.25, abs=0.03)
    assert (taken[1:][again] == taken[:-1][again]).mean() > 0.85, "the one that was taken, not the one that was meant"
    follows = again[1:][again[:-1]]
    assert follows.mean() > 0.15, "several times in a row too"


def test_nothing_of_an_episode_sticks_to_the_next():
    env = Disturbed(Endless(np.zeros(3, np.float32)), 0.0, 0.99)
    for seed in range(20):
        env.reset(seed=seed)
        env.step(seed % 3)
        assert env.unwrapped.taken == [seed % 3]
