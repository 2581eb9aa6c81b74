"""The layers of each kind: convolutions worked by hand, smallest images, what is hidden."""

import pytest
import torch
from torch import nn

from distributed_kd.errors import ConfigurationError
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import build
from distributed_kd.networks.bodies import ResidualBlock, ResidualStack, hidden_places, layers, smallest_edge
from distributed_kd.records import EnvSpec


def frames(edge, kind="nature", **options):
    return build(NetworkConfig(kind, width=0.125, **options), EnvSpec("Frames", (edge, edge + 1), "uint8", 3))


def only_the_middle(convolution, factor):
    """A convolution of 3x3 that multiplies each place by a factor."""
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias.zero_()
        convolution.weight[0, 0, 1, 1] = factor


def test_a_residual_block_worked_by_hand():
    block = ResidualBlock(1)
    only_the_middle(block.first, 3.0)
    only_the_middle(block.second, -2.0)
    # What is above zero becomes x - 2 * 3 x, what is below stays as it was.
    image = torch.tensor([[[[1.0, -2.0], [0.5, 0.0]]]])
    assert block(image).tolist() == [[[[-5.0, -2.0], [-2.5, 0.0]]]]
    assert image[0, 0, 0].tolist() == [1.0, -2.0]


def test_a_residual_stack_worked_by_hand():
    stack = ResidualStack(1, 1)
    only_the_middle(stack.convolution, 2.0)
    for block in stack.blocks:
        only_the_middle(block.first, 1.0)
        only_the_middle(block.second, 1.0)
    image = torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, -9.0]]]])
    # Maxima around the corners, 5, 6, 8, 8, times 2 of the convolution and 2 of each block.
    assert stack(image).tolist() == [[[[40.0, 48.0], [64.0, 64.0]]]]


def test_a_minatar_network_worked_by_hand():
    spec = EnvSpec("Grid", (3, 4), "float32", 2)
    network = build(NetworkConfig("minatar", channels=(1,), hidden=(1,)), spec)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
        network.advantage.weight.copy_(torch.tensor([[2.0], [-1.0]]))
    observation = torch.arange(12.0).view(1, 3, 4)
    # Sums of the columns 0 to 2 and 1 to 3: 45 and 54, each and their sum a bias of 1 more: 46, 55 and 102.
    outputs, (maps, linear) = network.trace(observation)
    assert maps.tolist() == [[[[46.0, 55.0]]]]
    assert linear.tolist() == [[102.0]]
    assert outputs.tolist() == [[205.0, -101.0]]


@pytest.mark.parametrize(
    ("kind", "options", "shape", "names", "hidden"),
    [
        ("mlp", {"hidden": (5, 3)}, (4,), "Linear ReLU Linear ReLU", (1, 3)),
        ("mlp", {"hidden": (5,), "layer_norm": True}, (4,), "Linear LayerNorm ReLU", (2,)),
        ("mlp", {"hidden": ()}, (4,), "", ()),
        ("minatar", {}, (4, 10, 10), "Conv2d ReLU Flatten Linear ReLU", (1, 4)),
        ("minatar", {"layer_norm": True}, (4, 10, 10), "Conv2d ReLU Flatten Linear LayerNorm ReLU", (1, 5)),
        ("nature", {}, (4, 84, 84), "Conv2d ReLU Conv2d ReLU Conv2d ReLU Flatten Linear ReLU", (1, 3, 5, 8)),
        ("impala", {"channels": (2, 2)}, (4, 20, 20), "ResidualStack ResidualStack ReLU Flatten Linear ReLU", (0, 1, 5)),
        ("impala", {"channels": (2,), "hidden": ()}, (4, 8, 8), "ResidualStack ReLU Flatten", (0,)),
    ],
)
def test_the_layers_of_each_kind(kind, options, shape, names, hidden):
    body, features = layers(NetworkConfig(kind, **options), shape)
    assert " ".join(type(layer).__name__ for layer in body) == names
    assert hidden_places(body) == hidden
    assert body(torch.zeros(2, *shape)).shape == (2, features)


def test_kernels_and_strides_of_nature():
    convolutions = [layer for layer in layers(NetworkConfig("nature"), (4, 84, 84))[0] if isinstance(layer, nn.Conv2d)]
    told = [(layer.out_channels, layer.kernel_size, layer.stride, layer.padding) for layer in convolutions]
    assert told == [(32, (8, 8), (4, 4), (0, 0)), (64, (4, 4), (2, 2), (0, 0)), (64, (3, 3), (1, 1), (0, 0))]


@pytest.mark.parametrize(("kind", "edge"), [("minatar", 3), ("nature", 36), ("impala", 1)])
def test_the_smallest_image(kind, edge):
    # nature, backwards from one place: 3, then (3 - 1) * 2 + 4 = 8, then (8 - 1) * 4 + 8 = 36
    assert smallest_edge(kind) == edge
    assert frames(edge, kind)(torch.zeros(2, edge, edge + 1)).shape == (2, 3)


@pytest.mark.parametrize(("kind", "edge"), [("minatar", 2), ("nature", 35)])
def test_too_small_an_image_is_named_with_what_it_needs(kind, edge):
    with pytest.raises(ConfigurationError) as caught:
        frames(edge, kind)
    (line,) = caught.value.lines
    assert line.startswith(f"network does not fit (network.kind={kind}): images of {edge}x{edge + 1} are too small for it")
    assert f"it needs {edge + 1}x{edge + 1} at least. Choose mlp" in line


@pytest.mark.parametrize("kind", ["minatar", "nature", "impala"])
@pytest.mark.parametrize("shape", [(4,), (10, 10, 4), (2, 10, 10, 4)])
def test_what_is_no_image_is_told_so(kind, shape):
    with pytest.raises(ConfigurationError) as caught:
        build(NetworkConfig(kind), EnvSpec("Numbers", shape, "float32", 2))
    assert caught.value.lines == (
        f"network does not fit (network.kind={kind}): observations of shape {list(shape)} are no images. Choose mlp",
    )


def test_layer_normalisation_worked_by_hand():
    network = build(NetworkConfig(hidden=(2,), layer_norm=True), EnvSpec("Numbers", (1,), "float32", 2))
    with torch.no_grad():
        network.body[0].weight.copy_(torch.tensor([[4.0], [2.0]]))
        network.body[0].bias.zero_()
    _, (hidden,) = network.trace(torch.tensor([[1.0], [-100.0]]))
    # (4, 2) and (-400, -200) have mean 3 and -300, deviation 1 and 100: (1, -1) and (-1, 1), of which half passes.
    torch.testing.assert_close(hidden, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), atol=1e-5, rtol=0)
