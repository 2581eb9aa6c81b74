"""Who acts in a step and with which probability: epsilon-greedily, by sampling, or the teacher in a student's place."""

import copy

import numpy as np
import pytest
import torch
from rollout_builders import CARTPOLE, WALK, build_rollout, constant, content, of_lanes, policies
from scipy import stats

from distributed_kd.config import EnvConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.rollouts.policies import Policies

FOUR = EnvConfig("Walk-v0", {"actions": 4})


def preferring(env, *actions):
    """Teacher and students that prefer these actions everywhere."""
    named = policies(read_spec(env), "teacher", "large", "small")
    return {name: constant(network, action) for (name, network), action in zip(named.items(), actions, strict=True)}


def collected(progress=0.0, *, env=FOUR, prefer=(2, 2, 2), steps=4000, **settings):
    """A long segment's actions, policies and probabilities, each [N, T]."""
    named = settings.pop("named", None) or preferring(env, *prefer)
    rollout, weights = build_rollout(env, named=named, steps=steps, **settings)
    segment, _ = rollout.collect(weights, progress)
    return of_lanes(segment, steps, "action", "policy", "probability")


def test_probabilities_of_epsilon_greedy_by_hand_and_by_frequency():
    # Four actions. Epsilon .2: .2 / 4 = .05, and .05 + .8 = .85 for the best. On the last rung .04: .01 and .97.
    action, policy, probability = collected(plan=(0, 0, 1), rung=(0.0, 1.0, 0.0), start=0.2, end=0.2, student_epsilon=0.4)
    assert probability.dtype == np.float32
    assert policy[:, 0].tolist() == [0, 0, 1]
    for lane, (best, other) in enumerate([(0.85, 0.05), (0.97, 0.01), (0.7, 0.1)]):
        np.testing.assert_array_equal(probability[lane], np.where(action[lane] == 2, np.float32(best), np.float32(other)))
        # 4,000 steps: standard errors of at most .0073
        shares = np.bincount(action[lane], minlength=4) / 4000
        assert shares == pytest.approx([other, other, best, other], abs=0.03)


def test_what_is_no_step_has_no_probability():
    rollout, weights = build_rollout(FOUR, steps=50)
    segment, _ = rollout.collect(weights, 0.0)
    assert (segment.probability[segment.is_step] > 0).all()
    assert (segment.probability[~segment.is_step] == 0).all()
    assert (~segment.is_step).sum() > 20


def test_a_sampled_student_draws_from_the_softmax_of_its_outputs():
    named = preferring(FOUR, 3, 0, 0)
    shares = np.array([0.5, 0.25, 0.125, 0.125])
    with torch.no_grad():
        named["large"].advantage.bias.copy_(torch.from_numpy(np.log(shares)) + 7.0)
    action, policy, probability = collected(
        named=named, plan=(0, 1, 1, 2), start=0, end=0, student_epsilon=0.4, sampled={"large"}
    )
    assert policy[:, 0].tolist() == [0, 1, 1, 2]
    assert (action[0] == 3).all() and (probability[0] == 1.0).all()
    np.testing.assert_allclose(probability[1:3], shares[action[1:3]], rtol=1e-5)
    for lane in (1, 2):
        assert stats.chisquare(np.bincount(action[lane], minlength=4), shares * 4000).pvalue > 1e-3
    # The student that is not named goes on epsilon-greedily: .4 / 4 = .1, and .1 + .6 = .7.
    np.testing.assert_array_equal(probability[3], np.where(action[3] == 0, np.float32(0.7), np.float32(0.1)))


def test_each_sampled_lane_acts_on_its_own_observation():
    """With outputs a thousand times as large a draw from their softmax is the best action."""
    named = policies(read_spec(FOUR), "teacher", "large", "small")
    with torch.no_grad():
        named["large"].advantage.weight.mul_(1e6)
    rollout, weights = build_rollout(FOUR, named=named, plan=(0, 1, 1, 1, 2), steps=60, sampled={"large"})
    segment, _ = rollout.collect(weights, 0.0)
    ours = segment.policy == 1
    best = named["large"](torch.from_numpy(segment.observation[ours])).argmax(1).numpy()
    assert len(set(best)) > 1
    np.testing.assert_array_equal(segment.action[ours], best)


def test_with_beta_one_the_teacher_acts_in_every_lane_of_a_student():
    named = policies(read_spec(FOUR), "teacher", "large", "small")
    rollout, weights = build_rollout(
        FOUR, named=named, plan=(0, 0, 1, 1, 2), steps=60, beta=(1.0, 1.0, 0.5), student_epsilon=1.0, sampled={"small"}
    )
    segment, account = rollout.collect(weights, 0.0)
    assert (segment.policy[segment.is_step] == 0).all()
    rows = np.flatnonzero(segment.is_step)
    students = rows[2 * 60 :]
    best = {name: network(torch.from_numpy(segment.observation)).argmax(1).numpy() for name, network in named.items()}
    np.testing.assert_array_equal(segment.action[students], best["teacher"][students])
    assert (segment.probability[students] == 1.0).all()
    for name in ("large", "small"):
        assert (best[name] != best["teacher"])[students].any(), "or the student would have done the same"
    # The teacher's own lanes are at epsilon 1 as before: .25 each.
    assert (segment.probability[rows[: 2 * 60]] == 0.25).all()
    assert set(account.policy) == {0, 1, 2}, "an episode is that of the lane's own policy"


def test_beta_moves_along_its_schedule():
    settings = {"plan": (0, 1, 2), "prefer": (2, 3, 1), "beta": (0.8, 0.2, 0.5), "student_epsilon": 0.0}
    # Half way along the fraction: (.8 + .2) / 2. Past it: .2.
    for progress, beta in [(0.0, 0.8), (0.25, 0.5), (0.5, 0.2), (1.0, 0.2)]:
        action, policy, probability = collected(progress, **settings)
        assert (policy[0] == 0).all()
        for lane, own in [(1, 3), (2, 1)]:
            np.testing.assert_array_equal(policy[lane], np.where(action[lane] == 2, 0, lane))
            assert set(action[lane]) == {2, own}
            # 4,000 steps: standard errors of at most .008
            assert (policy[lane] == 0).mean() == pytest.approx(beta, abs=0.03)
        assert (probability[1:] == 1.0).all()


def test_beside_the_teacher_students_explore_and_sample_as_ever():
    action, policy, probability = collected(
        prefer=(2, 3, 1), plan=(1, 2), beta=(0.5, 0.5, 0.5), student_epsilon=0.4, sampled={"small"}
    )
    taught, ours = policy == 0, policy != 0
    assert (action[taught] == 2).all() and (probability[taught] == 1.0).all()
    # Epsilon .4: .1, and .7 for the best. Softmax of (0, 1, 0, 0): 1 / (e + 3) = .1749, and e / (e + 3) = .4754.
    np.testing.assert_array_equal(
        probability[0][ours[0]], np.where(action[0][ours[0]] == 3, np.float32(0.7), np.float32(0.1))
    )
    np.testing.assert_allclose(probability[1][ours[1]], np.where(action[1][ours[1]] == 1, 0.4754, 0.1749), atol=1e-4)
    for lane, shares in enumerate([(0.1, 0.1, 0.1, 0.7), (0.1749, 0.4754, 0.1749, 0.1749)]):
        counts = np.bincount(action[lane][ours[lane]], minlength=4) / ours[lane].sum()
        # About 2,000 steps: standard errors of at most .0112
        assert counts == pytest.approx(shares, abs=0.04)


def test_without_sampling_and_beta_the_random_stream_is_read_as_ever():
    """A segment takes T * N numbers, then T * N actions, and nothing else: runs of before can be had again."""
    stream = np.random.default_rng(np.random.SeedSequence(3).spawn(2)[1])
    rollout, weights = build_rollout(WALK, named=preferring(WALK, 2, 3, 4), seed=3, start=0.6, end=0.6, student_epsilon=0.3)
    for _ in range(3):
        segment, _ = rollout.collect(weights, 0.0)
        explores = stream.random((8, 6)) < [0.6, 0.6, 0.6, 0.3, 0.3, 0.3]
        expected = np.where(explores, stream.integers(0, 5, (8, 6)), [2, 2, 2, 3, 3, 4])
        np.testing.assert_array_equal(of_lanes(segment, 8, "action")[0].T, expected)
    assert rollout.state()["random"] == stream.bit_generator.state


def test_once_beta_has_come_to_nothing_all_is_as_without_it(monkeypatch):
    asked, greedy = set(), Policies.greedy
    monkeypatch.setattr(Policies, "greedy", lambda self, name, seen: asked.add(name) or greedy(self, name, seen))
    with_beta, weights = build_rollout(plan=(1, 1, 2), beta=(1.0, 0.0, 0.5))
    without, _ = build_rollout(plan=(1, 1, 2))
    assert content(with_beta.collect(weights, 0.5)) == content(without.collect(weights, 0.5))
    assert not asked, "the teacher was asked for nothing"
    with_beta.collect(weights, 0.4)
    assert asked == {"teacher"}


@pytest.mark.parametrize("env", [CARTPOLE, WALK], ids=["cartpole", "walk"])
def test_restored_it_samples_and_is_taught_as_if_nothing_had_happened(env):
    first, weights = build_rollout(env, sampled={"large"}, beta=(0.6, 0.2, 1.0))
    first.collect(weights, 0.1)
    state = copy.deepcopy(first.state())
    expected = [content(first.collect(weights, progress)) for progress in (0.2, 0.9)]
    second, _ = build_rollout(env, sampled={"large"}, beta=(0.6, 0.2, 1.0))
    second.restore(state)
    assert [content(second.collect(weights, progress)) for progress in (0.2, 0.9)] == expected
