import copy

import gymnasium as gym
import numpy as np
import pytest
from small_environments import Recorded, Walk

from distributed_kd.config import EnvConfig
from distributed_kd.envs.lanes import CartPoleLanes, SyncLanes, make_lanes
from distributed_kd.envs.spec import read_spec


def lanes_of(config, count=3, seed=0):
    return make_lanes(config, read_spec(config), count, np.random.SeedSequence(seed))


def actions_of(config, steps, count, seed=1):
    return np.random.default_rng(seed).integers(0, read_spec(config).actions, (steps, count))


def stepped(lanes, action):
    """The columns of one step, copied: SyncLanes may write its next step into the same arrays."""
    step = lanes.step(action)
    columns = (step.observation, step.after, step.reward, step.terminated, step.truncated)
    return tuple(np.array(column) for column in columns)


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def balancing(observation):
    """Keeps CartPole's pole up for as long as it is asked to."""
    x, x_dot, theta, theta_dot = observation.T
    return (theta + 0.5 * theta_dot + 0.05 * x + 0.1 * x_dot > 0).astype(np.int64)


@pytest.mark.parametrize(
    ("id", "kwargs", "kind"),
    [
        ("CartPole-v1", {}, CartPoleLanes),
        ("CartPole-v1", {"sutton_barto_reward": True, "max_episode_steps": 9}, CartPoleLanes),
        # Words that only gymnasium.make knows, and a limit that means none only there.
        ("CartPole-v1", {"disable_env_checker": True}, SyncLanes),
        ("CartPole-v1", {"max_episode_steps": -1}, SyncLanes),
        ("Acrobot-v1", {}, SyncLanes),
    ],
)
def test_the_fast_form_is_taken_where_it_plays_the_same(id, kwargs, kind):
    lanes = lanes_of(EnvConfig(id, kwargs))
    assert type(lanes) is kind
    lanes.reset()
    truncated = stepped(lanes, np.zeros(3, np.int64))[4]
    assert not truncated.any()


@pytest.mark.parametrize(("inner", "limit"), [("Acrobot-v1", 25), ("CartPole-v1", 20), ("Walk-v0", 500)])
def test_sync_lanes_step_as_single_environments_do(inner, limit):
    config = EnvConfig("Recorded-v0", {"inner": inner, "max_episode_steps": limit})
    Recorded.made.clear()
    lanes = lanes_of(config)
    recorded = Recorded.made[-3:]
    now = np.array(lanes.reset())
    singles = [gym.make(inner, max_episode_steps=limit) for _ in recorded]
    for lane, single in enumerate(singles):
        np.testing.assert_array_equal(now[lane], single.reset(seed=recorded[lane].seeds[-1])[0])
    ends = set()
    for action in actions_of(config, 60, 3):
        observation, after, reward, terminated, truncated = stepped(lanes, action)
        for lane, single in enumerate(singles):
            expected, gained, dead, late, _ = single.step(int(action[lane]))
            np.testing.assert_array_equal(after[lane], expected)
            assert (reward[lane], terminated[lane], truncated[lane]) == (gained, dead, late)
            if dead or late:
                ends.add("terminated" if dead else "truncated")
                expected, _ = single.reset(seed=recorded[lane].seeds[-1])
            # After an end the next episode's first observation stands here at once: no step is lost to the reset.
            np.testing.assert_array_equal(observation[lane], expected)
    assert ends == {"Acrobot-v1": {"truncated"}}.get(inner, {"terminated", "truncated"})
    seeds = [seed for env in recorded for seed in env.seeds]
    assert len(set(seeds)) == len(seeds) > 6


@pytest.mark.parametrize("kwargs", [{}, {"sutton_barto_reward": True}, {"max_episode_steps": 12}])
def test_cartpole_lanes_step_as_gymnasiums_cartpole_does(kwargs):
    config, count = EnvConfig("CartPole-v1", kwargs), 4
    lanes = lanes_of(config, count)
    now = lanes.reset()
    singles = [gym.make("CartPole-v1", **kwargs) for _ in range(count)]
    for single in singles:
        single.reset(seed=0)
    ends, lengths = [], np.zeros(count, int)
    for action in actions_of(config, 120, count):
        state = lanes.state()["state"]
        np.testing.assert_array_equal(now, state.T.astype(np.float32))
        observation, after, reward, terminated, truncated = stepped(lanes, action)
        assert observation.dtype == after.dtype == np.float32
        lengths += 1
        for lane, single in enumerate(singles):
            # Put where the lane stands, since a last digit of difference grows over an episode.
            single.unwrapped.state = state[:, lane].copy()
            expected, gained, dead, late, _ = single.step(int(action[lane]))
            np.testing.assert_allclose(after[lane], expected, rtol=1e-6, atol=1e-7)
            assert (reward[lane], terminated[lane], truncated[lane]) == (gained, dead, late)
            if dead or late:
                ends.append("terminated" if dead else "truncated")
                assert np.abs(observation[lane]).max() <= 0.05
                assert not np.array_equal(observation[lane], after[lane])
                single.reset()
                lengths[lane] = 0
            else:
                np.testing.assert_array_equal(observation[lane], after[lane])
        now = observation
    assert len(ends) > 10
    assert ("truncated" in ends) == ("max_episode_steps" in kwargs)
    np.testing.assert_array_equal(lanes.state()["steps"], lengths)


def test_new_cartpole_episodes_start_all_over_the_range_and_never_alike():
    lanes = lanes_of(EnvConfig("CartPole-v1", {"max_episode_steps": 1}), 50)
    starts = [lanes.reset()] + [stepped(lanes, np.zeros(50, np.int64))[0] for _ in range(4)]
    starts = np.concatenate(starts)
    assert len(np.unique(starts, axis=0)) == 250
    # 1,000 draws from -.05 to .05: mean 0 with a standard error of .0009, standard deviation .1 / sqrt(12) = .0289.
    assert abs(starts.mean()) < 0.004
    assert starts.std() == pytest.approx(0.0289, abs=0.001)
    assert np.abs(starts).max() <= 0.05


@pytest.mark.parametrize("kwargs", [{}, {"disable_env_checker": True}], ids=["vector", "sync"])
def test_a_balanced_cartpole_is_truncated_at_500_steps(kwargs):
    lanes = lanes_of(EnvConfig("CartPole-v1", kwargs), 2)
    now = np.array(lanes.reset())
    for number in range(1, 1001):
        now, after, reward, terminated, truncated = stepped(lanes, balancing(now))
        assert not terminated.any()
        np.testing.assert_array_equal(reward, 1.0)
        assert truncated.tolist() == [number % 500 == 0] * 2, number
        if number % 500 == 0:
            assert (now != after).all()
            assert np.abs(now).max() <= 0.05


CASES = {
    "cartpole": EnvConfig("CartPole-v1"),
    "cartpole one by one": EnvConfig("CartPole-v1", {"disable_env_checker": True}),
    "acrobot": EnvConfig("Acrobot-v1", {"max_episode_steps": 30}),
    "walk": EnvConfig("Walk-v0", {"actions": 3, "start": 5}),
}


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
@pytest.mark.parametrize("before", [0, 1, 43])
def test_restored_lanes_go_on_as_if_nothing_had_happened(config, before):
    first, actions = lanes_of(config), actions_of(config, before + 60, 3)
    now = np.array(first.reset())
    for action in actions[:before]:
        now = stepped(first, action)[0]
    state = first.state()
    kept = copy.deepcopy(state)
    expected = [stepped(first, action) for action in actions[before:]]
    assert any(step[3].any() or step[4].any() for step in expected)
    np.testing.assert_equal(state, kept)  # a snapshot, which the steps since then have left alone

    second = lanes_of(config)
    second.reset()
    restored = np.array(second.restore(state))
    np.testing.assert_array_equal(restored, now)
    for action, step in zip(actions[before:], expected, strict=True):
        assert_same(stepped(second, action), step)
    np.testing.assert_equal(second.state(), first.state())


@pytest.mark.parametrize("config", CASES.values(), ids=CASES)
def test_one_seed_gives_one_future_and_lanes_of_their_own(config):
    def play(seed):
        lanes = lanes_of(config, seed=seed)
        start = np.array(lanes.reset())
        return [start, *(stepped(lanes, action)[0] for action in actions_of(config, 20, 3))]

    first, again, other = play(0), play(0), play(1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], other[0])
    assert len(np.unique(first[0], axis=0)) == 3


def test_actions_are_counted_from_the_first_one_there_is():
    lanes = lanes_of(EnvConfig("Walk-v0", {"actions": 3, "start": 5}))
    lanes.reset()
    after = stepped(lanes, np.array([0, 1, 2]))[1]
    np.testing.assert_array_equal(after[:, 2], [5, 6, 7])


@pytest.mark.filterwarnings("ignore:.*share an object")
def test_the_final_observation_survives_an_environment_that_writes_into_one_array():
    def play(one_array):
        config = EnvConfig("Walk-v0", {"one_array": one_array})
        lanes = lanes_of(config)
        lanes.reset()
        return [stepped(lanes, action) for action in actions_of(config, 30, 3)]

    for step, expected in zip(play(True), play(False), strict=True):
        assert_same(step, expected)


def test_infos_whose_shapes_differ_between_lanes_do_no_harm():
    config = EnvConfig("Walk-v0", {"odd_infos": True})
    lanes = lanes_of(config)
    lanes.reset()
    for action in actions_of(config, 30, 3):
        after = stepped(lanes, action)[1]
        np.testing.assert_array_equal(after[:, 2], action)


def test_every_episode_is_begun_with_a_seed():
    Walk.resets.clear()
    config = EnvConfig("Walk-v0")
    lanes = lanes_of(config)
    lanes.reset()
    for action in actions_of(config, 30, 3):
        lanes.step(action)
    assert None not in Walk.resets
    assert len(set(Walk.resets)) == len(Walk.resets) > 9
