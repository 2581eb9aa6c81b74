"""Several networks of one environment that speak as one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from distributed_kd.maths.targets import log_sum_exp_of, mean_of


class Ensemble(nn.Module):
    """The weighted mean of its members' Q-values, or the log of their mean policy.

    Its weights are parameters, so that they travel with the members' own; no optimizer is given them.
    """

    def __init__(
        self, members: Sequence[nn.Module], combine: str = "mean", weights: Sequence[float] = (), temperature: float = 1.0
    ):
        super().__init__()
        self.members = nn.ModuleList(members)
        self.weight = nn.Parameter(torch.tensor(weights or [1.0] * len(members)), requires_grad=False)
        self._combine, self._temperature = combine, temperature

    def forward(self, observation: Tensor) -> Tensor:
        """[B, *shape] -> [B, A]."""
        return self.combined(self.each(observation), self.weight)

    def trace(self, observation: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outputs [B, A], and no hidden layers: the members have none in common."""
        return self(observation), ()

    def each(self, observation: Tensor) -> Tensor:
        """[B, *shape] -> every member's outputs [K, B, A]."""
        return torch.stack([member(observation) for member in self.members])

    def combined(self, outputs: Tensor, weight: Tensor) -> Tensor:
        """Outputs [K, B, A] of the members, weighted by [K], as one [B, A]."""
        if self._combine == "logsumexp":
            return log_sum_exp_of(outputs, weight, self._temperature)
        return mean_of(outputs, weight)  # `best` too: there all weight lies on one member
