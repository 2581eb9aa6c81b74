import copy

import numpy as np
import pytest
from rollout_builders import CARTPOLE, WALK, build_rollout, constant, content, pieces, policies, weights_of

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
        self.log.append((self.now, action.copy(), *(np.array(value) for value in list(vars(step).values())[:5])))
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
    left_at = {}
    for _ in range(12):
        segment, _ = rollout.collect(weights, 0.5)
        before, left_at = left_at, {}
        for rows in pieces(segment):
            (mark, taken, _), (_, last, _) = segment.observation[rows[0]], segment.observation[rows[-1]]
            # An episode, told by its mark, is met at its start or where the segment before has left it.
            assert taken == before.get(mark, 0)
            assert last == taken + len(rows) - 1
            left_at[mark] = last
    assert len(left_at) >= 6


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
def test_the_account_adds_up_with_the_rows(env, watched):
    rollout, weights = build_rollout(env, steps=20)
    total, length, expected = np.zeros(6), np.zeros(6, int), []
    for _ in range(5):
        segment, stats = rollout.collect(weights, 0)
        log, watched[0].log = watched[0].log, []
        reward = segment.reward[segment.is_step].reshape(6, 20)
        for t, (_, _, _, _, _, terminated, truncated) in enumerate(log):
            total += reward[:, t]
            length += 1
            for lane in np.flatnonzero(terminated | truncated):
                expected.append(([0, 0, 0, 1, 1, 2][lane], total[lane], length[lane]))
                total[lane] = length[lane] = 0
        assert expected
        policies_ended, returns, lengths = zip(*expected, strict=True)
        expected.clear()
        assert stats.policy.tolist() == list(policies_ended)
        np.testing.assert_allclose(stats.episode_return, returns, atol=1e-4)
        assert stats.episode_length.tolist() == list(lengths)


def test_an_account_without_ended_episodes_is_empty_and_typed():
    rollout, weights = build_rollout(steps=1)
    _, stats = rollout.collect(weights, 0)
    columns = (stats.policy, stats.episode_return, stats.episode_length)
    assert [(len(column), column.dtype) for column in columns] == [(0, np.int16), (0, np.float64), (0, np.int64)]


def explored(progress, *, lanes=(0,), rung=(0.0,), steps=4000, **settings):
    """Share of the steps of each lane that did not take the policy's own action, as a share of what random play does."""
    spec = read_spec(WALK)
    named = {name: constant(network, 2) for name, network in policies(spec, "teacher", "large", "small").items()}
    rollout, weights = build_rollout(plan=lanes, rung=list(rung), steps=steps, named=named, **settings)
    segment, _ = rollout.collect(weights, progress)
    others = segment.action[segment.is_step].reshape(len(lanes), steps) != 2
    return others.mean(1) / 0.8  # four of five random actions are others


def test_at_the_start_the_teacher_plays_at_random_and_students_hardly_ever():
    teacher, student = explored(0.0, lanes=(0, 1), rung=(1.0, 0.0))
    # 4,000 steps: standard errors .008 and .0025
    assert teacher == pytest.approx(1.0, abs=0.03)
    assert student == pytest.approx(0.02, abs=0.01)


def test_epsilon_falls_along_its_schedule_and_down_the_ladder():
    # Half way along the fraction: (1 + .2) / 2 = .6; on the last rung of ladder 1 its square.
    top, bottom = explored(0.25, lanes=(0, 0), rung=(0.0, 1.0), end=0.2, fraction=0.5)
    assert top == pytest.approx(0.6, abs=0.03)
    assert bottom == pytest.approx(0.36, abs=0.03)
    # Past it: .2, and on a half rung of ladder 2 its square.
    top, middle = explored(0.9, lanes=(0, 0), rung=(0.0, 0.5), end=0.2, fraction=0.5, ladder=2.0)
    assert top == pytest.approx(0.2, abs=0.03)
    assert middle == pytest.approx(0.04, abs=0.015)


def test_the_students_share_of_random_steps_does_not_move():
    shares = [explored(progress, lanes=(1,), student_epsilon=0.3)[0] for progress in (0.0, 1.0)]
    assert shares == pytest.approx([0.3, 0.3], abs=0.03)


def test_random_actions_are_uniform():
    rollout, weights = build_rollout(plan=(0,), steps=5000)
    segment, _ = rollout.collect(weights, 0.0)
    counts = np.bincount(segment.action[segment.is_step], minlength=5)
    # 1,000 each, standard deviation 28
    assert np.abs(counts - 1000).max() < 120


@pytest.mark.parametrize("env", [WALK, CARTPOLE], ids=["walk", "cartpole"])
def test_one_seed_gives_one_run_to_the_byte(env):
    (first, weights), (again, _), (other, _) = (build_rollout(env, seed=seed) for seed in (0, 0, 1))
    for progress in (0.0, 0.1, 1.0):
        ours = content(first.collect(weights, progress))
        assert content(again.collect(weights, progress)) == ours
        assert content(other.collect(weights, progress))["observation"] != ours["observation"]


@pytest.mark.parametrize("env", [CARTPOLE, ACROBOT, WALK], ids=["cartpole", "acrobot", "walk"])
def test_restored_in_the_middle_of_episodes_it_goes_on_to_the_byte(env):
    first, weights = build_rollout(env, steps=10, incarnation=3)
    for progress in (0.0, 0.05, 0.1):
        first.collect(weights, progress)
    state = first.state()
    kept = copy.deepcopy(state)
    assert (state["length"] > 0).any()
    expected = [content(first.collect(weights, progress)) for progress in (0.15, 0.2, 0.6)]
    assert any(one["stats.episode_length"][1] != (0,) for one in expected), "no episode has run across the state"
    np.testing.assert_equal(state, kept)

    second, _ = build_rollout(env, steps=10, incarnation=3)
    second.collect(weights, 0.0)
    second.restore(state)
    assert second.sequence == 3
    assert [content(second.collect(weights, progress)) for progress in (0.15, 0.2, 0.6)] == expected


def test_an_environment_that_cannot_begin_an_episode_is_named():
    with pytest.raises(EnvironmentFault, match=r"env\.id=Walk-v0.*OSError: no such level"):
        build_rollout(EnvConfig("Walk-v0", {"fault": "reset"}))


def test_a_fault_behind_the_reset_of_the_restored_lanes_is_named():
    rollout, weights = build_rollout(EnvConfig("Walk-v0", {"fault": "step", "fault_at": 20}))
    rollout.collect(weights, 0)
    state = rollout.state()
    state["lanes"]["0"]["actions"] = np.zeros(30, np.int64)
    with pytest.raises(EnvironmentFault, match="the engine stalled"):
        rollout.restore(state)


def test_lanes_that_do_not_come_back_to_where_they_were_are_told():
    rollout, weights = build_rollout(WALK, steps=10)
    rollout.collect(weights, 0)
    state = rollout.state()
    state["lanes"]["2"]["episode"] += 1  # as if the environment drew something that its seed does not decide
    with pytest.raises(EnvironmentFault, match=r"cannot be resumed exactly.*--runner ray"):
        rollout.restore(state)


def test_older_weights_than_those_at_hand_are_not_taken_over():
    """A call that was lost on the way and is repeated comes behind a later one."""
    named = [policies(read_spec(WALK), "teacher", "large", "small") for _ in range(2)]
    for action, networks in enumerate(named):
        for network in networks.values():
            constant(network, action)
    rollout, _ = build_rollout(named=named[0], start=0, end=0, student_epsilon=0)
    older, newer = weights_of(named[0], version=6), weights_of(named[1], version=7)

    def played(weights):
        segment, stats = rollout.collect(weights, 0)
        return set(segment.action[segment.is_step]), set(segment.version[segment.is_step]), stats.version

    assert played(newer) == ({1}, {7}, 7)
    assert played(older) == ({1}, {7}, 7)
    rollout.renew(1)
    assert played(older) == ({0}, {6}, 6), "the run went back"
