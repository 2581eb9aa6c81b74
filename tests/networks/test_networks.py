import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.networks import build, load_flat, parameter_count, to_flat
from distributed_kd.policy_config import NetworkConfig
from distributed_kd.records import EnvSpec

CARTPOLE = EnvSpec("CartPole-v1", (4,), "float32", 2)


def mlp(*hidden, spec=CARTPOLE, seed=0, dueling=False):
    return build(NetworkConfig(hidden=hidden), spec, seed, dueling)


@pytest.mark.parametrize(
    ("hidden", "parameters", "percent"),
    [
        # 4 * 256 + 256 = 1,280; 256 * 256 + 256 = 65,792; 256 * 2 + 2 = 514
        ((256, 256), 67_586, "100.0"),
        # 640 + 16,512 + 258
        ((128, 128), 17_410, "25.8"),
        # 320 + 4,160 + 130
        ((64, 64), 4_610, "6.8"),
        # 80 + 272 + 34: 0.571 %
        ((16, 16), 386, "0.6"),
        # 4 * 2 + 2
        ((), 10, "0.0"),
    ],
)
def test_sizes_on_cartpole(hidden, parameters, percent):
    network = mlp(*hidden)
    assert parameter_count(network) == parameters == len(to_flat(network))
    assert f"{100 * parameters / 67_586:.1f}" == percent


def test_dueling_adds_one_value_head():
    # 64 weights and a bias
    assert parameter_count(mlp(64, 64, dueling=True)) == 4_610 + 65


def test_observations_of_any_shape_are_flattened():
    spec = EnvSpec("Picture", (3, 5, 2), "uint8", 6)
    network = mlp(8, spec=spec)
    # 30 * 8 + 8 + 8 * 6 + 6
    assert parameter_count(network) == 302
    assert network(torch.full((7, 3, 5, 2), 255, dtype=torch.uint8)).shape == (7, 6)


@settings(deadline=None, max_examples=30)
@given(hidden=st.lists(st.integers(1, 9), max_size=3), dueling=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_flat_round_trip(hidden, dueling, seed):
    network, other = mlp(*hidden, seed=seed, dueling=dueling), mlp(*hidden, seed=seed + 1, dueling=dueling)
    flat = to_flat(network)
    assert flat.dtype == np.float32
    in_order = np.concatenate([parameter.detach().numpy().ravel() for parameter in network.parameters()])
    np.testing.assert_array_equal(flat, in_order)
    assert not np.array_equal(to_flat(other), flat)
    load_flat(other, flat)
    assert to_flat(other).tobytes() == flat.tobytes()
    observation = torch.linspace(-1, 1, 12).view(3, 4)
    assert torch.equal(network(observation), other(observation))


def test_a_flat_vector_shares_no_memory_with_its_network():
    network = mlp()
    flat = to_flat(network)
    before = flat.copy()
    with torch.no_grad():
        network.advantage.weight.fill_(7.0)
    np.testing.assert_array_equal(flat, before)
    load_flat(network, before)
    before[:] = 9.0
    assert not (to_flat(network) == 9.0).any()


@pytest.mark.filterwarnings("error")
def test_a_read_only_vector_is_loaded_without_a_warning():
    flat = np.arange(10, dtype=np.float32)
    flat.flags.writeable = False
    network = mlp()
    load_flat(network, flat)
    np.testing.assert_array_equal(to_flat(network), flat)


@pytest.mark.parametrize("numbers", [9, 11])
def test_a_vector_of_another_size_is_refused_and_nothing_is_changed(numbers):
    network = mlp()
    before = to_flat(network)
    with pytest.raises(ValueError, match="does not fit a network of 10 parameters"):
        load_flat(network, np.zeros(numbers, np.float32))
    np.testing.assert_array_equal(to_flat(network), before)


def test_initial_parameters_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = to_flat(mlp(16, seed=5))
    torch.manual_seed(2)
    mlp(64, seed=8)
    torch.randn(10)
    assert to_flat(mlp(16, seed=5)).tobytes() == first.tobytes()
    assert not np.array_equal(to_flat(mlp(16, seed=6)), first)


def test_building_leaves_the_global_random_streams_alone():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 - the global stream is what is looked at
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    mlp(32, 32, seed=9)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], before_numpy)  # noqa: NPY002
