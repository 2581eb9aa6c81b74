"""What is read back of updates: what they logged, which were skipped, who skipped so many in a row that it cannot go on."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Read:
    """Means by network and key of what was finite, each network's newest loss as it was, and how many updates it skipped."""

    means: dict[str, dict[str, float]]
    losses: dict[str, float]
    skipped: dict[str, int]


def read(logged: Mapping[tuple[str, str], Sequence[Tensor]], skipped: Mapping[str, Tensor]) -> Read:
    """Bring 0-d tensors from the device, all at once."""
    together = [value.float() for values in [*logged.values(), skipped.values()] for value in values]
    numbers = iter(torch.stack(together).tolist())
    means: dict[str, dict[str, float]] = defaultdict(dict)
    losses = {}
    for (network, key), values in logged.items():
        told = [next(numbers) for _ in values]
        if finite := [value for value in told if math.isfinite(value)]:
            means[network][key] = math.fsum(finite) / len(finite)
        if key == "loss":
            losses[network] = told[-1]
    return Read(dict(means), losses, {name: round(next(numbers)) for name in skipped})


class Skips:
    """Compares, whenever it is told, how many updates a network was given with how many of these were skipped.

    In what lies between two looks the order is not known: a row goes on only where all of it was skipped. So it is never
    taken for longer than it is.
    """

    def __init__(self, allowed: int):
        """`allowed` in a row."""
        self._allowed = allowed
        self._seen: dict[str, tuple[int, int]] = {}
        self._row: Counter[str] = Counter()
        self.new: dict[str, int] = {}
        """skipped between the last two looks, by network, where there were any"""

    def look(self, counts: Mapping[str, tuple[int, int]]) -> dict[str, int]:
        """Take in updates and skipped ones of each network, so far; gives how many in a row, of those with too many."""
        self.new = {}
        for name, (updates, skipped) in counts.items():
            earlier_updates, earlier_skipped = self._seen.get(name, (0, 0))
            given, left_out = updates - earlier_updates, skipped - earlier_skipped
            if left_out:
                self.new[name] = left_out
            if given:
                self._row[name] = self._row[name] + given if left_out == given else 0
        self._seen = dict(counts)
        return {name: row for name, row in self._row.items() if row >= self._allowed}

    def begin(self, updates: Mapping[str, int]) -> None:
        """Count from here: networks of so many updates, none of them skipped since."""
        self._seen = {name: (count, 0) for name, count in updates.items()}
        self._row.clear()
