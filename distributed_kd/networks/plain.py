"""Networks of linear layers and ReLU, several at once, each operation written straight into where its result belongs.

A small network's forward and backward cost less time than what automatic differentiation does around them. Equal networks
are one product [K, B, in] x [K, in, out] a layer; for those of other widths there is a product each.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd import Function

from distributed_kd.networks.q_network import QNetwork

Sizes = tuple[tuple[int, int], ...]
"""(in, out) of each layer, first to last"""


class EqualNetworks:
    """K networks of the same sizes, whose parameters are the rows of a matrix, layer by layer weight before bias."""

    def __init__(self, sizes: Sizes, flat: Tensor, gradient: Tensor | None):
        """`flat` [K, P], of which as many columns are used as there are parameters; gradients go to `gradient` [K, P].

        Without it there is no `backward`.
        """
        self.count, self.outputs = len(flat), sizes[-1][1]
        weights, biases = self._cut(sizes, flat)
        self._layers = list(zip(biases, weights, [one.transpose(-1, -2) for one in weights], strict=True))
        self._gradients = [] if gradient is None else list(zip(*self._cut(sizes, gradient), strict=True))

    def _cut(self, sizes: Sizes, rows: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Views of the weights [K, out, in] and the biases [K, 1, out]; without the K where there is one network."""
        weights, biases, start = [], [], 0
        for fan_in, fan_out in sizes:
            for shape, views in (((fan_out, fan_in), weights), ((1, fan_out), biases)):
                end = start + shape[0] * shape[1]
                view = rows[:, start:end].view(self.count, *shape)
                views.append(view[0] if self.count == 1 else view)
                start = end
        return weights, biases

    def forward(self, inputs: Tensor, outputs: Tensor) -> list[Tensor]:
        """From inputs [B, F] to outputs [K, B, A], which are filled; gives what `backward` needs."""
        product = torch.addmm if self.count == 1 else torch.baddbmm
        features = inputs if self.count == 1 else inputs.expand(self.count, -1, -1)
        kept = [features]
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
            product(gradient.transpose(-1, -2), kept[place], out=of_weight)
            torch.sum(gradient, -2, keepdim=True, out=of_bias)
            if place:
                # What a ReLU gave is 0 or above it: its sign is the ReLU's derivative.
                gradient = product(gradient, self._layers[place][1]).mul_(kept[place].sign())


class PlainNetworks:
    """Networks of several sizes, with inputs and actions in common, as one function.

    A backward overwrites the gradients of all their parameters; it adds nothing to what stood there.
    """

    def __init__(self, members: Sequence[EqualNetworks]):
        self._members, self._actions = tuple(members), members[0].outputs
        self._count = sum(one.count for one in members)
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
        outputs = inputs.new_empty((self._count, len(inputs), self._actions))
        parts = outputs.split([one.count for one in self._members])
        return outputs, [one.forward(inputs, part) for one, part in zip(self._members, parts, strict=True)]

    def backward(self, kept: list[list[Tensor]], gradient: Tensor) -> None:
        """Write the gradients of all parameters, from the loss's gradient [K, B, A] at the outputs."""
        if torch.is_autocast_enabled(gradient.device.type):
            with torch.autocast(gradient.device.type, enabled=False):
                return self.backward(kept, gradient)
        parts = gradient.split([one.count for one in self._members])
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
    """Of a network that is nothing but linear layers and ReLU, all of it in training; nothing of any other."""
    linear = network.plain_layers() if isinstance(network, QNetwork) else None
    if linear is None or not all(one.requires_grad for one in network.parameters()):
        return ()
    return tuple((one.in_features, one.out_features) for one in linear)


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
