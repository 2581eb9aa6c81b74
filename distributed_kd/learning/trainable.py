"""A network that trains alone: its own optimizer, its own gradient clip, its own learning rate over the run."""

import torch
from torch import Tensor, nn

from distributed_kd.maths.schedules import linear
from distributed_kd.records import State


class Trainable:
    """One network with Adam. Nothing of it is shared, so that no network's training can move another's.

    All parameters are views into one vector, and so are their gradients: clipping, the optimizer and the target network
    then cost one operation each, where a small network would spend most of its time going from tensor to tensor.
    """

    def __init__(self, network: nn.Module, learning_rate: float, learning_rate_end: float, max_grad_norm: float):
        self.network = network
        self._learning_rate, self._end, self._max_grad_norm = learning_rate, learning_rate_end, max_grad_norm
        self.flat = nn.Parameter(as_one_vector(network))
        self._gradient = torch.zeros_like(self.flat)
        self.flat.grad = self._gradient
        start = 0
        for parameter in network.parameters():
            end = start + parameter.numel()
            parameter.grad = self._gradient[start:end].view_as(parameter)
            start = end
        self._adam = torch.optim.Adam([self.flat], lr=learning_rate, fused=True)

    def step(self, loss: Tensor, progress: float) -> Tensor:
        """One descent of a 0-d loss at `progress` (0 to 1) of the run; returns the gradient's norm before clipping."""
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
            "network": {name: value.clone() for name, value in self.network.state_dict().items()},
            "adam": {name: value.clone() for name, value in adam.items()},
        }

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises RuntimeError where a shape does not fit."""
        self.network.load_state_dict({name: torch.as_tensor(value) for name, value in state["network"].items()})
        entry = {name: torch.as_tensor(value).clone() for name, value in state["adam"].items()}
        groups = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": {0: entry} if entry else {}, "param_groups": groups})


@torch.no_grad()
def as_one_vector(network: nn.Module) -> Tensor:
    """Lay a network's parameters into one new vector [P], in the order of `parameters()`, and make them views of it."""
    flat = torch.cat([parameter.reshape(-1) for parameter in network.parameters()])
    start = 0
    for parameter in network.parameters():
        end = start + parameter.numel()
        parameter.data = flat[start:end].view_as(parameter)
        start = end
    return flat
