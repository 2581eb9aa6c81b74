"""Where the parameters that train lie in one vector, so that what is done to all of them is one operation."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distributed_kd.networks.plain import Sizes, sizes_of

# A bias among weights is no block of memory, and PyTorch thinks that slow; it is what makes a layer one product.
warnings.filterwarnings("ignore", "grad and param do not obey the gradient layout contract")


class Layout:
    """Parameters in the order of a network's own, then others.

    In networks of linear layers each output's bias stands behind its weights: so a layer with its bias is one matrix, and so
    is its gradient (`networks.plain`).
    """

    def __init__(self, sizes: Sizes, shapes: Sequence[torch.Size]):
        """`sizes` of the layers that come first, none where these are not linear layers alone."""
        self._sizes, self._shapes = sizes, list(shapes)

    @classmethod
    def of(cls, network: nn.Module, parameters: Sequence[nn.Parameter]) -> "Layout":
        """Of these, of which the first are those of the network that train."""
        return cls(sizes_of(network), [one.shape for one in parameters])

    def first(self, parameters: int) -> "Layout":
        """The layout of so many of the first parameters, all of the network's own among them."""
        return Layout(self._sizes, self._shapes[:parameters])

    def views(self, vector: Tensor) -> list[Tensor]:
        """Each parameter's place in a vector [P]."""
        views, start = [], 0
        for layer in self._sizes.cut(vector):
            views += [layer[:, :-1], layer[:, -1]]
            start += layer.numel()
        for shape in self._shapes[len(views) :]:
            end = start + shape.numel()
            views.append(vector[start:end].view(shape))
            start = end
        return views

    @torch.no_grad()
    def laid(self, parameters: Sequence[Tensor]) -> Tensor:
        """A new vector [P] with copies of these."""
        vector = parameters[0].new_empty(sum(shape.numel() for shape in self._shapes))
        for place, parameter in zip(self.views(vector), parameters, strict=True):
            place.copy_(parameter)
        return vector

    def gathered(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        """As `laid`; the parameters are then views of it."""
        vector = self.laid([parameter.detach() for parameter in parameters])
        self.let(parameters, vector)
        return vector

    def let(self, parameters: Sequence[nn.Parameter], vector: Tensor) -> None:
        """Make the parameters views of a vector [P]."""
        for place, parameter in zip(self.views(vector.detach()), parameters, strict=True):
            parameter.data = place

    def in_order(self, vector: Tensor) -> Tensor:
        """A new vector [P] with the numbers of one in the parameters' own order, each a block of its own."""
        return torch.cat([place.reshape(-1) for place in self.views(vector)])

    def from_order(self, vector: Tensor) -> Tensor:
        """The way back from `in_order`. Raises RuntimeError where the sizes differ."""
        parts = vector.split([shape.numel() for shape in self._shapes])
        return self.laid([part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)])
