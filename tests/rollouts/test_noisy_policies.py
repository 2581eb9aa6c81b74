"""A teacher that explores by noise on its weights: drawn anew for every step of a rollout, and silent in evaluations."""

import copy

import numpy as np
import pytest
import torch
from rollout_builders import CARTPOLE, WALK, blank, build_rollout, content, of_lanes, policies, weights_of

from distributed_kd import networks
from distributed_kd.config import EnvConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks.noisy import draw_noise
from distributed_kd.records import EnvSpec
from distributed_kd.rollouts.evaluation import Evaluator
from distributed_kd.rollouts.policies import Policies

SILENT = {"start": 0.0, "end": 0.0, "student_epsilon": 0.0}
"""no epsilon: whatever is not the best action is the noise's doing"""


def noisy_policies(env=WALK, sigma=1.0):
    """A noisy teacher, whose noise is `sigma` on every weight, and two students without."""
    named = policies(read_spec(env), "teacher", "large", "small", noisy=True)
    with torch.no_grad():
        named["teacher"].advantage.weight_sigma.fill_(sigma)
        named["teacher"].advantage.bias_sigma.fill_(sigma)
    return named


def best(network, observation):
    return network(torch.from_numpy(np.ascontiguousarray(observation))).argmax(-1).numpy()


def test_the_noise_is_the_rollouts_own_new_in_every_step():
    """A segment takes T * N numbers and T * N actions as ever, then for each step one number for each noise."""
    named = noisy_policies()
    rollout, weights = build_rollout(named=named, seed=3, steps=8, **SILENT)
    stream = np.random.default_rng(np.random.SeedSequence(3).spawn(2)[1])
    ours, others, drawn = copy.deepcopy(named["teacher"]), 0, []
    for _ in range(4):
        segment, _ = rollout.collect(weights, 0.0)
        observation, action = of_lanes_and_steps(segment)
        stream.random((8, 6)), stream.integers(0, 5, (8, 6))
        for step in range(8):
            # 8 inputs of the head and 5 outputs: 13 numbers
            draw_noise(ours, lambda count: torch.from_numpy(stream.standard_normal(count, dtype=np.float32)))
            drawn.append(ours.advantage.noise_in.tolist() + ours.advantage.noise_out.tolist())
            np.testing.assert_array_equal(action[:3, step], best(ours, observation[:3, step]))
            others += (action[:3, step] != best(named["teacher"], observation[:3, step])).sum()
            for lanes, name in ((slice(3, 5), "large"), (slice(5, 6), "small")):
                np.testing.assert_array_equal(action[lanes, step], best(named[name], observation[lanes, step]))
    assert others > 20, "of 96 steps of the teacher's many are not what it does without noise"
    assert len(set(map(tuple, drawn))) == 32
    assert rollout.state()["random"] == stream.bit_generator.state


def of_lanes_and_steps(segment, lanes=6, steps=8):
    """Observations [N, T, 3] and actions [N, T] of a segment of Walk."""
    (action,) = of_lanes(segment, steps, "action")
    return segment.observation[segment.is_step].reshape(lanes, steps, 3), action


@pytest.mark.parametrize("env", [CARTPOLE, WALK], ids=["cartpole", "walk"])
def test_one_seed_gives_one_run_to_the_byte_also_across_a_state(env):
    def fresh(seed):
        return build_rollout(env, named=noisy_policies(env), seed=seed, **SILENT)

    (first, weights), (again, _), (other, _) = fresh(0), fresh(0), fresh(1)
    expected = [content(first.collect(weights, 0.0)) for _ in range(2)]
    assert [content(again.collect(weights, 0.0)) for _ in range(2)] == expected
    assert content(other.collect(weights, 0.0))["action"] != expected[0]["action"]
    state = copy.deepcopy(first.state())
    restored, _ = fresh(0)
    restored.collect(weights, 0.0)
    restored.restore(state)
    assert content(restored.collect(weights, 0.0)) == content(first.collect(weights, 0.0))


def test_where_the_noise_has_been_learned_away_nothing_is_explored():
    named = noisy_policies(sigma=0.0)
    rollout, weights = build_rollout(named=named, **SILENT)
    observation, action = of_lanes_and_steps(rollout.collect(weights, 0.0)[0])
    np.testing.assert_array_equal(action[:3], best(named["teacher"], observation[:3].reshape(-1, 3)).reshape(3, 8))


def test_evaluation_plays_the_mean_weights():
    env = EnvConfig("Walk-v0", {"actions": 5})
    spec, named = read_spec(env), noisy_policies(env, sigma=100.0)
    silent = networks.build(NetworkConfig(hidden=(8,)), spec)
    silent.load_state_dict({name: value for name, value in named["teacher"].state_dict().items() if "sigma" not in name})
    named = {"teacher": named["teacher"], "silent": silent}
    evaluator = Evaluator(env=env, spec=spec, networks=blank(named), episodes=20, seed=np.random.SeedSequence(0))
    scores = evaluator.evaluate(weights_of(named), True).scores
    assert scores["silent"].agreement == 1.0
    assert scores["silent"].returns == scores["teacher"].returns


def test_only_networks_with_noise_are_given_any():
    spec = EnvSpec("Numbers", (3,), "float32", 4)
    random, untouched = np.random.default_rng(0), np.random.default_rng(0)
    Policies(policies(spec, "teacher", "small")).draw_noise(random)
    assert random.bit_generator.state == untouched.bit_generator.state
    named = policies(spec, "teacher", "small", noisy=True)
    held, seen = Policies(named), np.random.default_rng(1).normal(size=(64, 3)).astype(np.float32)
    before = {name: held.outputs(name, seen).copy() for name in named}
    held.draw_noise(random)
    assert (held.outputs("teacher", seen) != before["teacher"]).any()
    np.testing.assert_array_equal(held.outputs("small", seen), before["small"])
