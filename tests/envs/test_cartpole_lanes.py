"""CartPole's lanes against Gymnasium's own vector form, bit for bit."""

import gymnasium as gym
import numpy as np
import pytest

from distributed_kd.config import EnvConfig
from distributed_kd.envs.cartpole_lanes import CartPoleLanes


def theirs_at(vector, state):
    """Gymnasium's lanes, put where ours stand."""
    vector.state, vector.steps = state["state"].copy(), state["steps"].copy()
    vector.prev_done = np.zeros_like(vector.prev_done)
    vector.np_random.bit_generator.state = state["random"]


@pytest.mark.parametrize("kwargs", [{}, {"sutton_barto_reward": True}, {"max_episode_steps": 12}])
@pytest.mark.parametrize("count", [1, 7, 64])
def test_every_step_is_gymnasiums_to_the_bit(kwargs, count):
    ours = CartPoleLanes(EnvConfig("CartPole-v1", kwargs), count, np.random.SeedSequence(3))
    now = ours.reset()
    envs = gym.make_vec("CartPole-v1", count, vectorization_mode="vector_entry_point", **kwargs)
    first, _ = envs.reset(seed=int(np.random.SeedSequence(3).generate_state(1)[0]))
    assert now.tobytes() == first.tobytes()
    ended = 0
    for action in np.random.default_rng(1).integers(0, 2, (200, count)):
        theirs_at(envs.unwrapped, ours.state())
        after, reward, terminated, truncated, _ = envs.step(action)
        step = ours.step(action)
        for one, other in zip(
            (step.after, step.reward, step.terminated, step.truncated), (after, reward, terminated, truncated), strict=True
        ):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        over = terminated | truncated
        ended += np.count_nonzero(over)
        # The ended lanes alone begin anew, from the generator where it stands.
        expected = after.copy()
        start = envs.unwrapped.np_random.uniform(-0.05, 0.05, (4, np.count_nonzero(over)))
        expected[over] = start.T.astype(np.float32)
        np.testing.assert_array_equal(step.observation, expected)
    assert ended > 3


def test_pushes_beyond_the_edge_end_as_well_as_falls():
    lanes = CartPoleLanes(EnvConfig("CartPole-v1"), 5, np.random.SeedSequence(0))
    lanes.reset()
    state = lanes.state()
    # The last step before the edge at 2.4 or the lean of 12 degrees, .2094, at a speed of 1; the fifth stays within.
    state["state"][:] = 0.0
    state["state"][0, :2], state["state"][1, :2] = (2.39, -2.39), (1.0, -1.0)
    state["state"][2, 2:4], state["state"][3, 2:4] = (0.2, -0.2), (1.0, -1.0)
    lanes.restore(state)
    step = lanes.step(np.zeros(5, np.int64))
    assert step.terminated.tolist() == [True, True, True, True, False]
    assert not step.truncated.any()


def test_what_never_changes_cannot_be_written_to():
    lanes = CartPoleLanes(EnvConfig("CartPole-v1"), 2, np.random.SeedSequence(0))
    lanes.reset()
    step = lanes.step(np.zeros(2, np.int64))
    for column in (step.reward, step.truncated):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
