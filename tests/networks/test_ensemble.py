from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import build, layer_shapes, load_flat, parameter_count, to_flat
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.records import EnvSpec

SPEC = EnvSpec("Numbers", (4,), "float32", 3)
OBSERVATION = torch.linspace(-1, 1, 20).view(5, 4)


def mlp(*hidden, seed=0):
    return build(NetworkConfig(hidden=hidden), SPEC, seed)


def saying(*outputs):
    """A network with the same outputs in all states."""
    net = mlp()
    with torch.no_grad():
        net.advantage.weight.zero_()
        net.advantage.bias.copy_(torch.tensor(outputs))
    return net


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((), [2.0, 1.0, 3.0]),
        ((1.0, 1.0), [2.0, 1.0, 3.0]),
        # (3 * 4 + 0) / 4, (3 * 0 + 2) / 4, (3 * -2 + 8) / 4
        ((3.0, 1.0), [3.0, 0.5, 0.5]),
        ((0.75, 0.25), [3.0, 0.5, 0.5]),
        ((1.0, 0.0), [4.0, 0.0, -2.0]),
    ],
)
def test_the_weighted_mean_by_hand(weights, expected):
    ensemble = Ensemble([saying(4.0, 0.0, -2.0), saying(0.0, 2.0, 8.0)], "mean", weights)
    torch.testing.assert_close(ensemble(OBSERVATION), torch.tensor(expected).expand(5, 3))


@pytest.mark.parametrize(
    ("weights", "temperature", "expected"),
    [
        # Policies (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2)
        ((), 1.0, [3 / 8, 1 / 4, 3 / 8]),
        ((3.0, 1.0), 1.0, [7 / 16, 1 / 4, 5 / 16]),
        # At half the temperature they are (4, 1, 1)/6 and (1, 1, 4)/6, and what is told is half the log.
        ((), 0.5, [(5 / 12) ** 0.5, (1 / 6) ** 0.5, (5 / 12) ** 0.5]),
    ],
)
def test_the_mean_policy_by_hand(weights, temperature, expected):
    members = [saying(log(2), 0.0, 0.0), saying(5.0, 5.0, 5.0 + log(2))]
    ensemble = Ensemble(members, "logsumexp", weights, temperature)
    torch.testing.assert_close(ensemble(OBSERVATION), torch.tensor(expected).log().expand(5, 3))


def test_the_best_is_the_one_on_whom_all_weight_lies():
    ensemble = Ensemble([saying(4.0, 0.0, -2.0), saying(0.0, 2.0, 8.0)], "best", (0.0, 1.0))
    assert ensemble(OBSERVATION)[0].tolist() == [0.0, 2.0, 8.0]


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("combine", ["mean", "best", "logsumexp"])
def test_equal_members_are_as_one(combine, members):
    one = mlp(8, seed=3)
    outputs = Ensemble([mlp(8, seed=3) for _ in range(members)], combine, temperature=0.5)(OBSERVATION)
    # The log of a policy is its Q-values but for a constant a row.
    expected = 0.5 * (one(OBSERVATION) / 0.5).log_softmax(1) if combine == "logsumexp" else one(OBSERVATION)
    torch.testing.assert_close(outputs, expected)


def test_each_member_in_its_order_and_no_hidden_layers():
    members = [mlp(8, seed=1), mlp(3, 2, seed=2)]
    ensemble = Ensemble(members)
    each = ensemble.each(OBSERVATION)
    assert each.shape == (2, 5, 3)
    for outputs, member in zip(each, members, strict=True):
        assert torch.equal(outputs, member(OBSERVATION))
    outputs, layers = ensemble.trace(OBSERVATION)
    assert torch.equal(outputs, ensemble(OBSERVATION))
    assert layers == ()
    assert layer_shapes(ensemble, SPEC) == []


@settings(deadline=None, max_examples=20)
@given(
    hidden=st.lists(st.lists(st.integers(1, 5), max_size=2), min_size=1, max_size=4),
    combine=st.sampled_from(["mean", "logsumexp"]),
    data=st.data(),
)
def test_a_flat_vector_holds_the_weights_and_then_every_member(hidden, combine, data):
    weights = tuple(data.draw(st.floats(0.125, 8.0, width=32)) for _ in hidden)
    members = [mlp(*widths, seed=place) for place, widths in enumerate(hidden)]
    ensemble = Ensemble(members, combine, weights)
    flat = to_flat(ensemble)
    np.testing.assert_array_equal(flat, np.concatenate([np.float32(weights), *map(to_flat, members)]))
    assert len(flat) == parameter_count(ensemble) == len(members) + sum(map(parameter_count, members))
    # Built anew, of other weights and members, it takes all of them over.
    other = Ensemble([mlp(*widths, seed=50 + place) for place, widths in enumerate(hidden)], combine)
    load_flat(other, flat)
    assert to_flat(other).tobytes() == flat.tobytes()
    assert torch.equal(other(OBSERVATION), ensemble(OBSERVATION))


def test_the_weights_are_no_parameters_to_train():
    ensemble = Ensemble([mlp(2), mlp(2, seed=1)])
    ensemble(OBSERVATION).sum().backward()
    assert ensemble.weight.grad is None
    assert all(parameter.grad is not None for parameter in ensemble.members.parameters())
