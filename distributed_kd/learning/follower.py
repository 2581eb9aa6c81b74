"""A copy of a network that follows it: a target network, or an average of weights over time."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from distributed_kd.learning.moving import Progress, number
from distributed_kd.learning.trainable import Trainable, copied, refill
from distributed_kd.records import State


class Follower:
    """Copied whole every so many updates, or moved by a Polyak share below 1 at every one (Polyak and Juditsky 1992)."""

    def __init__(self, trained: Trainable, update: float):
        """`update`: updates between two copies, or the share of the network that enters at each; below 1."""
        self._followed, self._update = trained, update
        self.network = copy.deepcopy(trained.network).requires_grad_(False)
        # Only what trains can differ, and it lies in one vector on both sides.
        mine = dict(self.network.named_parameters())
        followers = [mine[name] for name, theirs in trained.network.named_parameters() if theirs.requires_grad]
        self.flat = trained.layout.first(len(followers)).gathered(followers)

    @torch.no_grad()
    def follow(self, updates: Callable[[], int], progress: Progress) -> None:
        """Come nearer, so many updates of the network having been done."""
        share = number(progress, lambda _: self._share(updates()), moves=self._update >= 1)
        # A recorded update cannot leave the copy out: it does one of a share of 0.
        if isinstance(share, Tensor) or share:
            # Behind the network's own numbers may stand others that train along.
            self.flat.lerp_(self._followed.flat[: len(self.flat)], share)

    def _share(self, updates: int) -> float:
        return self._update if self._update < 1 else float(updates % int(self._update) == 0)

    def state(self) -> State:
        return copied(self.network)

    def restore(self, state: State) -> None:
        refill(self.network, state)
