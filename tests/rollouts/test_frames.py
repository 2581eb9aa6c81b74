"""The newest observations of each lane, stacked: by themselves, in a rollout and on their way through the replay."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_builders import build_rollout, content, policies

from distributed_kd.config import EnvConfig
from distributed_kd.data_config import ReplayConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.records import EnvSpec
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.replay import Replay
from distributed_kd.rollouts.evaluation import play
from distributed_kd.rollouts.frames import Frames

WALK = EnvConfig("Walk-v0", {"actions": 5}, frame_stack=3)
CARTPOLE = EnvConfig("CartPole-v1", frame_stack=3)


def spec_of(stack):
    return EnvSpec("Numbers", (2,), "float32", 4, frame_stack=stack)


def pictured(numbers):
    return np.stack([numbers, np.negative(numbers)], -1).astype(np.float32)


def numbers_of(frames):
    np.testing.assert_array_equal(frames[..., 1], -frames[..., 0])
    return frames[..., 0].tolist()


def test_two_lanes_by_hand():
    frames = Frames(spec_of(3), 2)
    frames.begin(pictured([1, 10]))
    assert numbers_of(frames.seen) == [[1, 1, 1], [10, 10, 10]]
    frames.push(pictured([2, 11]))
    assert numbers_of(frames.seen) == [[1, 1, 2], [10, 10, 11]]
    frames.push(pictured([3, 99]))
    frames.begin(pictured([20]), np.array([1]))  # lane 1 has ended in that step
    assert numbers_of(frames.seen) == [[1, 2, 3], [20, 20, 20]]
    frames.push(pictured([4, 21]))
    assert numbers_of(frames.seen) == [[2, 3, 4], [20, 20, 21]]
    assert numbers_of(frames.newest) == [4, 21]
    before, known = frames.before
    assert numbers_of(before) == [[2, 3], [20, 20]]
    assert known.tolist() == [2, 1]


def test_without_stacks_the_newest_is_all_that_is_seen():
    frames = Frames(spec_of(1), 2)
    frames.begin(pictured([1, 10]))
    frames.push(pictured([2, 11]))
    assert frames.seen.shape == (2, 2)
    assert numbers_of(frames.seen) == numbers_of(frames.newest) == [2, 11]
    before, known = frames.before
    assert (before.shape, known.tolist()) == ((2, 0, 2), [0, 0])


@settings(deadline=None, max_examples=60)
@given(stack=st.integers(1, 5), ends=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=20))
def test_what_is_seen_is_the_end_of_the_episode(stack, ends):
    count = iter(range(1, 1000))
    episodes = [[next(count)] for _ in range(3)]
    frames = Frames(spec_of(stack), 3)
    frames.begin(pictured([episode[-1] for episode in episodes]))
    for ended in ends:
        for episode in episodes:
            episode.append(next(count))
        frames.push(pictured([episode[-1] for episode in episodes]))
        for lane in np.flatnonzero(ended):
            episodes[lane] = [next(count)]
            frames.begin(pictured(episodes[lane]), np.array([lane]))
        expected = [([episode[0]] * stack + episode)[-stack:] for episode in episodes]
        assert numbers_of(frames.seen.reshape(3, stack, 2)) == expected
        before, known = frames.before
        assert numbers_of(before) == [one[:-1] for one in expected]
        assert known.tolist() == [min(len(episode), stack) - 1 for episode in episodes]


def test_what_is_handed_in_and_out_may_be_written_into():
    frames, now = Frames(spec_of(3), 2), pictured([1, 10])
    frames.begin(now)
    now[:] = 7
    frames.push(now)
    before, known = frames.before
    now[:] = 8
    assert frames.seen[..., 0].tolist() == [[1, 1, 7], [10, 10, 7]]
    before[:], known[:] = 9, 9
    assert frames.seen[..., 0].tolist() == [[1, 1, 7], [10, 10, 7]]
    assert frames.before[1].tolist() == [1, 1]


def test_restored_it_sees_the_same():
    first, second = Frames(spec_of(3), 2), Frames(spec_of(3), 2)
    first.begin(pictured([1, 10]))
    first.push(pictured([2, 11]))
    state = first.state()
    kept = copy.deepcopy(state)
    second.restore(state)
    for frames in (first, second):
        frames.push(pictured([3, 12]))
        frames.push(pictured([4, 13]))
        assert numbers_of(frames.seen) == [[2, 3, 4], [11, 12, 13]]
        assert frames.before[1].tolist() == [2, 2]
    np.testing.assert_equal(state, kept)


@pytest.mark.parametrize("env", [WALK, CARTPOLE], ids=["walk", "cartpole"])
def test_the_replay_gives_back_what_the_policies_saw(env):
    """Each policy, asked again for what was drawn, does what was done: in a ring that goes round many times."""
    spec = read_spec(env)
    named = policies(spec, "teacher", "large", "small")
    rollout, weights = build_rollout(env, named=named, steps=8, start=0, end=0, student_epsilon=0)
    replay = Replay(spec, ReplayConfig(capacity=150), 1, 0.0, Pace(0, 1, 100, 0), np.random.SeedSequence(0))
    for _ in range(12):
        replay.add(rollout.collect(weights, 0.0)[0])
        batch = replay.sample(1)[0].split()[0]
        assert batch.observation.shape == (100, 3, *spec.observation_shape)
        acted = replay.state()["rows"]["policy"][batch.row % 150]
        best = {
            number: network(torch.from_numpy(batch.observation)).argmax(1).numpy()
            for number, network in enumerate(named.values())
        }
        for number in range(3):
            np.testing.assert_array_equal(batch.action[acted == number], best[number][acted == number])
        # What is seen next is what was seen, one frame on.
        np.testing.assert_array_equal(batch.next_observation[:, :2], batch.observation[:, 1:])
    assert len(np.unique(batch.action)) > 1, "or any constant would do"
    assert replay.receipt().evicted > 300
    first = batch.observation[:, -1]
    alone = named["teacher"](torch.from_numpy(np.repeat(first[:, None], 3, 1))).argmax(1).numpy()
    assert (alone != best[0]).any(), "the frames before the newest matter"


@pytest.mark.parametrize("n_step", [1, 3])
def test_stacks_of_a_rollout_stay_within_their_episodes(n_step):
    spec = read_spec(WALK)
    rollout, weights = build_rollout(WALK, steps=6, gamma=0.9)
    replay = Replay(spec, ReplayConfig(capacity=120), n_step, 0.0, Pace(0, 1, 200, 0), np.random.SeedSequence(0))
    begun = set()
    for _ in range(8):
        replay.add(rollout.collect(weights, 0.0)[0])
        batch = replay.sample(1)[0].split()[0]
        for observation in (batch.observation, batch.next_observation):
            mark, taken, _ = np.moveaxis(observation, -1, 0)
            assert (mark == mark[:, -1:]).all(), "one episode"
            np.testing.assert_array_equal(taken, np.maximum(0, taken[:, -1:] + [-2, -1, 0]))
        begun |= set(batch.observation[:, -1, 1].tolist())
        walked = batch.next_observation[:, -1, 1] - batch.observation[:, -1, 1]
        assert ((walked >= 1) & (walked <= n_step)).all()
    assert begun >= {0.0, 1.0, 2.0, 3.0}


@pytest.mark.parametrize("env", [WALK, CARTPOLE], ids=["walk", "cartpole"])
def test_restored_in_the_middle_of_episodes_it_goes_on_to_the_byte(env):
    first, weights = build_rollout(env, steps=5)
    for progress in (0.0, 0.1):
        first.collect(weights, progress)
    state = copy.deepcopy(first.state())
    expected = [content(first.collect(weights, progress)) for progress in (0.2, 0.9)]
    second, _ = build_rollout(env, steps=5)
    second.collect(weights, 0.0)
    second.restore(state)
    assert [content(second.collect(weights, progress)) for progress in (0.2, 0.9)] == expected


def test_a_played_policy_sees_stacks_too():
    spec, seeds, asked = read_spec(WALK), list(range(12)), []

    def act(observation):
        asked.append(observation.copy())
        return np.zeros(len(observation), np.int64)

    played = play([gym.make("Walk-v0", actions=5) for _ in seeds], spec, act, seeds, keep=10_000)
    assert len(set(played.lengths)) > 3
    for step, observation in enumerate(asked):
        mark, taken, _ = np.moveaxis(observation, -1, 0)
        assert (mark == mark[:, -1:]).all()
        np.testing.assert_array_equal(taken, np.tile([max(0, step - 2), max(0, step - 1), step], (len(taken), 1)))
    assert played.observations.shape == (sum(played.lengths), 3, 3)
    theirs = np.concatenate(asked).reshape(-1, 9)
    ours = played.observations.reshape(-1, 9)
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])
