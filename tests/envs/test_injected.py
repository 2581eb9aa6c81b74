"""envs.injected: environments that fail by chance, and no more often than that."""

import math

import gymnasium as gym
import numpy as np
import pytest

from distributed_kd.config import EnvConfig
from distributed_kd.envs.injected import NOTHING, Injected
from distributed_kd.envs.lanes import make_lanes
from distributed_kd.envs.spec import read_spec

SEED = np.random.SeedSequence(5)
STEPS = 20_000


def failures(faults, seed=SEED, steps=STEPS):
    """The steps at which the environment raised, or gave what cannot be learned from."""
    env = faults.into(gym.make("CartPole-v1"), seed)
    env.reset(seed=0)
    failed = []
    for step in range(steps):
        try:
            observation, reward, terminated, truncated, _ = env.step(step % 2)
        except RuntimeError:
            failed.append(step)
            continue
        if math.isnan(reward) or np.shape(observation) != (4,):
            failed.append(step)
        if terminated or truncated:
            env.reset()
    return failed


@pytest.mark.parametrize("fault", ["raises", "nan", "shape"])
def test_it_fails_by_the_chance_that_is_asked_for(fault):
    failed = failures(Injected(**{fault: 0.01}))
    assert abs(len(failed) - 200) < 5 * math.sqrt(200)
    assert failed == failures(Injected(**{fault: 0.01})), "the seed decides"
    assert failed != failures(Injected(**{fault: 0.01}), np.random.SeedSequence(6))


def test_without_faults_it_is_the_environment_itself():
    env = gym.make("CartPole-v1")
    assert NOTHING.into(env, SEED) is env


def test_lanes_fail_each_for_itself_and_are_told_of_it():
    config = EnvConfig("CartPole-v1")
    lanes = make_lanes(config, read_spec(config), 4, SEED, repeatable=False, injected=Injected(raises=0.02))
    lanes.reset()
    failed = [fault for _ in range(500) for fault in lanes.step(np.zeros(4, np.int64)).faults]
    assert {fault.reason for fault in failed} == {"env_error"}
    assert {fault.lane for fault in failed} == {0, 1, 2, 3}
    assert abs(len(failed) - 40) < 5 * math.sqrt(40)
