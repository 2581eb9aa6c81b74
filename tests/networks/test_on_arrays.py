"""Perceptrons in NumPy against the same networks in PyTorch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from distributed_kd import networks
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import on_arrays
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.networks.on_arrays import Perceptron, SideBySide
from distributed_kd.records import EnvSpec


def spec_of(*shape, actions=3, dtype="float32", stack=1, scale=1.0):
    return EnvSpec("Numbers", shape, dtype, actions, frame_stack=stack, scale=scale)


def net(spec, *hidden, seed=0, **options):
    return networks.build(NetworkConfig(hidden=hidden), spec, seed, **options)


def in_torch(network, observation):
    with torch.no_grad():
        return network(torch.from_numpy(np.ascontiguousarray(observation))).numpy()


def test_one_layer_by_hand():
    network = net(spec_of(2, actions=2))
    flat = np.float32([1, 2, 3, 4, 10, 20])  # weights [[1, 2], [3, 4]], biases 10 and 20
    one = Perceptron(network)
    one.load(flat)
    outputs = SideBySide([(one, slice(None))], 2).outputs(np.float32([[1, 1], [0, 2]]))
    # 1 + 2 + 10, 3 + 4 + 20; 4 + 10, 8 + 20
    assert outputs.tolist() == [[13, 27], [14, 28]]


def test_a_hidden_layer_by_hand():
    one = Perceptron(net(spec_of(1, actions=2), 2))
    # hidden: x + 1 and -x; outputs: first + 2 second, and 5
    one.load(np.float32([1, -1, 1, 0, 1, 2, 0, 0, 0, 5]))
    outputs = SideBySide([(one, slice(None))], 2).outputs(np.float32([[3], [-4]]))
    # x = 3: 4 and 0 -> 4; x = -4: 0 and 4 -> 8
    assert outputs.tolist() == [[4, 5], [8, 5]]


def test_a_dueling_head_by_hand():
    one = Perceptron(net(spec_of(1, actions=2), head=HeadConfig(dueling=True)))
    # advantages: 2 x and 4 x + 2; value: 10 x + 1
    one.load(np.float32([2, 4, 0, 2, 10, 1]))
    outputs = SideBySide([(one, slice(None))], 1).outputs(np.float32([[3]]))
    # x = 3: advantages 6 and 14, their mean 10, value 31
    assert outputs.tolist() == [[27, 35]]


@settings(deadline=None, max_examples=60)
@given(
    hidden=st.lists(st.lists(st.sampled_from([1, 3, 16, 70, 130]), max_size=3), min_size=1, max_size=4),
    dueling=st.lists(st.booleans(), min_size=4, max_size=4),
    inputs=st.integers(1, 9),
    actions=st.integers(2, 18),
    counts=st.lists(st.sampled_from([1, 2, 7, 15, 16, 33, 64]), min_size=4, max_size=4),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_networks_of_all_shapes_side_by_side_are_what_they_are_in_torch(
    hidden, dueling, inputs, actions, counts, seed, data
):
    # A bound so low that products of all three kinds are met: whole, in parts, and in PyTorch.
    bound = data.draw(st.sampled_from([1, 500, 5_000, on_arrays.ONE_THREAD]))
    spec = spec_of(inputs, actions=actions)
    heads = [HeadConfig(dueling=one) for one in dueling]
    named = [net(spec, *widths, seed=seed + number, head=heads[number]) for number, widths in enumerate(hidden)]
    ends = np.cumsum(counts[: len(named)]).tolist()
    lanes = [slice(end - count, end) for end, count in zip(ends, counts, strict=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_arrays, "ONE_THREAD", bound)
        together = SideBySide([(Perceptron(one), rows) for one, rows in zip(named, lanes, strict=True)], ends[-1])
    random = np.random.default_rng(seed)
    for _ in range(2):  # what a call leaves behind does the next one no harm
        seen = random.normal(size=(ends[-1], inputs)).astype(np.float32)
        outputs = together.outputs(seen)
        assert outputs.shape == (ends[-1], actions) and outputs.dtype == np.float32
        for network, rows in zip(named, lanes, strict=True):
            np.testing.assert_allclose(outputs[rows], in_torch(network, seen[rows]), rtol=1e-4, atol=1e-5)


def test_the_presets_teacher_with_as_many_lanes_as_there_may_be():
    spec = spec_of(4, actions=2)
    network = net(spec, 256, 256)
    for count in (1, 8, 15, 16, 128):
        seen = np.random.default_rng(count).normal(size=(count, 4)).astype(np.float32)
        outputs = SideBySide([(Perceptron(network), slice(None))], count).outputs(seen)
        np.testing.assert_allclose(outputs, in_torch(network, seen), rtol=1e-4, atol=1e-5)


def test_rows_that_belong_to_no_one_are_zero():
    spec = spec_of(4)
    network = net(spec, 8)
    seen = np.ones((6, 4), np.float32)
    outputs = SideBySide([(Perceptron(network), slice(1, 3))], 6).outputs(seen)
    assert not outputs[[0, 3, 4, 5]].any()
    np.testing.assert_allclose(outputs[1:3], in_torch(network, seen[1:3]), rtol=1e-5, atol=1e-6)


def test_parameters_loaded_later_are_acted_by_and_shared_by_all_that_use_them():
    spec = spec_of(4)
    one, other = net(spec, 8, seed=1), net(spec, 8, seed=2)
    held, seen = Perceptron(one), np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    few, all_of_them = SideBySide([(held, slice(None))], 2), SideBySide([(held, slice(None))], 5)
    held.load(networks.to_flat(other))
    np.testing.assert_allclose(all_of_them.outputs(seen), in_torch(other, seen), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(few.outputs(seen[:2]), in_torch(other, seen[:2]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0, 5, 100])
def test_a_vector_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match="does not fit a network of 67 parameters"):  # 4 * 8 + 8 + 8 * 3 + 3
        Perceptron(net(spec_of(4), 8)).load(np.zeros(size, np.float32))


def test_bytes_are_scaled_and_numbers_that_were_are_not():
    spec = spec_of(5, dtype="uint8", stack=2, scale=1 / 255)
    network = net(spec, 8)
    together = SideBySide([(Perceptron(network), slice(None))], 4)
    seen = np.random.default_rng(0).integers(0, 256, (4, 2, 5), np.uint8)
    np.testing.assert_allclose(together.outputs(seen), in_torch(network, seen), rtol=1e-4, atol=1e-6)
    scaled = (seen / 255).astype(np.float32)
    np.testing.assert_allclose(together.outputs(scaled), in_torch(network, scaled), rtol=1e-4, atol=1e-6)


def test_only_plain_perceptrons_fit():
    spec, image = spec_of(4), spec_of(10, 10)
    assert Perceptron.fits(net(spec)) and Perceptron.fits(net(spec, 8, 8)) and Perceptron.fits(net(image, 8))
    assert Perceptron.fits(net(spec, 8, head=HeadConfig(dueling=True)))
    others = [
        net(spec, 8, head=HeadConfig(noisy=True)),
        net(spec, 8, head=HeadConfig(distribution="c51")),
        net(spec, 8, head=HeadConfig(distribution="quantile", atoms=1)),
        networks.build(NetworkConfig(hidden=(8,), layer_norm=True), spec),
        networks.build(NetworkConfig(kind="minatar"), image),
        Ensemble([net(spec, 8)]),
        nn.Linear(4, 3),
    ]
    assert not any(Perceptron.fits(one) for one in others)


def test_the_same_numbers_give_the_same_bits_wherever_they_lie_in_memory():
    network = net(spec_of(4, actions=2), 64, 64)
    seen = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    wide = np.zeros((12, 5), np.float32)
    wide[:, 1:] = seen
    outputs = [SideBySide([(Perceptron(network), slice(None))], 12).outputs(one).copy()
               for one in (seen, np.asfortranarray(seen), wide[:, 1:])]  # fmt: skip
    assert outputs[0].tobytes() == outputs[1].tobytes() == outputs[2].tobytes()
