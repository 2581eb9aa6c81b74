"""A network that trains alone: its own optimizer, its own gradient clip, its own learning rate over the run."""

import math
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from distributed_kd.learning.adam import Adam, known_finite
from distributed_kd.learning.layout import Layout
from distributed_kd.learning.moving import Progress, number
from distributed_kd.learning.replicas import ALONE, Replicas
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
        replicas: Replicas = ALONE,
    ):
        """`trainable` as in `selected`; `extra` trains along, but is no part of the network that acts.

        `replicas` are the learners in each of which the same network learns from a part of the same batches.
        """
        self._replicas = replicas
        self.network, self._extra = network, extra if extra is not None else nn.Module()
        self._learning_rate, self._end, self.max_grad_norm = learning_rate, learning_rate_end, max_grad_norm
        chosen = selected(network, trainable)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in chosen)
        self._parameters = [*chosen.values(), *self._extra.parameters()]
        self.layout = Layout.of(network, self._parameters)
        self.flat = nn.Parameter(self.layout.gathered(self._parameters))
        self._take(torch.zeros_like(self.flat))
        self._adam, self._row = Adam(self.flat.detach().unsqueeze(0), self.flat.grad.unsqueeze(0), [len(self.flat)]), 0

    def _take(self, gradient: Tensor) -> None:
        """Collect the gradients of all parameters in one vector [P]."""
        self.flat.grad = gradient
        for parameter, place in zip(self._parameters, self.layout.views(gradient), strict=True):
            parameter.grad = place

    @torch.no_grad()
    def move(self, flat: Tensor, gradient: Tensor, adam: Adam, row: int) -> None:
        """From now on live in vectors [P] of somebody else, who does the steps by a row of `adam`, with these moments."""
        flat.copy_(self.flat)
        adam.restore(row, self._adam.moments(self._row))
        self._adam, self._row = adam, row
        self.flat = nn.Parameter(flat)
        self.layout.let(self._parameters, flat)
        self._take(gradient)

    def learning_rate(self, progress: Progress) -> float | Tensor:
        """At `progress` (0 to 1) of its schedules."""
        return number(progress, lambda now: self._learning_rate * linear(1.0, self._end, 1.0, now), moves=self._end != 1)

    def step(self, loss: Tensor, progress: Progress) -> Tensor:
        """One descent of a 0-d loss at `progress` (0 to 1) of its schedules; gives the gradient's norm before clipping.

        Where the loss or the gradient is not finite nothing moves, and the step is `skipped`.
        """
        self.flat.grad.zero_()
        backward(loss)
        return self.descend(progress, loss)

    def descend(self, progress: Progress, loss: Tensor) -> Tensor:
        """As `step`, with the gradients that stand there."""
        gradient = self._replicas.mean_(self.flat.grad)
        norm = torch.linalg.vector_norm(gradient)
        # Replicas know of their own part's loss alone, and all must do the same: what they share, the gradient, decides.
        told = (norm,) if self._replicas.count > 1 else (norm, loss)
        finite = None
        if not known_finite(progress, *told):
            finite = (norm < math.inf if len(told) == 1 else norm.add(loss.detach(), alpha=0) < math.inf).unsqueeze(0)
        gradient.mul_((self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0))
        self._adam.step([self.learning_rate(progress)], finite)
        return norm

    @property
    def skipped(self) -> Tensor:
        """Steps left out so far, as something was not finite; 0-d."""
        return self._adam.skipped(self._row)

    def moments(self) -> dict[str, Tensor]:
        """A copy of Adam's own state: step 0-d, exp_avg and exp_avg_sq [P], parameter by parameter; nothing before the first
        step."""
        moments = self._adam.moments(self._row)
        return {name: self.layout.in_order(value) if value.ndim else value.clone() for name, value in moments.items()}

    def state(self) -> State:
        return {"network": copied(self.network), "extra": copied(self._extra), "adam": self.moments()}

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises RuntimeError where a shape does not fit."""
        refill(self.network, state["network"])
        refill(self._extra, state["extra"])
        moments = {name: torch.as_tensor(value) for name, value in state["adam"].items()}
        laid = {name: self.layout.from_order(value) if value.ndim else value for name, value in moments.items()}
        self._adam.restore(self._row, laid)


def backward(loss: Tensor) -> None:
    """Gradients in the precision of what they are of; autocast is for the way there alone."""
    if torch.is_autocast_enabled(loss.device.type):
        with torch.autocast(loss.device.type, enabled=False):
            loss.backward()
    else:
        loss.backward()


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
