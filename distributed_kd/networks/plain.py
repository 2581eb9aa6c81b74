"""Networks of linear layers and ReLU, several at once, each operation written straight into where its result belongs.

A small network's forward and backward cost less time than what automatic differentiation does around them. What lies
between the layers is kept from update to update, and the operations on it are made ready once for each size of batch.
Equal networks are one product a layer; for those of other widths there is a product each.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import Function

from distributed_kd.networks.prepared import Call, do, gated, product, rectified
from distributed_kd.networks.q_network import QNetwork


@dataclass(frozen=True, order=True)
class Sizes:
    """(in, out) of each layer, first to last; with `dueling` the last two are those of the advantages and of the value."""

    layers: tuple[tuple[int, int], ...] = ()
    dueling: bool = False

    def __bool__(self) -> bool:
        return bool(self.layers)

    def cut(self, vector: Tensor) -> Iterator[Tensor]:
        """The layers that lie in vectors [..., P], one behind the other, as views [..., out, in + 1], the bias last."""
        start = 0
        for fan_in, fan_out in self.layers:
            end = start + fan_out * (fan_in + 1)
            yield vector[..., start:end].unflatten(-1, (fan_out, fan_in + 1))
            start = end


class EqualNetworks:
    """K networks of the same sizes, whose parameters are the rows of a matrix, as `Sizes.cut` has them."""

    def __init__(self, sizes: Sizes, flat: Tensor, gradient: Tensor | None):
        """`flat` [K, P], of which as many columns are used as there are parameters; gradients go to `gradient` [K, P].

        Without it there is no `backward`.
        """
        self.count = len(flat)
        self.layers = self._cut(sizes, flat)
        self.gradients = [] if gradient is None else self._cut(sizes, gradient)
        self.before: list[Call] = []
        self.behind: list[Call] = []
        if sizes.dueling:
            joined = _Dueling(self.layers[-2:], self.gradients[-2:])
            self.layers[-2:], self.before = [joined.layer], [joined.join]
            if self.gradients:
                self.gradients[-2:], self.behind = [joined.gradient], [joined.part]
        self.inputs, self.outputs = self.layers[0].shape[-1] - 1, self.layers[-1].shape[-2]

    def _cut(self, sizes: Sizes, rows: Tensor) -> list[Tensor]:
        """The layers [K, out, in + 1]; without the K where there is one."""
        return list(sizes.cut(_one_alone(rows)))


class _Dueling:
    """The one layer that advantages and value are together: v + a - mean(a) is linear in the features too."""

    def __init__(self, layers: Sequence[Tensor], gradients: Sequence[Tensor]):
        """The last two of the layers are those of the advantages and of the value, and so of the gradients, if there are."""
        self._streams, self._their_gradients = layers, gradients
        self.layer, self.gradient = torch.empty_like(layers[0]), torch.empty_like(layers[0])

    def join(self) -> None:
        """Write the layer, of the parameters as they are now."""
        advantage, value = self._streams
        torch.sub(advantage, advantage.mean(-2, keepdim=True), out=self.layer).add_(value)

    def part(self) -> None:
        """Write the gradients of both, of that of the layer."""
        advantage, value = self._their_gradients
        torch.sub(self.gradient, self.gradient.mean(-2, keepdim=True), out=advantage)
        torch.sum(self.gradient, -2, keepdim=True, out=value)


@dataclass(frozen=True)
class _Depth:
    """What all networks that go deeper give at one depth, one behind the other in one vector.

    Each is closed by a row of ones, which the biases of its next layer are multiplied by.
    """

    all: Tensor
    parts: dict[int, Tensor]
    """by the place of the networks among all, [K, width + 1, B], without the K where there is one"""

    @classmethod
    def of(cls, members: Sequence[EqualNetworks], depth: int, rows: int, like: Tensor) -> "_Depth":
        deeper = {place: one.layers[depth] for place, one in enumerate(members) if len(one.layers) > depth + 1}
        shapes = [(*layer.shape[:-2], layer.shape[-2] + 1, rows) for layer in deeper.values()]
        sizes = [math.prod(shape) for shape in shapes]
        whole = like.new_ones(sum(sizes))
        parts = (part.view(shape) for part, shape in zip(whole.split(sizes), shapes, strict=True))
        return cls(whole, dict(zip(deeper, parts, strict=True)))

    def without_ones(self, place: int) -> Tensor:
        return self.parts[place][..., :-1, :]


class _Pass:
    """The way there and back of batches of one size: places for all that lies between, and the calls that fill them."""

    def __init__(self, members: Sequence[EqualNetworks], rows: int):
        like, counts = members[0].layers[0], [one.count for one in members]
        self._members, self._deepest = members, max(len(one.layers) for one in members)
        self._seen = like.new_ones((members[0].inputs + 1, rows))
        ends = like.new_zeros((2, sum(counts), members[0].outputs, rows))
        self.inputs = self._seen[:-1].t()
        self.outputs, self.gradient = ends.transpose(-1, -2).unbind()
        # The gradient at what a depth gives has the form of what it gives; the ones have none, and nobody asks for it.
        self._ends, self._end_gradients = ([_one_alone(part) for part in of.split(counts)] for of in ends.unbind())
        self._given, self._gradients = (
            [_Depth.of(members, depth, rows, like) for depth in range(self._deepest - 1)] for _ in range(2)
        )
        self.layers = [
            [depth.without_ones(place).transpose(-1, -2) for depth in self._given if place in depth.parts]
            for place in range(len(members))
        ]
        self.there = [*(call for one in members for call in one.before), *self._forward()]
        self.back = [*self._backward(), *(call for one in members for call in one.behind)]

    def _forward(self) -> Iterator[Call]:
        for depth in range(self._deepest):
            for place, one in self._reaching(depth):
                is_last = depth == len(one.layers) - 1
                out = self._ends[place] if is_last else self._given[depth].without_ones(place)
                yield product(one.layers[depth], self._features(depth, place), out)
            if depth < self._deepest - 1:
                yield rectified(self._given[depth].all)

    def _backward(self) -> Iterator[Call]:
        for depth in reversed(range(self._deepest)):
            for place, one in self._reaching(depth):
                if not one.gradients:
                    continue
                is_last = depth == len(one.layers) - 1
                gradient = self._end_gradients[place] if is_last else self._gradients[depth].without_ones(place)
                yield product(gradient, self._features(depth, place).transpose(-1, -2), one.gradients[depth])
                if depth:
                    weight = one.layers[depth][..., :-1].transpose(-1, -2)
                    yield product(weight, gradient, self._gradients[depth - 1].without_ones(place))
            if depth:
                yield gated(self._gradients[depth - 1].all, self._given[depth - 1].all)

    def _reaching(self, depth: int) -> Iterator[tuple[int, EqualNetworks]]:
        return ((place, one) for place, one in enumerate(self._members) if depth < len(one.layers))

    def _features(self, depth: int, place: int) -> Tensor:
        """What a layer sees, its last row ones."""
        return self._given[depth - 1].parts[place] if depth else self._seen


def _one_alone(networks: Tensor) -> Tensor:
    """[K, ...], without the K where there is one."""
    return networks[0] if len(networks) == 1 else networks


class PlainNetworks:
    """Networks of several sizes, with inputs and actions in common, as one function.

    A backward overwrites the gradients of all their parameters; it adds nothing to what stood there.
    """

    def __init__(self, members: Sequence[EqualNetworks]):
        self._members = tuple(members)
        self._passes: dict[int, _Pass] = {}
        self.forwards = 0
        """so far: a backward is that of the last one"""
        self._newest: _Pass | None = None
        # Autograd asks for a backward only where something wants a gradient.
        self._handle = torch.zeros((), requires_grad=True)

    def __call__(self, inputs: Tensor) -> Tensor:
        """[B, F] -> the outputs of all [K, B, A], in the order of the members."""
        return _Through.apply(self._handle, self, self.computed(inputs))

    @property
    def layers(self) -> list[list[Tensor]]:
        """What each hidden layer of each member gave in the last forward [K, B, H], without the K where there is one.

        The next forward of a batch of this size writes over it.
        """
        return self._newest.layers

    @torch.no_grad()
    def computed(self, inputs: Tensor) -> Tensor:
        """The same outputs, that no gradient leads back from."""
        if torch.is_autocast_enabled(inputs.device.type):  # too small to gain from fewer digits
            with torch.autocast(inputs.device.type, enabled=False):
                return self.computed(inputs)
        newest = self._passes.get(len(inputs))
        if newest is None:
            newest = self._passes[len(inputs)] = _Pass(self._members, len(inputs))
        self.forwards, self._newest = self.forwards + 1, newest
        newest.inputs.copy_(inputs)
        do(newest.there)
        return newest.outputs.clone(memory_format=torch.contiguous_format)

    @torch.no_grad()
    def backward(self, gradient: Tensor) -> None:
        """Write the gradients of all parameters, from the loss's gradient [K, B, A] at the outputs of the last forward."""
        if torch.is_autocast_enabled(gradient.device.type):
            with torch.autocast(gradient.device.type, enabled=False):
                return self.backward(gradient)
        self._newest.gradient.copy_(gradient)
        do(self._newest.back)


class PlainNetwork:
    """One such network in place of the `QNetwork` that it is, whose parameters and gradients lie in vectors [P]."""

    def __init__(self, network: QNetwork, flat: Tensor, gradient: Tensor | None = None):
        self._input = network.input
        rows = None if gradient is None else gradient.unsqueeze(0)
        self._all = PlainNetworks([EqualNetworks(sizes_of(network), flat.detach().unsqueeze(0), rows)])

    def __call__(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> outputs [B, A] that no gradient leads back from."""
        return self._all.computed(self._input(observation))[0]

    def trace(self, observation: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """[B, *input_shape] -> outputs [B, A], and what each hidden layer gives, which the next call writes over."""
        outputs = self(observation)
        return outputs, tuple(self._all.layers[0])

    def backward(self, gradient: Tensor) -> None:
        """Write the gradients of all parameters, from the loss's gradient [B, A] at what `trace` gave last."""
        self._all.backward(gradient.unsqueeze(0))


def sizes_of(network: nn.Module) -> Sizes:
    """Of a network that is nothing but linear layers and ReLU, all of it in training; none of any other."""
    linear = network.plain_layers() if isinstance(network, QNetwork) else None
    if linear is None or not all(one.requires_grad for one in network.parameters()):
        return Sizes()
    return Sizes(tuple((one.in_features, one.out_features) for one in linear), network.is_dueling)


class _Through(Function):
    """Outputs that were computed already, and the way back from them."""

    @staticmethod
    def forward(context, _: Tensor, networks: PlainNetworks, outputs: Tensor) -> Tensor:
        context.networks, context.forwards = networks, networks.forwards
        return outputs.view_as(outputs)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[None, ...]:
        if context.forwards != context.networks.forwards:
            raise RuntimeError("these outputs are not those of the last forward, and what led to them is gone")
        context.networks.backward(gradient)
        return None, None, None
