"""Linear layers that explore by noise on their parameters, whose size they learn. Fortunato et al. 2018, 1706.10295."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

SIGMA = 0.5
"""Size of the noise at the start, times 1 / sqrt(inputs)"""


class NoisyLinear(nn.Linear):
    """y = (weight + weight_sigma * e_out e_in^T) x + bias + bias_sigma * e_out, with factorised Gaussian noise e.

    The noise is 0 until it is drawn: the layer then is a linear layer of its mean parameters. A draw takes the place of the
    noise before: it belongs in front of a forward, not between that and its backward.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)  # its usual start, uniform within 1 / sqrt(inputs), is the paper's for the means
        self.weight_sigma = nn.Parameter(torch.full((outputs, inputs), SIGMA / inputs**0.5))
        self.bias_sigma = nn.Parameter(torch.full((outputs,), SIGMA / inputs**0.5))
        self.register_buffer("noise_in", torch.zeros(inputs), persistent=False)
        self.register_buffer("noise_out", torch.zeros(outputs), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs]."""
        weight = self.weight + self.weight_sigma * torch.outer(self.noise_out, self.noise_in)
        return functional.linear(features, weight, self.bias + self.bias_sigma * self.noise_out)


def is_noisy(network: nn.Module) -> bool:
    """It has layers with noise."""
    return any(isinstance(module, NoisyLinear) for module in network.modules())


@torch.no_grad()
def draw_noise(network: nn.Module, normal: Callable[[int], Tensor]) -> None:
    """Fill the noise of all layers anew: f(x) = sign(x) sqrt(|x|) of standard normal numbers, first layer first.

    normal(n) gives n such numbers, float32 [n]; it is called once, and not for a network without noise.
    """
    noises = _noises(network)
    if not noises:
        return
    numbers = normal(sum(noise.numel() for noise in noises))
    numbers = numbers.sign() * numbers.abs().sqrt()
    for noise, drawn in zip(noises, numbers.split([noise.numel() for noise in noises]), strict=True):
        noise.copy_(drawn)


@torch.no_grad()
def silence(network: nn.Module) -> None:
    """Set all noise to 0, so that the network acts by its mean parameters."""
    for noise in _noises(network):
        noise.zero_()


def _noises(network: nn.Module) -> list[Tensor]:
    layers = [module for module in network.modules() if isinstance(module, NoisyLinear)]
    return [noise for layer in layers for noise in (layer.noise_in, layer.noise_out)]
