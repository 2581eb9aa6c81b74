"""A network that trains alone: its own optimizer, its own gradient clip, its own learning rate over the run."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from distributed_kd.maths.schedules import linear
from distributed_kd.records import State


class Trainable:
    """One network with Adam. Nothing of it is shared, so that no network's training can move another's.

    All parameters that train are views into one vector, and so are their gradients: clipping and the optimizer then cost
    one operation each, where a small network would spend most of its time going from tensor to tensor.
    """

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        learning_rate_end: float,
        max_grad_norm: float,
        trainable: str = "all",
        extra: nn.Module | None = None,
    ):
        """`trainable` as in `selected`; `extra` trains along, but is no part of the network that acts."""
        self.network, self._extra = network, extra if extra is not None else nn.Module()
        self._learning_rate, self._end, self._max_grad_norm = learning_rate, learning_rate_end, max_grad_norm
        chosen = selected(network, trainable)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in chosen)
        parameters = [*chosen.values(), *self._extra.parameters()]
        self.flat = nn.Parameter(as_one_vector(parameters))
        self._gradient = torch.zeros_like(self.flat)
        self.flat.grad = self._gradient
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.grad = self._gradient[start:end].view_as(parameter)
            start = end
        self._adam = torch.optim.Adam([self.flat], lr=learning_rate, fused=True)

    def step(self, loss: Tensor, progress: float) -> Tensor:
        """One descent of a 0-d loss at `progress` (0 to 1) of its schedules; gives the gradient's norm before clipping."""
        self._adam.param_groups[0]["lr"] = self._learning_rate * linear(1.0, self._end, 1.0, progress)
        self._gradient.zero_()
        loss.backward()
        norm = torch.linalg.vector_norm(self._gradient)
        self._gradient.mul_((self._max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        self._adam.step()
        return norm

    def state(self) -> State:
        adam = self._adam.state_dict()["state"].get(0, {})
        return {
            "network": copied(self.network),
            "extra": copied(self._extra),
            "adam": {name: value.clone() for name, value in adam.items()},
        }

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises RuntimeError where a shape does not fit."""
        refill(self.network, state["network"])
        refill(self._extra, state["extra"])
        entry = {name: torch.as_tensor(value).clone() for name, value in state["adam"].items()}
        groups = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": {0: entry} if entry else {}, "param_groups": groups})


def selected(network: nn.Module, trainable: str) -> dict[str, nn.Parameter]:
    """The parameters that `trainable` means: "all", "head" (all but the body), or those whose names match a pattern."""
    named = dict(network.named_parameters())
    if trainable == "all":
        return named
    if trainable == "head":
        return {name: one for name, one in named.items() if not name.startswith("body.")}
    return {name: one for name, one in named.items() if fnmatchcase(name, trainable)}


def copied(network: nn.Module) -> dict[str, Tensor]:
    """A network's parameters by name, as they are now."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def refill(network: nn.Module, parameters: State) -> None:
    """Copy tensors or arrays, by name, into a network. Raises RuntimeError where a shape does not fit."""
    network.load_state_dict({name: torch.as_tensor(value) for name, value in parameters.items()})


@torch.no_grad()
def as_one_vector(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Lay parameters into one new vector [P], in their order, and make them views of it."""
    parameters: Sequence[nn.Parameter] = list(parameters)
    flat = torch.cat([parameter.reshape(-1) for parameter in parameters])
    start = 0
    for parameter in parameters:
        end = start + parameter.numel()
        parameter.data = flat[start:end].view_as(parameter)
        start = end
    return flat
