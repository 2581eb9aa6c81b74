"""A student that is a decision tree: fitted anew, every so many updates, to what the teacher does in the newest states.

VIPER, by Bastani, Pu and Solar-Lezama 2018, 1805.08328: a state weighs as much as the teacher loses there by its worst
action, and the student's own lanes bring the states that it comes to (DAgger).
"""

from collections.abc import Hashable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distributed_kd.learning.lesson import Lesson, Steps
from distributed_kd.learning.moving import Progress
from distributed_kd.learning.replicas import ALONE, Replicas
from distributed_kd.learning.trainable import copied, refill
from distributed_kd.networks.tree import TreeNetwork
from distributed_kd.records import State

STATES = 8_000
"""The newest ones that were learned from, each with what the teacher said of it then"""
FIRST_FIT = 100
"""Updates before the first fit; each next one waits for as many as there were, up to `_interval`"""
LONGEST = 1_000
PER_NUMBER = 75
"""Updates, between two fits, for each number of an observation: a fit takes about as long for each. 8,000 states, depth 6,
one core: 34 ms for 4 numbers, 480 ms for 64, where an update of a teacher and a few students takes 1 to 4 ms"""


class TreeStudent:
    """Learns as a `Student` does, as far as a learner sees. It has no random numbers, no schedules and no gradient."""

    random = None

    def __init__(self, network: TreeNetwork, numbers: int, actions: int, replicas: Replicas = ALONE):
        """`numbers` of an observation. In all `replicas` it is the same tree, fitted in each to all of the states."""
        self.network, self.updates, self.began, self._replicas = network, 0, 0.0, replicas
        device = network.leaves.device
        self._observation = torch.zeros((STATES, numbers), device=device)
        self._q = torch.zeros((STATES, actions), device=device)
        self._written, self._next_fit = 0, FIRST_FIT
        self._interval = max(LONGEST, PER_NUMBER * numbers)
        self.skipped = torch.zeros((), device=device)

    @property
    def networks(self) -> list[nn.Module]:
        """All that it computes with."""
        return [self.network]

    def can_learn(self, has_own: bool) -> bool:
        return True

    def begin(self, progress: float) -> None:
        """Count an update, which is to follow."""
        self.updates += 1

    def update(
        self, lesson: Lesson, auto_temperature: Tensor, progress: float, measure: bool, steps: Steps | None = None
    ) -> dict[str, Tensor]:
        """One update from what the teacher says of a batch; returns 0-d tensors where `measure` asks for them."""
        self.begin(progress)
        return self.learn(lesson, auto_temperature, progress, measure)

    @torch.no_grad()
    def learn(
        self, lesson: Lesson, auto_temperature: Tensor, progress: Progress, measure: bool, steps: Steps | None = None,
        own: None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """The update that was counted last, as `update`: the batch is kept, and where it is time the tree fitted."""
        observation = self._replicas.whole(self.network.input(lesson.observation))[-STATES:]
        places = torch.arange(self._written, self._written + len(observation), device=observation.device) % STATES
        self._observation[places] = observation
        self._q[places] = self._replicas.whole(lesson.q.to(torch.float32))[-STATES:]
        self._written += len(observation)
        if self.updates >= self._next_fit:
            held = min(self._written, STATES)
            fit(self.network, self._observation[:held].cpu().numpy(), self._q[:held].cpu().numpy())
            self._next_fit = self.updates + min(self.updates, self._interval)
        if not measure:
            return {}
        agrees = self.network(lesson.observation).argmax(1) == lesson.q.argmax(1)
        return {"loss": _missed(agrees, lesson.q), "agreement": agrees.float().mean()}

    @torch.no_grad()
    def held_out_loss(self, lesson: Lesson, auto_temperature: Tensor) -> Tensor:
        """What the teacher would lose by the tree's mistakes, at most, on a batch that is not learned from; 0-d."""
        return _missed(self.network(lesson.observation).argmax(1) == lesson.q.argmax(1), lesson.q)

    def phase(self, progress: float) -> Hashable:
        return None

    def in_its_last_phase(self, progress: float) -> bool:
        """It was fitted at least once."""
        return self._next_fit > FIRST_FIT

    def heed(self, normalised_score: float) -> None:
        """Nothing that it learns goes by how well it plays."""

    def state(self) -> State:
        held = min(self._written, STATES)
        return {
            "trained": {"network": copied(self.network)},
            "updates": self.updates,
            "began": self.began,
            "observation": self._observation[:held].clone(),
            "q": self._q[:held].clone(),
            "written": self._written,
            "next_fit": self._next_fit,
        }

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises RuntimeError where a shape does not fit."""
        refill(self.network, state["trained"]["network"])
        self.updates, self.began = state["updates"], state["began"]
        self._written, self._next_fit = state["written"], state["next_fit"]
        for mine, name in ((self._observation, "observation"), (self._q, "q")):
            saved = torch.as_tensor(state[name])
            mine[: len(saved)] = saved.to(mine.device)


def _missed(agrees: Tensor, q: Tensor) -> Tensor:
    """The mean, over states [B], of the gap between the teacher's best and worst action where it is not agreed with, 0-d."""
    return ((q.amax(1) - q.amin(1)) * ~agrees).mean()


def fit(network: TreeNetwork, observation: NDArray[np.float32], q: NDArray[np.float32]) -> None:
    """Fit a tree to the best actions in states [N, F] by Q-values [N, A], weighed by their gaps; what is not finite is left
    out, and where nothing is left the tree stays as it is."""
    from sklearn.tree import DecisionTreeClassifier

    finite = np.isfinite(q).all(1) & np.isfinite(observation).all(1)
    observation, q = observation[finite], q[finite]
    if not len(q):
        return
    weight = q.max(1) - q.min(1)
    fitted = DecisionTreeClassifier(max_depth=network.depth, random_state=0)
    fitted.fit(observation, q.argmax(1), sample_weight=weight if weight.any() else None)
    tree = fitted.tree_
    shares = np.zeros((tree.node_count, q.shape[1]), np.float32)
    shares[:, fitted.classes_] = tree.value[:, 0]
    decisions = len(network.threshold)
    feature, threshold = np.zeros((2, decisions), np.float32)
    leaves = np.empty((decisions + 1, q.shape[1]), np.float32)
    waiting = [(0, 0)]
    while waiting:
        place, node = waiting.pop()
        if place >= decisions:
            leaves[place - decisions] = shares[node]
        elif tree.children_left[node] < 0:  # a leaf before the last decisions: both ways lead on to it
            waiting += [(2 * place + 1, node), (2 * place + 2, node)]
        else:
            feature[place], threshold[place] = tree.feature[node], _below(tree.threshold[node])
            waiting += [(2 * place + 1, tree.children_left[node]), (2 * place + 2, tree.children_right[node])]
    for mine, new in ((network.feature, feature), (network.threshold, threshold), (network.leaves, leaves)):
        mine.copy_(torch.from_numpy(new))


def _below(threshold: float) -> np.float32:
    """The largest float32 that is not above it: every float32 stands on the same side of both."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if rounded > threshold else rounded
