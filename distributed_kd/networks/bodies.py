"""The layers of the networks by name, from the input to the last hidden layer."""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.network_config import NetworkConfig

Convolutions = tuple[tuple[int, int], ...]

KERNELS: dict[str, Convolutions] = {"minatar": ((3, 1),), "nature": ((8, 4), (4, 2), (3, 1))}
"""Edge and stride of each convolution, none of them padded. Young and Tian 2019, 1903.03176; Mnih et al. 2015"""
BLOCKS = 2
"""impala: residual blocks in each stack"""


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(relu(x)))), of 3x3. Espeholt et al. 2018, 1802.01561."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> the same shape."""
        return image + self.second(functional.relu(self.first(functional.relu(image))))


class ResidualStack(nn.Module):
    """A convolution of 3x3, the maxima of 3x3 at every second place, and two residual blocks. Espeholt et al. 2018."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(BLOCKS)))

    def forward(self, image: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, channels, H / 2, W / 2], rounded up."""
        return self.blocks(self.pool(self.convolution(image)))


class Body(nn.Sequential):
    """The layers of a network from its input to the last hidden one, which also tells of those between."""

    def __init__(self, *layers: nn.Module):
        super().__init__(*layers)
        self._hidden = hidden_places(self)

    def forward(self, features: Tensor, trace: bool = False) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """[B, ...] -> the features [B, F]; with `trace` what each hidden layer gives beside them, first to last."""
        hidden = []
        for place, layer in enumerate(self):
            features = layer(features)
            if trace and place in self._hidden:
                hidden.append(features)
        return (features, tuple(hidden)) if trace else features


def layers(config: NetworkConfig, shape: tuple[int, ...]) -> tuple[Body, int]:
    """The body of a network by name for inputs of a shape, (numbers,) or (C, H, W), and how many features it gives.

    Raises ConfigurationError where the image is too small.
    """
    image = _image_layers(config, shape) if config.is_convolutional else []
    features = _features(image, shape) if image else prod(shape)
    widths = (features, *config.units)
    linear: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        linear.append(nn.Linear(width_in, width_out))
        if config.layer_norm:
            linear.append(nn.LayerNorm(width_out))
        linear.append(nn.ReLU())
    return Body(*image, *linear), widths[-1]


def hidden_places(body: nn.Sequential) -> tuple[int, ...]:
    """Where the hidden layers stand that losses may look at: what each ReLU gives, and what each residual stack does.

    The ReLU behind the last stack is none: it only completes that stack's blocks, each of which begins with its own.
    """
    modules = list(body)
    return tuple(
        place
        for place, module in enumerate(modules)
        if isinstance(module, ResidualStack)
        or (isinstance(module, nn.ReLU) and not (place and isinstance(modules[place - 1], ResidualStack)))
    )


def smallest_edge(kind: str) -> int:
    """Of an image that leaves at least one place behind all convolutions of a kind."""
    edge = 1
    for kernel, stride in reversed(KERNELS.get(kind, ())):
        edge = (edge - 1) * stride + kernel
    return edge


def no_image(kind: str, shape: tuple[int, ...]) -> ConfigurationError:
    """The word on observations that no convolution can read."""
    why = f"observations of shape {list(shape)} are no images"
    return ConfigurationError(Problem("network does not fit", "network.kind", kind, why, "Choose mlp"))


def _image_layers(config: NetworkConfig, shape: tuple[int, ...]) -> list[nn.Module]:
    channels, *edges = shape
    smallest = smallest_edge(config.kind)
    if min(edges) < smallest:
        why = f"images of {edges[0]}x{edges[1]} are too small for it: it needs {smallest}x{smallest} at least"
        raise ConfigurationError(Problem("network does not fit", "network.kind", config.kind, why, "Choose mlp"))
    modules: list[nn.Module] = []
    widths = tuple(pairwise((channels, *config.filters)))
    if config.kind == "impala":
        modules += [ResidualStack(width_in, width_out) for width_in, width_out in widths]
        modules.append(nn.ReLU())
    else:
        for (width_in, width_out), (kernel, stride) in zip(widths, KERNELS[config.kind], strict=True):
            modules += [nn.Conv2d(width_in, width_out, kernel, stride), nn.ReLU()]
    return [*modules, nn.Flatten()]


@torch.no_grad()
def _features(modules: list[nn.Module], shape: tuple[int, ...]) -> int:
    return nn.Sequential(*modules)(torch.zeros((1, *shape))).shape[1]
