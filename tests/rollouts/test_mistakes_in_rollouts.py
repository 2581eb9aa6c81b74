"""Mistakes seen in published code that playing, storing and scoring can make; each goes red when somebody makes it here."""

import numpy as np
import pytest
import torch
from rollout_builders import CARTPOLE, build_rollout, constant, pieces, policies, weights_of
from small_environments import Walk

from distributed_kd.config import EnvConfig, RunConfig
from distributed_kd.data_config import ReplayConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.replay import Replay
from distributed_kd.rollouts.evaluation import Evaluator
from distributed_kd.rollouts.rollout import Rollout
from distributed_kd.training.parts import Parts

GAMMA = 0.9


def balancing_teacher():
    """A CartPole teacher that no episode of 500 steps outlives."""
    named = policies(read_spec(CARTPOLE), "teacher", "large", "small", hidden=())
    for network in named.values():
        constant(network, 0)
        with torch.no_grad():
            network.advantage.weight[1] = torch.tensor([0.05, 0.1, 1.0, 0.5])
            network.advantage.bias.zero_()
    return named


def through_the_replay(rollout, weights, n_step, segments=4, batches=40):
    """Segments of a rollout, and transitions drawn from a replay that holds all of them."""
    spec = rollout._spec
    replay = Replay(spec, ReplayConfig(capacity=10_000), n_step, 0.0, Pace(0, 1, 100, 0), np.random.SeedSequence(0))
    collected = [rollout.collect(weights, 0.0)[0] for _ in range(segments)]
    for segment in collected:
        replay.add(segment)
    batch, _ = replay.sample(batches)
    columns = (batch.observation, batch.action, batch.n_step_return, batch.discount, batch.next_observation)
    return collected, zip(*(column.reshape(-1, *column.shape[2:]) for column in columns), strict=True)


@pytest.mark.parametrize("kwargs", [{}, {"disable_env_checker": True}], ids=["vector", "sync"])
def test_mistake_13_bootstrapping_zero_at_truncation(kwargs):
    """A trained CartPole ends by truncation only: every step of it, the last one too, is worth what follows."""
    env = EnvConfig("CartPole-v1", kwargs)
    rollout, weights = build_rollout(
        env, plan=(0, 1), steps=505, named=balancing_teacher(), start=0, end=0, student_epsilon=0, gamma=GAMMA
    )
    segment, stats = rollout.collect(weights, 0.0)
    assert stats.episode_length.tolist() == [500, 500]
    np.testing.assert_array_equal(segment.discount[segment.is_step], np.float32(GAMMA))


@pytest.mark.parametrize("ends", ["truncated", "terminated"])
def test_mistake_13_the_reset_observation_taken_for_the_final_one(ends):
    env = EnvConfig("Walk-v0", {"ends": ends})
    rollout, weights = build_rollout(env, steps=30, gamma=GAMMA)
    _, transitions = through_the_replay(rollout, weights, n_step=1)
    episodes_over = 0
    for (mark, taken, _), action, _, discount, (next_mark, next_taken, last_action) in transitions:
        assert (next_mark, next_taken, last_action) == (mark, taken + 1, action)
        episodes_over += discount == 0
    assert (episodes_over > 0) == (ends == "terminated")


def test_mistake_14_an_n_step_return_across_the_end_of_an_episode_or_with_gamma_once():
    rollout, weights = build_rollout(EnvConfig("Walk-v0", {}), steps=30, gamma=GAMMA)
    segments, transitions = through_the_replay(rollout, weights, n_step=3)
    # Every episode's rewards and end by the marks that Walk writes into its observations; reward = mark + step - 3.
    walked = {}
    for segment in segments:
        for rows in pieces(segment):
            for row in rows[:-1]:
                mark, taken = segment.observation[row, :2].tolist()
                cut = segment.observation[rows[-1], 1]
                walked[mark, taken] = (cut - taken, segment.discount[rows[-2]] == 0)
    shortened = ended = 0
    for (mark, taken, _), _, total, discount, (next_mark, next_taken, _) in transitions:
        left, terminates = walked[float(mark), float(taken)]
        k = int(min(3, left))
        assert total == pytest.approx(sum(GAMMA**i * (mark + taken + i - 2) for i in range(k)), abs=1e-4)
        over = terminates and k == left
        assert discount == pytest.approx(0.0 if over else GAMMA**k)
        assert (next_mark, next_taken) == (mark, taken + k)
        shortened += k < 3
        ended += over
    assert shortened > 100
    assert ended > 100


def test_mistake_15_an_epsilon_that_is_at_its_end_from_the_first_step():
    named = {name: constant(network, 4) for name, network in policies(read_spec(EnvConfig("Walk-v0", {"actions": 5})),
             "teacher", "large", "small").items()}  # fmt: skip
    rollout, weights = build_rollout(plan=(0, 0, 0, 0), steps=500, named=named, start=1.0, end=0.0, fraction=0.5)
    shares = []
    for progress in (0.0, 0.125, 0.25, 0.375, 0.5, 1.0):
        segment, _ = rollout.collect(weights, progress)
        shares.append((segment.action[segment.is_step] != 4).mean() / 0.8)
    # 2,000 steps each: standard errors of at most .013
    assert shares == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0, 0.0], abs=0.06)


def scores(evaluator, version, student, final=True):
    named = policies(read_spec(CARTPOLE), "teacher", "tiny", hidden=())
    for network, controls in ((named["teacher"], True), (named["tiny"], student)):
        constant(network, 0)
        if controls:
            network.load_state_dict(balancing_teacher()["teacher"].state_dict())
    return evaluator.evaluate(weights_of(named, version), final).scores["tiny"]


def test_mistake_18_the_best_of_several_evaluations_reported_as_the_score():
    blank = policies(read_spec(CARTPOLE), "teacher", "tiny", hidden=())
    evaluator = Evaluator(env=CARTPOLE, spec=read_spec(CARTPOLE), networks=blank, episodes=3, seed=np.random.SeedSequence(0))
    assert scores(evaluator, 1, student=True, final=False).returns == (500.0,) * 3
    assert scores(evaluator, 2, student=True).returns == (500.0,) * 3
    worse = scores(evaluator, 3, student=False)
    assert max(worse.returns) < 12
    assert worse.version == 3


def test_mistake_18_the_final_score_on_seeds_that_something_was_chosen_on():
    env = EnvConfig("Walk-v0", {})
    named = policies(read_spec(env), "teacher", "tiny")
    evaluator = Evaluator(env=env, spec=read_spec(env), networks=named, episodes=30, seed=np.random.SeedSequence(0))
    weights = weights_of(named)
    played = []
    for final in (False, True):
        Walk.resets.clear()
        evaluator.evaluate(weights, final)
        played.append(set(Walk.resets))
    assert len(played[0] | played[1]) == 60


def test_mistake_19_scores_on_training_seeds_with_clipped_rewards_or_lives_for_episodes():
    """The evaluation's seeds are not the training's (more in test_evaluation.py); rewards are whole, and so are episodes."""
    env = EnvConfig("Walk-v0", {"scale": 1000.0, "ends": "terminated"})
    Walk.resets.clear()
    rollout, weights = build_rollout(env, steps=100, seed=0)
    rollout.collect(weights, 0.0)
    trained = set(Walk.resets)
    named = policies(read_spec(env), "teacher", "tiny")
    evaluator = Evaluator(env=env, spec=read_spec(env), networks=named, episodes=40, seed=np.random.SeedSequence(0))
    Walk.resets.clear()
    score = evaluator.evaluate(weights_of(named), True).scores["teacher"]
    assert not trained & set(Walk.resets)
    # Lengths from 2 to 8, though the first of three lives is gone after two steps.
    assert set(score.lengths) == set(range(2, 9))
    for seed, total, length in zip(Walk.resets[:40], score.returns, score.lengths, strict=True):
        walk = Walk(scale=1000.0)
        walk.reset(seed=seed)
        assert length == walk.length
        # The sum over steps 1 to L of 1000 * (mark + step - 3)
        assert total == pytest.approx(1000 * (length * float(walk.mark) + length * (length + 1) / 2 - 3 * length))


def test_mistake_19_returns_told_of_training_and_rewards_stored_are_not_clipped_either():
    config = RunConfig(
        env=EnvConfig("Walk-v0", {"scale": 1000.0}),
        teacher=TeacherConfig(network=NetworkConfig(hidden=()), reward_clip=1.0, n_step=2, gamma=GAMMA),
        replay=ReplayConfig(warmup=10),
    )
    parts = Parts(config, read_spec(config.env))
    rollout, replay = Rollout(**parts.rollout(0, 0, repeatable=True)), Replay(**parts.replay())
    segment, stats = rollout.collect(weights_of(parts.networks()), 0.0)
    replay.add(segment)
    # The rewards of each piece that begins an episode, summed as they came.
    begun = [rows[:-1] for rows in pieces(segment) if segment.observation[rows[0], 1] == 0]
    sums = np.array([segment.reward[rows].sum(dtype=np.float64) for rows in begun])
    for total, length in zip(stats.episode_return, stats.episode_length, strict=True):
        nearest = np.abs(sums - total).argmin()
        assert (sums[nearest], len(begun[nearest])) == (pytest.approx(total, abs=0.01), length)
    assert np.abs(stats.episode_return).max() > 2000
    np.testing.assert_array_equal(replay.state()["rows"]["reward"], segment.reward)
    batch, _ = replay.sample(4)
    # Two rewards of at most 1 either way: 1 + .9
    assert 1.0 < np.abs(batch.n_step_return).max() <= 1 + GAMMA + 1e-6


@pytest.mark.parametrize(
    "env",
    [CARTPOLE, EnvConfig("CartPole-v1", {"disable_env_checker": True}), EnvConfig("Walk-v0", {})],
    ids=["cartpole", "cartpole one by one", "walk"],
)
def test_mistake_20_the_step_after_an_end_that_nobody_took(env):
    """Under Gymnasium's default autoreset it leads from the final observation to the reset one."""
    rollout, weights = build_rollout(env, steps=60)
    segment, stats = rollout.collect(weights, 0.0)
    assert len(stats.episode_length) > 6
    firsts = np.array([rows[0] for rows in pieces(segment)])
    lasts = np.array([rows[-1] for rows in pieces(segment)])
    if env.id == "CartPole-v1":
        assert (segment.reward[segment.is_step] == 1.0).all(), "a reset gives no reward"
        # Episodes start within .05 of the middle, and where a pole has fallen it is beyond .2095 or the cart beyond 2.4.
        start = segment.observation[firsts]
        fresh = np.abs(start).max(1) <= 0.05
        assert fresh.all(), "every piece of one segment from the very start begins an episode"
        inside = (np.abs(segment.observation[:, 2]) <= 0.2095) & (np.abs(segment.observation[:, 0]) <= 2.4)
        assert inside[segment.is_step].all(), "a step was taken from a final observation"
    else:
        assert (segment.observation[firsts, 1] == 0).all()
        assert not np.isin(segment.observation[lasts, 1], 0).any()
    # In every step the observation moved on; none leads over an end.
    assert (np.diff(segment.observation, axis=0)[segment.is_step[:-1]] != 0).any(1).all()
    # The lengths told and the parts still under way are all the steps that were taken.
    assert stats.episode_length.sum() + rollout.state()["length"].sum() == 60 * 6
