import numpy as np
import pytest
import torch
from rollout_builders import build_rollout, constant, content, policies, weights_of

from distributed_kd import networks
from distributed_kd.config import EnvConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.maths.normalisation import normalised
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.records import EnvSpec, Weights
from distributed_kd.rollouts.evaluation import Evaluator
from distributed_kd.rollouts.policies import Policies

SPEC = EnvSpec("Numbers", (3,), "float32", 4)


def observations(count=32):
    return np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)


def test_weights_are_taken_over_and_the_best_action_is_played():
    source = policies(SPEC, "teacher", "small")
    held = Policies(policies(SPEC, "teacher", "small", seed=50))
    held.load(weights_of(source, 3))
    assert held.version == 3
    for name, network in source.items():
        best = network(torch.from_numpy(observations())).argmax(1).numpy()
        action = held.greedy(name, observations())
        np.testing.assert_array_equal(action, best)
        assert action.dtype == np.int64
        assert len(set(best)) > 1, "or any constant would do"


def test_outputs_are_the_networks_own():
    source = policies(SPEC, "teacher", "small")
    held = Policies(source)
    for name, network in source.items():
        outputs = held.outputs(name, observations())
        assert (outputs.shape, outputs.dtype) == ((32, 4), np.float32)
        np.testing.assert_allclose(outputs, network(torch.from_numpy(observations())).detach().numpy(), atol=1e-6)
        np.testing.assert_array_equal(outputs.argmax(1), held.greedy(name, observations()))


def test_each_name_gets_its_own_network():
    named = {name: constant(network, n) for n, (name, network) in enumerate(policies(SPEC, "teacher", "a", "b").items())}
    held = Policies(policies(SPEC, "teacher", "a", "b", seed=9))
    held.load(weights_of(named, 1))
    assert [held.greedy(name, observations(1)).item() for name in ("teacher", "a", "b")] == [0, 1, 2]


def test_the_publication_at_hand_is_not_loaded_again_and_a_newer_one_is():
    named = policies(SPEC, "teacher")
    held = Policies(policies(SPEC, "teacher", seed=9))
    for version, action, expected in [(1, 2, 2), (1, 3, 2), (2, 3, 3), (0, 1, 1)]:
        constant(named["teacher"], action)
        held.load(weights_of(named, version))
        assert held.greedy("teacher", observations(1)).item() == expected
        assert held.version == version


def test_weights_that_do_not_fit_are_refused():
    held = Policies(policies(SPEC, "teacher"))
    with pytest.raises(ValueError, match="does not fit"):
        held.load(Weights(1, {"teacher": np.zeros(5, np.float32)}))
    assert held.version == -1


def test_rows_in_any_order_of_memory_are_read_rightly():
    held = Policies(policies(SPEC, "teacher"))
    seen = observations()
    expected = held.greedy("teacher", seen)
    np.testing.assert_array_equal(held.greedy("teacher", np.asfortranarray(seen)), expected)
    np.testing.assert_array_equal(held.greedy("teacher", seen[::-2]), expected[::-2])


NORMAL = np.float32([[1.0, -2.0, 0.5], [2.0, 0.5, 4.0]])
"""mean and standard deviation of each of the three numbers"""


def by_hand(network, normal=NORMAL):
    seen = torch.from_numpy((observations() - normal[0]) / normal[1])
    return network(seen).detach().numpy()


def test_observations_are_seen_by_the_mean_and_spread_that_came_with_the_weights():
    source = policies(SPEC, "teacher", "small")
    held = Policies(policies(SPEC, "teacher", "small", seed=50))
    held.load(weights_of(source, 1, NORMAL))
    for name, network in source.items():
        np.testing.assert_allclose(held.outputs(name, observations()), by_hand(network), atol=1e-6)
        plain = network(torch.from_numpy(observations())).detach().numpy()
        assert (held.greedy(name, observations()) != plain.argmax(1)).any()
    # Newer ones take their place, and none takes it away.
    for version, normal in [(2, NORMAL + 1), (3, None)]:
        held.load(weights_of(source, version, normal))
        expected = by_hand(source["teacher"], np.float32([[0] * 3, [1] * 3]) if normal is None else normal)
        np.testing.assert_allclose(held.outputs("teacher", observations()), expected, atol=1e-6)


def test_a_teacher_from_elsewhere_brings_its_own_until_weights_come():
    named = policies(SPEC, "teacher")
    normal = NORMAL.copy()
    held = Policies(named, normal)
    normal[:] = 7.0  # a copy was taken
    np.testing.assert_allclose(held.outputs("teacher", observations()), by_hand(named["teacher"]), atol=1e-6)


def test_each_frame_of_a_stack_is_seen_by_the_same_mean_and_spread():
    named = policies(EnvSpec("Numbers", (3,), "float32", 4, frame_stack=2), "teacher")
    held = Policies(named, NORMAL)
    stacked = observations(64).reshape(32, 2, 3)
    seen = torch.from_numpy((stacked - NORMAL[0]) / NORMAL[1])
    expected = named["teacher"](seen).detach().numpy()
    np.testing.assert_allclose(held.outputs("teacher", stacked), expected, atol=1e-6)


def test_a_rollout_and_an_evaluation_see_by_it_and_store_what_came():
    walk = EnvConfig("Walk-v0", {"actions": 5})
    named = policies(read_spec(walk), "teacher", "zeros", "ones", hidden=())
    for network, action in zip(named.values(), (0, 0, 1), strict=True):
        constant(network, action)
    with torch.no_grad():
        named["teacher"].advantage.bias.zero_()
        named["teacher"].advantage.weight[1, 0] = 1.0  # action 1 where the mark is seen above 0, else action 0
    rollout, _ = build_rollout(walk, named=named, plan=(0,) * 12, steps=10, start=0, end=0)
    evaluator = Evaluator(env=walk, spec=read_spec(walk), networks=named, episodes=20, seed=np.random.SeedSequence(0))
    # Marks lie in [0, 1).
    for version, (middle, least, most) in enumerate([(0.5, 0.2, 0.8), (1.0, 0.0, 0.0), (-0.5, 1.0, 1.0)], 1):
        weights = weights_of(named, version, np.float32([[middle, 0.0, 0.0], [0.1, 1.0, 1.0]]))
        segment, _ = rollout.collect(weights, 0.0)
        marks = segment.observation[segment.is_step, 0]
        assert ((marks >= 0) & (marks < 1)).all() and marks.std() > 0.2, "stored as they came"
        np.testing.assert_array_equal(segment.action[segment.is_step], marks > middle)
        scores = evaluator.evaluate(weights, False).scores
        assert least <= scores["ones"].agreement <= most
        assert scores["zeros"].agreement == pytest.approx(1 - scores["ones"].agreement)


@pytest.mark.parametrize("kinds", ["plain plain", "plain other", "other plain", "other other"])
@pytest.mark.parametrize("normal", [None, NORMAL])
def test_together_each_group_of_rows_is_given_its_own_network(kinds, normal):
    heads = {"plain": HeadConfig(), "other": HeadConfig(dueling=True)}
    named = {
        name: networks.build(NetworkConfig(hidden=(8,)), SPEC, number, heads[kind])
        for number, (name, kind) in enumerate(zip(("teacher", "small"), kinds.split(), strict=True))
    }
    held = Policies(policies(SPEC, "teacher", "small", seed=50) if kinds == "plain plain" else named)
    held.load(weights_of(named, 1, normal))
    outputs = held.together([("teacher", slice(0, 20)), ("small", slice(20, 32))], 32)(observations())
    for name, rows in (("teacher", slice(0, 20)), ("small", slice(20, 32))):
        expected = named[name](torch.from_numpy(observations())).detach().numpy() if normal is None else by_hand(named[name])
        np.testing.assert_allclose(outputs[rows], expected[rows], atol=1e-6)


def test_numbers_are_normalised_to_the_bit_as_they_are_where_networks_learn():
    held = Policies(policies(SPEC, "teacher"))
    normal = np.float32([[1.0, -2.0, 0.5], [2.0, 1e-5, 0.0]])  # spreads below the least one there may be
    held.load(weights_of(policies(SPEC, "teacher"), 1, normal))
    expected = normalised(torch.from_numpy(observations()), torch.from_numpy(normal)).numpy()
    assert np.abs(expected).max() == 10.0
    np.testing.assert_array_equal(held._seen(observations()), expected)


def test_a_rollout_takes_the_weights_of_those_who_act_in_it_and_no_others():
    named = policies(read_spec(EnvConfig("Walk-v0", {"actions": 5})), "teacher", "large", "small")
    for plan, beta, needed in (
        ((0, 0), (0.0, 0.0, 0.5), {"teacher"}),
        ((1, 1), (0.0, 0.0, 0.5), {"large"}),
        ((0, 2), (0.0, 0.0, 0.5), {"teacher", "small"}),
        ((1, 1), (0.0, 0.5, 0.5), {"teacher", "large"}),  # who teaches in others' lanes acts too
    ):
        rollout, weights = build_rollout(plan=plan, beta=beta, named=named)
        expected = content(rollout.collect(weights, 0.5))
        only = Weights(0, {name: weights.flat[name] for name in needed})
        again, _ = build_rollout(plan=plan, beta=beta, named=named)
        assert content(again.collect(only, 0.5)) == expected
        lacking, _ = build_rollout(plan=plan, beta=beta, named=named)
        with pytest.raises(KeyError):
            lacking.collect(Weights(0, {name: weights.flat[name] for name in set(named) - {min(needed)}}), 0.5)
