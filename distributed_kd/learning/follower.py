"""A copy of a network that follows it: a target network, or an average of weights over time."""

import copy

import torch
from torch import nn

from distributed_kd.learning.trainable import copied, refill
from distributed_kd.records import State


class Follower:
    """Copied whole every so many updates, or moved by a Polyak share below 1 at every one (Polyak and Juditsky 1992)."""

    def __init__(self, network: nn.Module, update: float):
        """`update`: updates between two copies, or the share of the network that enters at each; below 1."""
        self._followed, self._update = network, update
        self.network = copy.deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def follow(self, updates: int) -> None:
        """Come nearer, `updates` of the network having been done."""
        share = self._update if self._update < 1 else float(updates % int(self._update) == 0)
        if share:
            for mine, theirs in zip(self.network.parameters(), self._followed.parameters(), strict=True):
                mine.lerp_(theirs, share)

    def state(self) -> State:
        return copied(self.network)

    def restore(self, state: State) -> None:
        refill(self.network, state)
