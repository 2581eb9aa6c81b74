import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import build, to_flat, transfer
from distributed_kd.records import EnvSpec

FIRST, MIDDLE = ["body.0.bias", "body.0.weight"], ["body.2.bias", "body.2.weight"]
NOISY = ["advantage.bias", "advantage.bias_sigma", "advantage.weight", "advantage.weight_sigma"]
HEAD, VALUE = ["advantage.bias", "advantage.weight"], ["value.bias", "value.weight"]


def mlp(*hidden, inputs=4, actions=3, seed=0, dueling=False, noisy=False):
    spec = EnvSpec("Numbers", (inputs,), "float32", actions)
    return build(NetworkConfig(hidden=hidden), spec, seed, HeadConfig(dueling, noisy))


def nature(edge, actions=3, seed=0):
    spec = EnvSpec("Frames", (edge, edge), "uint8", actions)
    return build(NetworkConfig("nature", channels=(2, 3, 2), hidden=(4,)), spec, seed)


def arrays(network):
    return {name: value.detach().numpy().copy() for name, value in network.named_parameters()}


def transferred(network, source):
    """The names that `transfer` gives, after a look at every parameter: new ones as they were, the others the source's."""
    before, given = arrays(network), arrays(source)
    new = transfer(network, given)
    for name, value in arrays(network).items():
        np.testing.assert_array_equal(value, before[name] if name in new else given[name])
    return new


def test_into_a_network_of_the_same_shape_all_is_copied():
    network, source = mlp(8, 6, seed=1), mlp(8, 6, seed=2)
    assert transferred(network, source) == []
    assert to_flat(network).tobytes() == to_flat(source).tobytes()


@pytest.mark.parametrize(
    ("network", "source", "new"),
    [
        (mlp(8, 6, actions=2), mlp(8, 6, seed=2), HEAD),
        # The bias would fit, but it belongs to weights that are new.
        (mlp(8, 6, inputs=5), mlp(8, 6, seed=2), FIRST),
        (mlp(8, 6, inputs=5, actions=2), mlp(8, 6, seed=2), [*HEAD, *FIRST]),
        (mlp(8, 6, dueling=True), mlp(8, 6, seed=2), VALUE),
        (mlp(8, 6), mlp(8, 6, seed=2, dueling=True), []),
        (mlp(8, 6), mlp(7, 6, seed=2), [*FIRST, *MIDDLE]),
        (mlp(8, 6), mlp(8, 5, seed=2), [*HEAD, *MIDDLE]),
        (mlp(8, 6), mlp(9, 9, inputs=3, actions=4, seed=2), [*HEAD, *FIRST, *MIDDLE]),
        (mlp(8, 6, noisy=True), mlp(8, 6, seed=2), NOISY),
        (mlp(8, 6), mlp(8, 6, seed=2, noisy=True), []),
        (nature(36, actions=2), nature(36, seed=2), HEAD),
        # The convolutions leave one place of an image of 36 (8, 3, 1), and four of one of 44 (10, 4, 2).
        (nature(44), nature(36, seed=2), ["body.7.bias", "body.7.weight"]),
    ],
    ids=[
        "actions",
        "observations",
        "both",
        "no value stream",
        "one stream fewer",
        "first width",
        "last width",
        "all",
        "no noise",
        "noise too",
        "actions of images",
        "larger images",
    ],
)
def test_whole_layers_or_nothing(network, source, new):
    assert transferred(network, source) == new


def test_what_is_missing_is_new_with_the_rest_of_its_layer():
    network, given = mlp(8), arrays(mlp(8, seed=2))
    before = arrays(network)
    del given["advantage.bias"]
    assert transfer(network, given) == HEAD
    for name in HEAD:
        np.testing.assert_array_equal(arrays(network)[name], before[name])
    assert transfer(network, {}) == [*HEAD, *FIRST]


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_a_layer_is_copied_where_all_of_it_fits_and_no_other(data):
    network, source = (
        mlp(
            *data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
            inputs=data.draw(st.integers(1, 2)),
            actions=data.draw(st.integers(2, 3)),
            seed=seed,
        )
        for seed in (0, 1)
    )
    mine, theirs = arrays(network), arrays(source)
    # Here a weight of the same shape has a bias of the same shape.
    layers = [layer for layer in (HEAD, FIRST, MIDDLE) if mine[layer[1]].shape != theirs[layer[1]].shape]
    assert transferred(network, source) == [name for layer in layers for name in layer]


def test_nothing_is_shared_with_what_was_given():
    network, given = mlp(8), arrays(mlp(8, seed=2))
    for value in given.values():
        value.flags.writeable = False
    transfer(network, given)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(given["advantage.bias"], mlp(8, seed=2).advantage.bias.detach().numpy())
