"""The networks by name as a whole: layers and heads worked by hand, images laid out, traces that the losses can use."""

import pytest
import torch

from distributed_kd.maths.representation import attention
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import build
from distributed_kd.records import EnvSpec

KINDS = ["mlp", "minatar", "nature", "impala"]


def mlp(inputs, hidden, actions, **head):
    return build(NetworkConfig(hidden=hidden), EnvSpec("Numbers", (inputs,), "float32", actions), 0, HeadConfig(**head))


def set_to(layer, weight, bias):
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))


def test_a_hidden_layer_worked_by_hand():
    network = mlp(2, (2,), 2)
    set_to(network.body[0], [[1.0, 1.0], [1.0, -1.0]], [0.5, 0.0])
    set_to(network.advantage, [[2.0, 10.0], [-1.0, 1.0]], [0.0, 0.25])
    output = network(torch.tensor([[1.0, 2.0], [3.0, 1.0]]))
    # Row 0: hidden relu(3.5, -1) = (3.5, 0), so 2 * 3.5 = 7 and -3.5 + .25. Row 1: relu(4.5, 2), so 9 + 20, -4.5 + 2 + .25.
    torch.testing.assert_close(output, torch.tensor([[7.0, -3.25], [29.0, -2.25]]))


def test_no_rectifier_behind_the_last_layer():
    network = mlp(1, (), 2)
    set_to(network.advantage, [[1.0], [-1.0]], [0.0, 0.0])
    torch.testing.assert_close(network(torch.tensor([[2.0]])), torch.tensor([[2.0, -2.0]]))


def test_dueling_worked_by_hand():
    network = mlp(1, (), 3, dueling=True)
    set_to(network.advantage, [[1.0], [2.0], [6.0]], [0.0, 0.0, 0.0])
    set_to(network.value, [[10.0]], [1.0])
    output = network(torch.tensor([[1.0], [2.0]]))
    # v = 11 and 21; advantages (1, 2, 6) less their mean 3, and twice that.
    torch.testing.assert_close(output, torch.tensor([[9.0, 10.0, 14.0], [17.0, 19.0, 27.0]]))
    # The mean over the actions is the value, for every row by itself.
    torch.testing.assert_close(output.mean(1), torch.tensor([11.0, 21.0]))


def test_quantiles_worked_by_hand():
    network = mlp(1, (), 2, distribution="quantile", atoms=3)
    set_to(network.advantage, [[1.0], [2.0], [6.0], [-1.0], [0.0], [4.0]], [0.0] * 6)
    observation = torch.tensor([[1.0], [2.0]])
    expected = [[[1.0, 2.0, 6.0], [-1.0, 0.0, 4.0]], [[2.0, 4.0, 12.0], [-2.0, 0.0, 8.0]]]
    assert network.distribution(observation).tolist() == expected
    torch.testing.assert_close(network(observation), torch.tensor([[3.0, 1.0], [6.0, 2.0]]))


def test_c51_worked_by_hand():
    network = mlp(1, (), 2, distribution="c51", atoms=3, v_min=-1.0, v_max=3.0)
    assert network.support.tolist() == [-1.0, 1.0, 3.0]
    # Probabilities (1, 2, 1) / 4 and (1, 1, 6) / 8 of the returns -1, 1, 3: means 1 and (-1 + 1 + 18) / 8.
    logits = torch.tensor([1.0, 2.0, 1.0, 1.0, 1.0, 6.0]).log().view(6, 1)
    set_to(network.advantage, logits.tolist(), [0.0] * 6)
    observation = torch.tensor([[1.0]])
    torch.testing.assert_close(network.distribution(observation), logits.view(1, 2, 3))
    torch.testing.assert_close(network(observation), torch.tensor([[1.0, 2.25]]))
    assert "support" not in network.state_dict()


@pytest.mark.parametrize("distribution", ["c51", "quantile"])
def test_each_atom_is_dueled_by_itself(distribution):
    network = mlp(1, (), 2, dueling=True, distribution=distribution, atoms=3)
    set_to(network.advantage, [[1.0], [2.0], [6.0], [3.0], [0.0], [4.0]], [0.0] * 6)
    set_to(network.value, [[10.0], [20.0], [30.0]], [0.0] * 3)
    # Means over the two actions: 2, 1, 5.
    outputs = network.distribution(torch.tensor([[1.0]]))
    torch.testing.assert_close(outputs, torch.tensor([[[9.0, 21.0, 31.0], [11.0, 19.0, 29.0]]]))
    torch.testing.assert_close(outputs.mean(1), torch.tensor([[10.0, 20.0, 30.0]]))


def test_who_gives_q_values_has_no_distribution():
    with pytest.raises(AssertionError, match="gives Q-values, and no distribution"):
        mlp(1, (), 2).distribution(torch.zeros(1, 1))


def test_integer_and_double_observations_are_taken_as_float32():
    network = build(NetworkConfig(hidden=(3,)), EnvSpec("Frames", (2, 2), "uint8", 2))
    picture = torch.tensor([[[0, 255], [7, 1]]], dtype=torch.uint8)
    expected = network(picture.float())
    assert expected.dtype == torch.float32
    assert torch.equal(network(picture), expected)
    assert torch.equal(network(picture.double()), expected)


def test_the_hidden_layers_worked_by_hand():
    network = mlp(2, (2, 1), 2)
    set_to(network.body[0], [[1.0, 1.0], [1.0, -1.0]], [0.5, 0.0])
    set_to(network.body[2], [[2.0, 3.0]], [-8.0])
    set_to(network.advantage, [[1.0], [-1.0]], [0.0, 0.0])
    outputs, (first, second) = network.trace(torch.tensor([[1.0, 2.0], [3.0, 1.0]]))
    # What the rectifiers let through: (3.5, -1) and (4.5, 2), then 7 - 8 and 9 + 6 - 8.
    torch.testing.assert_close(first, torch.tensor([[3.5, 0.0], [4.5, 2.0]]))
    torch.testing.assert_close(second, torch.tensor([[0.0], [7.0]]))
    torch.testing.assert_close(outputs, torch.tensor([[0.0, 0.0], [7.0, -7.0]]))


@pytest.mark.parametrize(
    "head",
    [
        HeadConfig(),
        HeadConfig(dueling=True, noisy=True),
        HeadConfig(distribution="c51", atoms=5),
        HeadConfig(dueling=True, distribution="quantile", atoms=5),
    ],
    ids=["plain", "dueling and noisy", "c51", "quantile"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_the_same_whether_the_layers_are_asked_for_or_not(kind, head):
    spec = EnvSpec("Frames", (36, 40), "uint8", 3, frame_stack=2, scale=1 / 255)
    network = build(NetworkConfig(kind, width=0.125), spec, 1, head)
    picture = torch.randint(0, 256, (2, 2, 36, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    outputs, layers = network.trace(picture)
    assert outputs.shape == (2, 3)
    assert torch.equal(outputs, network(picture))
    assert torch.equal(outputs, build(NetworkConfig(kind, width=0.125), spec, 1, head)(picture))
    # Linear layers 256 / 8 and 512 / 8 wide; convolutions 16 / 8, (32, 64, 64) / 8 and (16, 32, 32) / 8.
    assert [tuple(layer.shape[1:]) for layer in layers] == {
        "mlp": [(32,), (32,)],
        "minatar": [(2, 34, 38), (16,)],
        "nature": [(4, 8, 9), (8, 3, 3), (8, 1, 1), (64,)],
        "impala": [(2, 18, 20), (4, 9, 10), (4, 5, 5), (32,)],
    }[kind]
    if head.distribution != "none":
        assert network.distribution(picture).shape == (2, 3, 5)
        assert torch.equal(network.mean(network.distribution(picture)), outputs)


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("stack", [1, 3])
def test_channels_first_and_last_are_the_same_image(kind, stack):
    first = EnvSpec("Frames", (2, 36, 37), "uint8", 3, frame_stack=stack, channels="first", scale=1 / 255)
    last = EnvSpec("Frames", (36, 37, 2), "uint8", 3, frame_stack=stack, channels="last", scale=1 / 255)
    image = torch.randint(0, 256, (2, *first.input_shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    config = NetworkConfig(kind, width=0.125)
    outputs = build(config, first, 4)(image)
    assert torch.equal(build(config, last, 4)(image.movedim(-3, -1).contiguous()), outputs)
    # The same numbers are another image where the columns are mirrored.
    assert not torch.isclose(build(config, last, 4)(image.movedim(-3, -1).flip(-2)), outputs).all()


@pytest.mark.parametrize("kind", KINDS[1:])
def test_maps_of_a_narrow_network_can_be_drawn_to_those_of_a_wide_one(kind):
    # Of 52x56, nature leaves 3x3 places: of a single one the map says nothing.
    spec = EnvSpec("Frames", (52, 56), "uint8", 3, scale=1 / 255)
    image = torch.randint(0, 256, (4, 52, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wide, narrow = (build(NetworkConfig(kind, width=width), spec, seed) for seed, width in enumerate((0.25, 0.125)))
    _, taught = wide.trace(image)
    _, learned = narrow.trace(image)
    for theirs, own in zip(taught[:-1], learned[:-1], strict=True):
        loss = attention(own, theirs)
        assert 0 < loss.item() < 1
        narrow.zero_grad()
        loss.backward(retain_graph=True)
        assert narrow.body[0].get_parameter("weight" if kind != "impala" else "convolution.weight").grad.any()


def test_the_body_alone_is_named_so_and_the_rest_is_the_head():
    config, spec = NetworkConfig("impala", channels=(2,), hidden=(3,)), EnvSpec("Frames", (9, 9), "uint8", 2)
    network = build(config, spec, 0, HeadConfig(dueling=True))
    assert {name.partition(".")[0] for name, _ in network.named_parameters()} == {"body", "advantage", "value"}
    assert list(network.input.parameters()) == []
