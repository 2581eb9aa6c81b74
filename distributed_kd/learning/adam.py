"""Adam, for one network or for several at once, each of which it leaves as it was where a gradient is not finite."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from distributed_kd.learning.moving import Moving, Progress


def known_finite(progress: Progress, *values: Tensor) -> bool:
    """Whether all numbers in these are finite, where that can be known without waiting for the device.

    Where it cannot, or the update is recorded, what is done about it must be done on the device.
    """
    if isinstance(progress, Moving) or not at_hand(values[0].device):
        return False
    for value in values:
        told = value.tolist()
        if not (math.isfinite(told) if isinstance(told, float) else all(map(math.isfinite, told))):
            return False
    return True


def at_hand(device: torch.device) -> bool:
    """What is computed there can be read without waiting for it."""
    return device.type == "cpu"


_Call = tuple[float | Tensor, list[list[Tensor]], list[Tensor]]
"""A rate, and of the rows that have it: themselves, their gradients, both moments; and their steps"""


class Adam:
    """Adam (Kingma and Ba 2015, 1412.6980): PyTorch's kernel without what its optimizers do around it.

    It moves the rows of a matrix [K, P], each the parameters of a network of its own, with moments and steps of its own.
    """

    def __init__(self, flat: Tensor, gradient: Tensor, sizes: Sequence[int]):
        """`flat` and `gradient` [K, P] stay where they are; of each row the first `sizes` numbers count."""
        self._flat, self._average, self._average_square = flat, torch.zeros_like(flat), torch.zeros_like(flat)
        self._step, self._skipped = torch.zeros((2, len(flat)), device=flat.device).unbind()
        matrices = flat, gradient, self._average, self._average_square
        self._rows = [[matrix[row, :size] for row, size in enumerate(sizes)] for matrix in matrices]
        self._steps = list(self._step.unbind())
        self._rates, self._made = (), []
        self._has_stepped = False

    @torch.no_grad()
    def step(self, rates: Sequence[float | Tensor], finite: Tensor | None = None) -> None:
        """Move each row against its gradient, by a rate of its own that is a number or a 0-d tensor.

        Those of which `finite` [K] is False stay as they are, and so do their moments and steps: that is counted.
        """
        self._has_stepped = True
        if finite is None:
            self._step += 1
            self._descend(rates)
            return
        skip = (~finite).float()
        self._step += finite
        self._skipped += skip
        if len(finite) == 1:
            self._descend(rates, skip)
            return
        # The kernel leaves out all rows or none.
        matrices = self._flat, self._average, self._average_square
        before = [matrix.clone() for matrix in matrices]
        self._descend(rates)
        for matrix, old in zip(matrices, before, strict=True):
            torch.where(finite.unsqueeze(1), matrix, old, out=matrix)

    def _descend(self, rates: Sequence[float | Tensor], skip: Tensor | None = None) -> None:
        for rate, rows, steps in self._calls(tuple(rates)):
            # As torch.optim.Adam(fused=True) calls it: what is around it there takes longer than a small network's step.
            torch._fused_adam_(*rows, [], steps, amsgrad=False, beta1=0.9, beta2=0.999, lr=rate, weight_decay=0.0,
                               eps=1e-8, maximize=False, found_inf=skip)  # fmt: skip

    def _calls(self, rates: tuple[float | Tensor, ...]) -> list[_Call]:
        """Rows of one rate are one call; which these are stays as it is for as long as the rates do."""
        if any(isinstance(rate, Tensor) for rate in rates):  # a tensor must not be looked at
            return [self._call(rate, [row]) for row, rate in enumerate(rates)]
        if rates != self._rates:
            same = {rate: [row for row, its in enumerate(rates) if its == rate] for rate in rates}
            self._rates, self._made = rates, [self._call(rate, rows) for rate, rows in same.items()]
        return self._made

    def _call(self, rate: float | Tensor, rows: list[int]) -> _Call:
        # On a GPU that repeats what was recorded a rate lies in 32 bits: the same everywhere.
        told = rate if isinstance(rate, Tensor) else float(np.float32(rate))
        return told, [[of_each[row] for row in rows] for of_each in self._rows], [self._steps[row] for row in rows]

    def skipped(self, row: int) -> Tensor:
        """Steps that this row was left out of since the last `restore`, 0-d."""
        return self._skipped[row]

    def moments(self, row: int) -> dict[str, Tensor]:
        """A row's state as it is: step 0-d, exp_avg and exp_avg_sq of its size; nothing before the first step."""
        if not self._has_stepped:
            return {}
        _, _, average, square = (rows[row] for rows in self._rows)
        return {"step": self._steps[row], "exp_avg": average, "exp_avg_sq": square}

    @torch.no_grad()
    def restore(self, row: int, moments: Mapping[str, Tensor]) -> None:
        """Let a row go on from a copy of these, or from the beginning where there are none.

        Raises RuntimeError where a shape differs.
        """
        self._has_stepped = bool(moments)
        self._skipped[row] = 0
        _, _, average, square = (rows[row] for rows in self._rows)
        for name, mine in (("exp_avg", average), ("exp_avg_sq", square), ("step", self._steps[row])):
            mine.copy_(moments[name]) if moments else mine.zero_()
