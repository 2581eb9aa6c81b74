"""A network that trains alone: its own optimizer, its own gradient clip, its own learning rate over the run."""

import torch
from torch import Tensor, nn

from distributed_kd.maths.schedules import linear
from distributed_kd.records import State


class Trainable:
    """One network with Adam. Nothing of it is shared, so that no network's training can move another's."""

    def __init__(self, network: nn.Module, learning_rate: float, learning_rate_end: float, max_grad_norm: float):
        self.network = network
        self._learning_rate, self._end, self._max_grad_norm = learning_rate, learning_rate_end, max_grad_norm
        self._parameters = list(network.parameters())
        self._adam = torch.optim.Adam(self._parameters, lr=learning_rate, fused=True)

    def step(self, loss: Tensor, progress: float) -> Tensor:
        """One descent of a 0-d loss at `progress` (0 to 1) of the run; returns the gradient's norm before clipping."""
        rate = self._learning_rate * linear(1.0, self._end, 1.0, progress)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm, foreach=True)
        self._adam.step()
        return norm

    def state(self) -> State:
        return {
            "network": {name: value.clone() for name, value in self.network.state_dict().items()},
            "adam": {
                str(number): {name: value.clone() for name, value in entry.items()}
                for number, entry in self._adam.state_dict()["state"].items()
            },
        }

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises RuntimeError where a shape does not fit."""
        self.network.load_state_dict({name: torch.as_tensor(value) for name, value in state["network"].items()})
        groups = self._adam.state_dict()["param_groups"]
        entries = {
            int(number): {name: torch.as_tensor(value).clone() for name, value in entry.items()}
            for number, entry in state["adam"].items()
        }
        self._adam.load_state_dict({"state": entries, "param_groups": groups})
