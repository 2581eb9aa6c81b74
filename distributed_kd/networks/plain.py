"""Networks of linear layers and ReLU, several at once, each operation written straight into where its result belongs.

A small network's forward and backward cost less time than what automatic differentiation does around them. Equal networks
are one product [K, B, in] x [K, in, out] a layer; for those of other widths there is a product each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import Function

from distributed_kd.networks.q_network import QNetwork

THIN = 8
"""Inputs up to which the gradient of a weight [out, in] is faster got as its transpose, on a CPU: a product so narrow runs
at a tenth of the speed, and the copy is small. Eight layers of 4 to 64, batch 64, on an AMD EPYC: 59 and 10 microseconds."""
_Layer = tuple[Tensor, Tensor]
"""Weight [K, out, in] and bias [K, 1, out] of a layer of K networks; without the K where there is one"""


@dataclass(frozen=True, order=True)
class Sizes:
    """(in, out) of each layer, first to last; with `dueling` the last two are those of the advantages and of the value."""

    layers: tuple[tuple[int, int], ...] = ()
    dueling: bool = False

    def __bool__(self) -> bool:
        return bool(self.layers)


class EqualNetworks:
    """K networks of the same sizes, whose parameters are the rows of a matrix, layer by layer weight before bias."""

    def __init__(self, sizes: Sizes, flat: Tensor, gradient: Tensor | None):
        """`flat` [K, P], of which as many columns are used as there are parameters; gradients go to `gradient` [K, P].

        Without it there is no `backward`.
        """
        self.count = len(flat)
        layers, gradients = self._cut(sizes, flat), [] if gradient is None else self._cut(sizes, gradient)
        self._dueling = _Dueling(layers, gradients) if sizes.dueling else None
        if self._dueling:
            layers[-2:] = [self._dueling.layer]
            gradients[-2:] = [self._dueling.gradient]
        self.outputs = layers[-1][0].shape[-2]
        self._layers = [(bias, weight, weight.transpose(-1, -2)) for weight, bias in layers]
        self._gradients = gradients

    def _cut(self, sizes: Sizes, rows: Tensor) -> list[_Layer]:
        """The layers as views of the rows."""
        layers, start = [], 0
        for fan_in, fan_out in sizes.layers:
            middle, end = start + fan_out * fan_in, start + fan_out * (fan_in + 1)
            weight = rows[:, start:middle].view(self.count, fan_out, fan_in)
            bias = rows[:, middle:end].view(self.count, 1, fan_out)
            layers.append((weight[0], bias[0]) if self.count == 1 else (weight, bias))
            start = end
        return layers

    def forward(self, inputs: Tensor, outputs: Tensor) -> list[Tensor]:
        """From inputs [B, F] to outputs [K, B, A], which are filled; gives what `backward` needs."""
        product = torch.addmm if self.count == 1 else torch.baddbmm
        features = inputs if self.count == 1 else inputs.expand(self.count, -1, -1)
        kept = [features]
        if self._dueling:
            self._dueling.join()
        *hidden, last = self._layers
        for bias, _, weight in hidden:
            features = product(bias, features, weight).relu_()
            kept.append(features)
        product(last[0], features, last[2], out=outputs[0] if self.count == 1 else outputs)
        return kept

    def backward(self, kept: Sequence[Tensor], gradient: Tensor) -> None:
        """Write the gradients of all parameters, from the loss's gradient [K, B, A] at the outputs."""
        product, gradient = (torch.mm, gradient[0]) if self.count == 1 else (torch.bmm, gradient)
        for place in reversed(range(len(kept))):
            of_weight, of_bias = self._gradients[place]
            if of_weight.shape[-1] <= THIN:
                of_weight.copy_(product(kept[place].transpose(-1, -2), gradient).transpose(-1, -2))
            else:
                product(gradient.transpose(-1, -2), kept[place], out=of_weight)
            torch.sum(gradient, -2, keepdim=True, out=of_bias)
            if place:
                # What a ReLU gave is 0 or above it: its sign is the ReLU's derivative.
                gradient = product(gradient, self._layers[place][1]).mul_(kept[place].sign())
        if self._dueling:
            self._dueling.part()


class _Dueling:
    """The one layer that advantages and value are together: v + a - mean(a) is linear in the features too."""

    def __init__(self, layers: Sequence[_Layer], gradients: Sequence[_Layer]):
        """The last two of the layers are those of the advantages and of the value, and so of the gradients, if there are."""
        self._streams = list(zip(*layers[-2:], strict=True))
        self._their_gradients = list(zip(*gradients[-2:], strict=True))
        self.layer, self.gradient = (tuple(torch.empty_like(one) for one in layers[-2]) for _ in range(2))
        self._parts = [(self.layer[0], self.gradient[0], -2), (self.layer[1], self.gradient[1], -1)]

    def join(self) -> None:
        """Write the layer, of the parameters as they are now."""
        for (whole, _, axis), (advantage, value) in zip(self._parts, self._streams, strict=True):
            torch.sub(advantage, advantage.mean(axis, keepdim=True), out=whole).add_(value)

    def part(self) -> None:
        """Write the gradients of both, of that of the layer."""
        for (_, whole, axis), (advantage, value) in zip(self._parts, self._their_gradients, strict=True):
            torch.sub(whole, whole.mean(axis, keepdim=True), out=advantage)
            torch.sum(whole, axis, keepdim=True, out=value)


class PlainNetworks:
    """Networks of several sizes, with inputs and actions in common, as one function.

    A backward overwrites the gradients of all their parameters; it adds nothing to what stood there.
    """

    def __init__(self, members: Sequence[EqualNetworks]):
        self._members, self._actions = tuple(members), members[0].outputs
        self._counts = [one.count for one in members]
        # Autograd asks for a backward only where something wants a gradient.
        self._handle = torch.zeros((), requires_grad=True)

    def __call__(self, inputs: Tensor) -> Tensor:
        """[B, F] -> the outputs of all [K, B, A], in the order of the members."""
        return _Through.apply(self._handle, self, *self.computed(inputs))

    @torch.no_grad()
    def computed(self, inputs: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """The same outputs, that no gradient leads back from, and of each member what came into each of its layers."""
        if torch.is_autocast_enabled(inputs.device.type):  # too small to gain from fewer digits
            with torch.autocast(inputs.device.type, enabled=False):
                return self.computed(inputs)
        outputs = inputs.new_empty((sum(self._counts), len(inputs), self._actions))
        parts = outputs.split_with_sizes(self._counts)
        return outputs, [one.forward(inputs, part) for one, part in zip(self._members, parts, strict=True)]

    def backward(self, kept: list[list[Tensor]], gradient: Tensor) -> None:
        """Write the gradients of all parameters, from the loss's gradient [K, B, A] at the outputs."""
        if torch.is_autocast_enabled(gradient.device.type):
            with torch.autocast(gradient.device.type, enabled=False):
                return self.backward(kept, gradient)
        parts = gradient.split_with_sizes(self._counts)
        for one, its, part in zip(self._members, kept, parts, strict=True):
            one.backward(its, part)


class PlainNetwork:
    """One such network in place of the `QNetwork` that it is, whose parameters and gradients lie in vectors [P]."""

    def __init__(self, network: QNetwork, flat: Tensor, gradient: Tensor | None = None):
        self._input = network.input
        rows = None if gradient is None else gradient.unsqueeze(0)
        self._all = PlainNetworks([EqualNetworks(sizes_of(network), flat.detach().unsqueeze(0), rows)])

    def __call__(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> outputs [B, A] that no gradient leads back from."""
        return self._all.computed(self._input(observation))[0][0]

    def trace(self, observation: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """[B, *input_shape] -> outputs [B, A], and what each hidden layer gives; remembered for `backward`."""
        outputs, self._kept = self._all.computed(self._input(observation))
        return outputs[0], tuple(self._kept[0][1:])

    def backward(self, gradient: Tensor) -> None:
        """Write the gradients of all parameters, from the loss's gradient [B, A] at what `trace` gave last."""
        self._all.backward(self._kept, gradient.unsqueeze(0))


def sizes_of(network: nn.Module) -> Sizes:
    """Of a network that is nothing but linear layers and ReLU, all of it in training; none of any other."""
    linear = network.plain_layers() if isinstance(network, QNetwork) else None
    if linear is None or not all(one.requires_grad for one in network.parameters()):
        return Sizes()
    return Sizes(tuple((one.in_features, one.out_features) for one in linear), network.is_dueling)


class _Through(Function):
    """Outputs that were computed already, and the way back from them."""

    @staticmethod
    def forward(context, _: Tensor, networks: PlainNetworks, outputs: Tensor, kept: list[list[Tensor]]) -> Tensor:
        context.networks, context.kept = networks, kept
        return outputs.view_as(outputs)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[None, ...]:
        context.networks.backward(context.kept, gradient)
        return None, None, None, None
