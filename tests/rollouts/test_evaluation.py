import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from rollout_builders import blank, constant, policies, weights_of
from small_environments import Walk

from distributed_kd.config import EnvConfig, RunConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.rollouts.evaluation import RANDOM, Evaluator, play
from distributed_kd.rollouts.rollout import Rollout
from distributed_kd.student_config import StudentConfig
from distributed_kd.training.parts import Parts

# Rewards far outside of -1 to 1, and lives that are lost on the way.
HUGE = EnvConfig("Walk-v0", {"actions": 3, "start": 4, "scale": 1000.0})


def evaluator_of(env=HUGE, named=None, episodes=12, seed=0):
    spec = read_spec(env)
    named = named or policies(spec, "teacher", "large", "small")
    seed = np.random.SeedSequence(seed)
    evaluator = Evaluator(env=env, spec=spec, networks=blank(named), episodes=episodes, seed=seed)
    return evaluator, weights_of(named, 30)


def seeds_of(call):
    """Result of the call, and the seeds of the resets of every Walk meanwhile."""
    Walk.resets.clear()
    result = call()
    return result, list(Walk.resets)


def by_hand(env, seed, action):
    """Return, length and observations of one whole episode of a constant action, played alone."""
    single = gym.make(env.id, **env.kwargs)
    now, _ = single.reset(seed=seed)
    total, seen, over = 0.0, [], False
    while not over:
        seen.append(now)
        now, reward, terminated, truncated, _ = single.step(action)
        total += reward
        over = terminated or truncated
    return total, len(seen), seen


def test_whole_episodes_with_true_rewards():
    spec = read_spec(HUGE)
    seeds = list(range(20))
    asked = []

    def act(observation):
        asked.append(len(observation))
        return np.full(len(observation), 1)

    played = play([gym.make(HUGE.id, **HUGE.kwargs) for _ in seeds], spec, act, seeds, keep=1_000)
    expected = [by_hand(HUGE, seed, 5) for seed in seeds]
    assert played.returns == pytest.approx([total for total, _, _ in expected])
    assert played.lengths == tuple(length for _, length, _ in expected)
    assert max(map(abs, played.returns)) > 1000
    assert len(set(played.lengths)) > 3
    # Only those still playing are asked: all in the first step, and as many as last for k steps in step k.
    assert asked == [sum(length > k for length in played.lengths) for k in range(max(played.lengths))]
    # All observations are kept where there is room for all.
    ours, theirs = played.observations, np.concatenate([seen for _, _, seen in expected])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def test_every_policy_is_scored_by_its_own_episodes():
    named = {name: constant(one, n) for n, (name, one) in enumerate(policies(read_spec(HUGE), "teacher", "a", "b").items())}
    evaluator, weights = evaluator_of(named=named)
    for final in (False, True):
        evaluation, seeds = seeds_of(lambda final=final: evaluator.evaluate(weights, final))
        assert evaluation.version == 30
        assert list(evaluation.scores) == [RANDOM, "teacher", "a", "b"]
        for number, name in enumerate(named):
            score = evaluation.scores[name]
            expected = [by_hand(HUGE, seed, 4 + number) for seed in seeds[:12]]
            assert score.returns == pytest.approx([total for total, _, _ in expected])
            assert score.lengths == tuple(length for _, length, _ in expected)
            assert score.version == 30
        assert evaluation.scores[RANDOM].version == -1


def test_all_policies_meet_the_same_seeds_and_progress_and_final_have_their_own():
    evaluator, weights = evaluator_of()
    # Teacher, random, large and small; later the random policy's score is at hand.
    first, again, final = (seeds_of(lambda final=final: evaluator.evaluate(weights, final))[1] for final in (0, 0, 1))
    assert first == first[:12] * 4
    assert again == first[:12] * 3
    assert final == final[:12] * 4
    assert len(set(first[:12] + final[:12])) == 24


def test_evaluation_never_meets_a_seed_of_training():
    small = NetworkConfig(hidden=())
    config = RunConfig(env=HUGE, teacher=TeacherConfig(network=small), students={"tiny": StudentConfig(network=small)})
    parts = Parts(config, read_spec(HUGE))
    weights = weights_of(parts.networks())

    def train():
        for actor in range(2):
            for incarnation in range(2):
                rollout = Rollout(**parts.rollout(actor, incarnation, repeatable=True))
                for _ in range(4):
                    rollout.collect(weights, 0)

    _, trained = seeds_of(train)
    evaluator = Evaluator(**parts.evaluator())
    _, evaluated = seeds_of(lambda: [evaluator.evaluate(weights, final) for final in (False, True)])
    assert len(set(trained)) > 500
    assert len(set(evaluated)) == 40
    assert not set(trained) & set(evaluated)


def test_an_evaluation_can_be_repeated_and_does_not_hang_on_those_before_it():
    evaluator, weights = evaluator_of()
    evaluator.evaluate(weights, False)
    scores = [evaluator.evaluate(weights, True).scores, evaluator.evaluate(weights, True).scores]
    fresh, _ = evaluator_of()
    scores.append(fresh.evaluate(weights, True).scores)
    for name in scores[0]:
        assert len({(one[name].returns, one[name].lengths) for one in scores}) == 1
        if name != RANDOM:
            assert len({one[name].agreement for one in scores}) == 1


def test_newer_weights_are_what_is_played():
    named = policies(read_spec(HUGE), "teacher", "small")
    constant(named["teacher"], 0)
    evaluator, weights = evaluator_of(named={name: constant(network, 0) for name, network in named.items()})
    assert evaluator.evaluate(weights, False).scores["small"].agreement == 1.0
    constant(named["small"], 1)
    assert evaluator.evaluate(weights_of(named, 31), False).scores["small"].agreement == 0.0


def test_the_random_policy_is_uniform_over_the_actions(monkeypatch):
    taken = []
    step = Walk.step
    monkeypatch.setattr(Walk, "step", lambda self, action: taken.append(action) or step(self, action))
    evaluator, weights = evaluator_of(episodes=400)
    score = evaluator.evaluate(weights, False).scores[RANDOM]
    # The teacher has played first, then the random policy, then both students.
    teacher, steps = sum(evaluator.evaluate(weights, False).scores["teacher"].lengths), sum(score.lengths)
    counts = np.unique(taken[teacher : teacher + steps], return_counts=True)
    assert counts[0].tolist() == [4, 5, 6]
    # About 2,000 steps, so some 667 each with a standard deviation of 21.
    assert np.abs(counts[1] - steps / 3).max() < 90
    assert math.isnan(score.agreement)


def test_agreement_worked_from_the_states_that_the_teacher_met():
    named = policies(read_spec(HUGE), "teacher", "same", "ones", "twos", hidden=())
    constant(named["teacher"], 0)
    with torch.no_grad():
        # The teacher's outputs are (0, 3 - steps taken, -1): action 1 up to the third observation of an episode.
        named["teacher"].advantage.weight[1, 1] = -1.0
        named["teacher"].advantage.bias.copy_(torch.tensor([0.0, 2.5, -1.0]))
        named["same"].load_state_dict(named["teacher"].state_dict())
    constant(named["ones"], 1)
    constant(named["twos"], 2)
    evaluator, weights = evaluator_of(named=named)
    scores = evaluator.evaluate(weights, True).scores
    assert scores["teacher"].agreement == scores["same"].agreement == 1.0
    assert scores["same"].returns == scores["teacher"].returns
    assert scores["twos"].agreement == 0.0
    lengths = scores["teacher"].lengths
    assert scores["ones"].agreement == pytest.approx(sum(min(3, length) for length in lengths) / sum(lengths))


def test_a_disagreement_weighs_as_much_as_the_teacher_cares():
    named = policies(read_spec(HUGE), "teacher", "zeros", "ones", "twos", hidden=())
    for action, name in enumerate(("zeros", "ones", "twos")):
        constant(named[name], action)
    constant(named["teacher"], 0)
    with torch.no_grad():
        # Outputs (0, 2.75 - steps taken, -9): in an episode's first states the gaps are 2.75, 1.75, 0.75, all for action 1;
        # after k steps, k from 3, the gap is k - 2.75 for action 0.
        named["teacher"].advantage.weight[1, 1] = -1.0
        named["teacher"].advantage.bias.copy_(torch.tensor([0.0, 2.75, -9.0]))
    evaluator, weights = evaluator_of(named=named)
    scores = evaluator.evaluate(weights, True).scores
    met = np.concatenate([np.arange(length) for length in scores["teacher"].lengths])
    gaps = np.abs(2.75 - met)
    assert scores["teacher"].gap_weighted_agreement == 1.0
    assert scores["twos"].gap_weighted_agreement == 0.0
    assert scores["ones"].gap_weighted_agreement == pytest.approx(gaps[met < 3].sum() / gaps.sum())
    assert scores["zeros"].gap_weighted_agreement == pytest.approx(gaps[met >= 3].sum() / gaps.sum())
    assert scores["ones"].gap_weighted_agreement != pytest.approx(scores["ones"].agreement)
    assert math.isnan(scores[RANDOM].gap_weighted_agreement)


def test_where_the_teacher_never_cares_every_state_weighs_alike():
    named = policies(read_spec(HUGE), "teacher", "zeros", "ones", hidden=())
    constant(named["zeros"], 0)
    constant(named["ones"], 1)
    with torch.no_grad():
        for parameter in named["teacher"].parameters():
            parameter.zero_()
    evaluator, weights = evaluator_of(named=named)
    scores = evaluator.evaluate(weights, False).scores
    assert (scores["zeros"].gap_weighted_agreement, scores["ones"].gap_weighted_agreement) == (1.0, 0.0)


def test_an_evaluation_carries_the_teacher_that_was_played():
    named = policies(read_spec(HUGE), "teacher", "small")
    evaluator, weights = evaluator_of(named=named, episodes=1)
    assert evaluator.evaluate(weights, False).teacher.tobytes() == weights.flat["teacher"].tobytes()
    constant(named["teacher"], 1)
    newer = weights_of(named, 31)
    told = evaluator.evaluate(newer, False).teacher
    assert told.tobytes() == newer.flat["teacher"].tobytes() != weights.flat["teacher"].tobytes()


@pytest.fixture
def two_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_decisions_are_timed_in_the_final_evaluation_only_and_threads_are_given_back():
    evaluator, weights = evaluator_of(episodes=2)
    assert all(math.isnan(one.decision_microseconds) for one in evaluator.evaluate(weights, False).scores.values())
    final = evaluator.evaluate(weights, True).scores
    assert math.isnan(final.pop(RANDOM).decision_microseconds)
    assert all(0 < one.decision_microseconds < math.inf for one in final.values())
    assert torch.get_num_threads() == 2


def test_cartpole_is_played_to_its_limit():
    env = EnvConfig("CartPole-v1")
    named = policies(read_spec(env), "teacher", "left", hidden=())
    with torch.no_grad():
        named["teacher"].advantage.weight.copy_(torch.tensor([[0.0] * 4, [0.05, 0.1, 1.0, 0.5]]))
        named["teacher"].advantage.bias.zero_()
    constant(named["left"], 0)
    evaluator, weights = evaluator_of(env, named, episodes=3)
    scores = evaluator.evaluate(weights, False).scores
    assert scores["teacher"].returns == (500.0,) * 3
    assert scores["teacher"].lengths == (500,) * 3
    assert all(8 <= length <= 11 for length in scores["left"].lengths)
