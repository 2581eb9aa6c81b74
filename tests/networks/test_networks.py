import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import build, layer_shapes, load_flat, parameter_count, to_flat
from distributed_kd.records import EnvSpec

CARTPOLE = EnvSpec("CartPole-v1", (4,), "float32", 2)
ATARI = EnvSpec("Frames", (84, 84), "uint8", 18, frame_stack=4, scale=1 / 255)
BREAKOUT = EnvSpec("Grid", (10, 10, 4), "float32", 6, channels="last")


def mlp(*hidden, spec=CARTPOLE, seed=0, dueling=False, noisy=False):
    return build(NetworkConfig(hidden=hidden), spec, seed, HeadConfig(dueling, noisy))


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


@pytest.mark.parametrize(
    ("spec", "config", "parameters"),
    [
        # 4*64*32 + 32 = 8,224; 32*16*64 + 64 = 32,832; 64*9*64 + 64 = 36,928; 3,136*512 + 512 = 1,606,144;
        # 512*18 + 18 = 9,234
        (ATARI, NetworkConfig("nature"), 1_693_362),
        # 4,112 + 8,224 + 9,248 + 1,568*256 + 256 + 256*18 + 18
        (ATARI, NetworkConfig("nature", width=0.5), 427_874),
        # 4*64*16 + 16 = 4,112; 16*16*16 + 16 = 4,112; 16*9*16 + 16 = 2,320; 784*128 + 128 = 100,480; 128*18 + 18 = 2,322
        (ATARI, NetworkConfig("nature", channels=(16, 16, 16), hidden=(128,)), 113_346),
        (ATARI, NetworkConfig("nature", channels=(16, 16, 16), hidden=(64,)), 61_954),
        # 4*9*16 + 16 = 592; 8*8*16 = 1,024 inputs: 1,024*128 + 128 = 131,200; 128*6 + 6 = 774
        (BREAKOUT, NetworkConfig("minatar"), 132_566),
        # 4*9*2 + 2 = 74; 128*16 + 16 = 2,064; 16*6 + 6 = 102
        (BREAKOUT, NetworkConfig("minatar", channels=(2,), hidden=(16,)), 2_240),
        # Stacks 4 -> 2 -> 3 channels: 4*9*2 + 2 = 74 and four of 2*9*2 + 2 = 38: 226; 2*9*3 + 3 = 57 and four of
        # 3*9*3 + 3 = 84: 393; edges 10 -> 5 -> 3, so 27*8 + 8 = 224; 8*6 + 6 = 54
        (BREAKOUT, NetworkConfig("impala", channels=(2, 3), hidden=(8,)), 897),
        # Mean and variance of two layers more for each of 5 + 3 units: 400*5 + 5 + 5*3 + 3 + 3*6 + 6 = 2,047, and 2 * 8
        (BREAKOUT, NetworkConfig(hidden=(5, 3), layer_norm=True), 2_063),
    ],
)
def test_sizes_by_name(spec, config, parameters):
    assert parameter_count(build(config, spec)) == parameters


def test_dueling_adds_one_value_head():
    # 64 weights and a bias
    assert parameter_count(mlp(64, 64, dueling=True)) == 4_610 + 65


def test_noise_doubles_the_head():
    # The output layer is 64 * 2 + 2 = 130.
    assert parameter_count(mlp(64, 64, noisy=True)) == 4_610 + 130


def test_a_distribution_widens_the_head():
    # 51 numbers for each of 2 actions, and 51 more for the state
    network = build(NetworkConfig(hidden=(64, 64)), CARTPOLE, 0, HeadConfig(dueling=True, distribution="c51"))
    assert parameter_count(network) == 4_480 + 65 * 102 + 65 * 51
    assert len(to_flat(network)) == parameter_count(network)  # the support is none


def test_what_is_hidden_is_shaped_for_the_losses_that_look_at_it():
    assert layer_shapes(build(NetworkConfig("nature"), ATARI), ATARI) == [(32, 20, 20), (64, 9, 9), (64, 7, 7), (512,)]
    assert layer_shapes(build(NetworkConfig("minatar"), BREAKOUT), BREAKOUT) == [(16, 8, 8), (128,)]
    assert layer_shapes(build(NetworkConfig("impala"), BREAKOUT), BREAKOUT) == [(16, 5, 5), (32, 3, 3), (32, 2, 2), (256,)]
    assert layer_shapes(mlp(8, 6), CARTPOLE) == [(8,), (6,)]


def test_the_first_numbers_of_an_mlp_have_stayed_the_same():
    # Runs of earlier versions are repeated by their seed: layers as PyTorch draws them, body, then advantage, then value.
    torch.manual_seed(5)
    layers = [torch.nn.Linear(4, 16), torch.nn.Linear(16, 2), torch.nn.Linear(16, 1)]
    names = [f"{layer}.{part}" for layer in ("body.0", "advantage", "value") for part in ("weight", "bias")]
    parameters = dict(mlp(16, seed=5, dueling=True).named_parameters())
    assert list(parameters) == names
    for name, expected in zip(names, (one for layer in layers for one in layer.parameters()), strict=True):
        assert torch.equal(parameters[name], expected)


def test_observations_of_any_shape_are_flattened():
    spec = EnvSpec("Picture", (3, 5, 2), "uint8", 6)
    network = mlp(8, spec=spec)
    # 30 * 8 + 8 + 8 * 6 + 6
    assert parameter_count(network) == 302
    assert network(torch.full((7, 3, 5, 2), 255, dtype=torch.uint8)).shape == (7, 6)


@settings(deadline=None, max_examples=30)
@given(
    hidden=st.lists(st.integers(1, 9), max_size=3),
    dueling=st.booleans(),
    noisy=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_flat_round_trip(hidden, dueling, noisy, seed):
    network, other = (mlp(*hidden, seed=number, dueling=dueling, noisy=noisy) for number in (seed, seed + 1))
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


@pytest.mark.parametrize("kind", ["mlp", "minatar", "impala"])
def test_initial_parameters_depend_on_the_seed_alone(kind):
    config, head = NetworkConfig(kind, width=0.25), HeadConfig(noisy=True)
    torch.manual_seed(1)
    first = to_flat(build(config, BREAKOUT, 5, head))
    torch.manual_seed(2)
    mlp(64, seed=8)
    torch.randn(10)
    assert to_flat(build(config, BREAKOUT, 5, head)).tobytes() == first.tobytes()
    assert not np.array_equal(to_flat(build(config, BREAKOUT, 6, head)), first)


def test_building_leaves_the_global_random_streams_alone():
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 - the global stream is what is looked at
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    mlp(32, 32, seed=9, noisy=True)
    build(NetworkConfig("minatar"), BREAKOUT, 9)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], before_numpy)  # noqa: NPY002
