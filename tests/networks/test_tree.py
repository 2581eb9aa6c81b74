"""A tree as a network: where each observation falls, and what it cannot read."""

import numpy as np
import pytest
import torch

from distributed_kd import networks
from distributed_kd.errors import ConfigurationError
from distributed_kd.network_config import NetworkConfig
from distributed_kd.records import EnvSpec

SPEC = EnvSpec("Numbers", (3,), "float32", 2)


def tree(depth, spec=SPEC, feature=None, threshold=None, leaves=None):
    network = networks.build(NetworkConfig("tree", depth=depth), spec)
    for parameter, values in ((network.feature, feature), (network.threshold, threshold), (network.leaves, leaves)):
        if values is not None:
            parameter.copy_(torch.tensor(values, dtype=torch.float32))
    return network


def test_where_observations_fall_worked_by_hand():
    """x[1] > 0.5 first; on no x[0] > -1, on yes x[2] > 2. What is equal to a threshold is not above it."""
    made = tree(2, feature=[1, 0, 2], threshold=[0.5, -1.0, 2.0], leaves=[[0, 1], [2, 3], [4, 5], [6, 7]])
    seen = [[-1, 0.5, 9], [-0.5, 0.0, 9], [9, 1, 2], [-9, 1, 2.5]]
    assert made(torch.tensor(seen, dtype=torch.float32)).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize("depth", [1, 2, 5, 10])
def test_every_leaf_is_reached_by_the_answers_on_its_way(depth):
    """One number, split evenly: 2^depth stretches between 0 and 1, each with a leaf that tells its place."""
    count = 2**depth
    threshold, leaves = np.zeros(count - 1), np.arange(count)[:, None] * np.ones(2)
    for place in range(count - 1):
        level = (place + 1).bit_length() - 1
        threshold[place] = (2 * (place + 1 - 2**level) + 1) / 2 ** (level + 1)
    made = tree(depth, feature=np.zeros(count - 1), threshold=threshold, leaves=leaves)
    middles = torch.zeros(count, 3)
    middles[:, 0] = (torch.arange(count) + 0.5) / count
    assert made(middles)[:, 0].tolist() == list(range(count))


def test_bytes_are_seen_on_the_scale_of_the_environment():
    spec = EnvSpec("Bytes", (2, 2), "uint8", 2, scale=1 / 200)
    made = tree(1, spec, feature=[3], threshold=[0.5], leaves=[[1, 0], [0, 1]])
    seen = torch.tensor([[[0, 0], [0, 100]], [[0, 0], [0, 101]]], dtype=torch.uint8)
    assert made(seen).argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_on_arrays_it_gives_the_same_to_the_bit(kind):
    random, spec = np.random.default_rng(0), EnvSpec("Any", (5,), "uint8", 3, scale=1 / 255)
    made = tree(5, spec, random.integers(0, 5, 31), random.random(31), random.random((32, 3)))
    seen = random.integers(0, 256, (200, 5)).astype(kind) if kind == "uint8" else random.random((200, 5)).astype(kind)
    ours = made.on_arrays(seen)
    assert ours.tobytes() == made(torch.from_numpy(seen)).numpy().tobytes()
    assert len(np.unique(ours, axis=0)) > 5
    networks.load_flat(made, np.zeros(62 + 96, np.float32))
    assert not made.on_arrays(seen).any(), "newer weights are what it decides by"


def test_its_parameters_are_decisions_and_leaves_and_travel_in_one_vector():
    made = tree(6)
    assert networks.layer_shapes(made, SPEC) == []
    assert networks.parameter_count(made) == 63 + 63 + 64 * 2
    assert not any(one.requires_grad for one in made.parameters())
    flat = np.arange(254, dtype=np.float32)
    networks.load_flat(made, flat)
    assert networks.to_flat(made).tolist() == flat.tolist()
    assert set(made.state_dict()) == {"feature", "threshold", "leaves"}, "nothing else is saved"


@pytest.mark.parametrize(("shape", "stack"), [((84, 84), 1), ((65,), 1), ((33,), 2)])
def test_what_nobody_could_read_is_refused(shape, stack):
    spec = EnvSpec("Large", shape, "float32", 2, frame_stack=stack)
    with pytest.raises(ConfigurationError, match="and a tree reads 64 at most") as told:
        networks.build(NetworkConfig("tree"), spec)
    assert str(told.value).startswith("network does not fit (network.kind=tree): observations of shape [")
    networks.build(NetworkConfig("tree"), EnvSpec("Largest", (64,), "float32", 2))
