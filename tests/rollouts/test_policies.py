import numpy as np
import pytest
import torch
from rollout_builders import constant, policies, weights_of

from distributed_kd.records import EnvSpec, Weights
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
        np.testing.assert_array_equal(outputs, network(torch.from_numpy(observations())).detach().numpy())
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
