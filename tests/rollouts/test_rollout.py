import copy

import numpy as np
import pytest
from rollout_builders import CARTPOLE, WALK, build_rollout, constant, content, pieces, policies

from distributed_kd.config import EnvConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.errors import EnvironmentFault
from distributed_kd.records import Weights
from distributed_kd.rollouts import rollout as rollout_module

ACROBOT = EnvConfig("Acrobot-v1", {"max_episode_steps": 45})


class Watched:
    """Lanes that note what they gave: the observation acted on, the action, and the step that it led to."""

    def __init__(self, lanes):
        self.lanes, self.log = lanes, []

    def reset(self):
        self.now = np.array(self.lanes.reset())
        return self.now

    def step(self, action):
        step = self.lanes.step(action)
        self.log.append((self.now, action.copy(), *(np.array(value) for value in vars(step).values())))
        self.now = self.log[-1][2]
        return step


@pytest.fixture
def watched(monkeypatch):
    """All lanes made in this test, each watched."""
    made, real = [], rollout_module.make_lanes

    def make_lanes(*arguments):
        made.append(Watched(real(*arguments)))
        return made[-1]

    monkeypatch.setattr(rollout_module, "make_lanes", make_lanes)
    return made


@pytest.mark.parametrize("env", [WALK, CARTPOLE], ids=["walk", "cartpole"])
def test_a_segment_holds_what_its_lanes_gave(env, watched):
    rollout, weights = build_rollout(env, steps=25, gamma=0.9)
    for version in range(3):
        segment, _ = rollout.collect(Weights(version, weights.flat), 0.1)
        log, watched[0].log = watched[0].log, []
        assert len(log) == 25
        rows = []
        for lane, policy in enumerate([0, 0, 0, 1, 1, 2]):
            for t, (seen, action, _, after, reward, terminated, truncated) in enumerate(log):
                discount = 0.0 if terminated[lane] else 0.9
                rows.append((seen[lane], action[lane], reward[lane], discount, True, policy, version))
                if terminated[lane] or truncated[lane] or t == 24:
                    rows.append((after[lane], 0, 0.0, 0.0, False, -1, -1))
        names = ("observation", "action", "reward", "discount", "is_step", "policy", "version")
        for name, column in zip(names, zip(*rows, strict=True), strict=True):
            ours = getattr(segment, name)
            np.testing.assert_array_equal(ours, np.array(column, ours.dtype), err_msg=name)
        segment.check_valid()


def test_each_lane_is_played_by_its_own_policy():
    named = policies(read_spec(WALK), "teacher", "large", "small")
    for action, network in enumerate(named.values()):
        constant(network, action)
    rollout, weights = build_rollout(named=named, start=0, end=0, student_epsilon=0)
    segment, _ = rollout.collect(weights, 0)
    np.testing.assert_array_equal(segment.action[segment.is_step], segment.policy[segment.is_step])


def test_segments_go_on_where_the_last_one_stopped():
    rollout, weights = build_rollout(steps=3)
    before = None
    for _ in range(12):
        segment, _ = rollout.collect(weights, 0.5)
        lanes = np.split(np.arange(len(segment.is_step)), np.flatnonzero(np.diff(np.cumsum(segment.is_step) // 3)) + 1)
        del lanes  # rows are told apart by what Walk writes into them, below
        firsts, lasts = {}, {}
        for rows in pieces(segment):
            mark, taken = segment.observation[rows[0], 0], segment.observation[rows[0], 1]
            firsts[mark] = taken
            lasts[segment.observation[rows[-1], 0]] = segment.observation[rows[-1], 1]
        # An episode is met at its start, or where the segment before has left it.
        for mark, taken in firsts.items():
            assert taken == 0 or before[mark] == taken
        before = lasts


def test_names_count_up_and_tell_the_life():
    rollout, weights = build_rollout(actor=4, incarnation=7)
    for sequence in range(3):
        assert rollout.sequence == sequence
        segment, stats = rollout.collect(Weights(20 + sequence, weights.flat), 0)
        for record in (segment, stats):
            assert (record.actor, record.incarnation, record.sequence) == (4, 7, sequence)
        assert stats.version == 20 + sequence
        assert stats.steps == segment.steps == 48


@pytest.mark.parametrize("env", [WALK, CARTPOLE], ids=["walk", "cartpole"])
def test_the_account_adds_up_with_the_rows(env):
    rollout, weights = build_rollout(env, steps=20)
    running = [(0.0, 0)] * 6
    told, counted = [], []
    for _ in range(5):
        segment, stats = rollout.collect(weights, 0)
        told += zip(stats.policy.tolist(), stats.episode_return.tolist(), stats.episode_length.tolist(), strict=True)
        assert (stats.policy.dtype, stats.episode_return.dtype, stats.episode_length.dtype) == (
            np.int16,
            np.float64,
            np.int64,
        )
        at = 0
        for lane in range(6):
            left = 20
            while left:
                steps = int(np.argmin(segment.is_step[at:]))
                total, length = running[lane]
                running[lane] = (total + segment.reward[at : at + steps].sum(), length + steps)
                left -= steps
                policy, last = segment.policy[at], segment.observation[at + steps]
                at += steps + 1
                if left or ended(env, segment, at - 2, last, running[lane][1]):
                    counted.append((int(policy), *running[lane]))
                    running[lane] = (0.0, 0)
        assert at == len(segment.is_step)
    assert len(told) > 10
    assert {policy for policy, _, _ in told} == {0, 1, 2}
    for ours, theirs in zip(sorted(told), sorted(counted), strict=True):
        assert (ours[0], ours[2]) == (theirs[0], theirs[2])
        assert ours[1] == pytest.approx(theirs[1], abs=1e-4)


def ended(env, segment, row, last, length):
    """Whether the lane's last step here was an episode's end too: its discount says so, or the environment's own rules."""
    if segment.discount[row] == 0.0:
        return True
    if env is CARTPOLE:
        return False  # random play never lasts for 500 steps
    seed_of_length = {0: None}
    del seed_of_length
    return False if length < 2 else truncated_walk(last)


def truncated_walk(last):
    return TRUNCATED.get((float(last[0]), float(last[1])), False)


TRUNCATED: dict = {}
