"""Teachers: each offers `update`, a `lesson` for whoever asks, and its state. Students never ask which kind it is."""

import copy
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from distributed_kd.learning.follower import Follower
from distributed_kd.learning.lesson import Lesson, Steps
from distributed_kd.learning.moving import Progress, number
from distributed_kd.learning.replicas import ALONE, Replicas
from distributed_kd.learning.trainable import Trainable, copied, refill
from distributed_kd.learning.values import values_of
from distributed_kd.maths.closed_form import td_gradient
from distributed_kd.maths.priorities import importance_weights, priority
from distributed_kd.maths.schedules import linear
from distributed_kd.maths.temporal_difference import weighted_mean
from distributed_kd.networks import load_flat
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.networks.noisy import draw_noise, silence
from distributed_kd.networks.plain import PlainNetwork, sizes_of
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import Evaluation, State


@dataclass(frozen=True)
class Importance:
    """What undoes, more and more over the run, that steps were drawn by priority: the exponent's start and end."""

    start: float
    end: float

    def weights(self, oversampling: Tensor, progress: Progress) -> Tensor:
        """[B], at `progress` of the run."""
        exponent = number(progress, lambda now: linear(self.start, self.end, 1.0, now), moves=self.start != self.end)
        return importance_weights(oversampling, exponent)


@dataclass(frozen=True)
class Learned:
    """What came of an update: 0-d tensors to log, and the priority [B] of each of its steps, None where they have none.

    `lesson` is what is taught of the batch's observations, where the update came by it.
    """

    logged: dict[str, Tensor]
    priority: Tensor | None
    lesson: Lesson | None = None


class Teacher:
    """A network that learns values by temporal differences from a target network of its own.

    What it values, and how, is in `values`; with noise on its weights (Fortunato et al. 2018) it learns under a new draw at
    every update, and teaches and acts greedily by their mean.
    """

    def __init__(
        self,
        network: nn.Module,
        config: TeacherConfig,
        importance: Importance | None = None,
        seed: int = 0,
        replicas: Replicas = ALONE,
    ):
        """`importance` of steps that were not drawn uniformly; `seed` of the noise, the same in all `replicas`."""
        self._values, self._importance, self._replicas = values_of(config), importance, replicas
        rates = config.learning_rate, config.learning_rate_end
        self._trained = Trainable(network, *rates, config.max_grad_norm, replicas=replicas)
        self._target = Follower(self._trained, config.target_update)
        self._average = Follower(self._trained, config.average_rate) if config.teaches == "average" else None
        self._best = _BestSoFar(network) if config.teaches == "best" else None
        device = next(network.parameters()).device
        self.random = torch.Generator(device).manual_seed(seed) if config.noisy else None
        self.network, self._learns, self._aims = network, network, self._target.network
        self._is_plain = bool(sizes_of(network))
        if self._is_plain:
            # The same networks, without automatic differentiation around their few products.
            self._learns = PlainNetwork(network, self._trained.flat, self._trained.flat.grad)
            self._aims = PlainNetwork(network, self._target.flat)
        taught = {"target": self._target, "average": self._average}.get(config.teaches)
        self._teaches = taught.network if taught else network
        self.updates = 0

    @property
    def networks(self) -> list[nn.Module]:
        """All that it computes with."""
        others = [one.network for one in (self._target, self._average, self._best) if one]
        return [self.network, *others]

    @property
    def phase(self) -> Hashable:
        """Equal between updates that are the same operations."""
        return bool(self._best and self._best.found)

    @property
    def skipped(self) -> Tensor:
        """Updates left out so far, as something was not finite; 0-d."""
        return self._trained.skipped

    def update(self, steps: Steps, progress: float) -> Learned:
        """One update from a batch, as `learn`."""
        self.begin()
        return self.learn(steps, progress)

    def begin(self) -> None:
        """Count an update, which is to follow."""
        self.updates += 1

    def learn(self, steps: Steps, progress: Progress) -> Learned:
        """The update that was counted last; the lesson is of the network as it was before.

        Where another copy of it teaches, or it learned under noise, there is no lesson to share.
        """
        self._draw_noise()
        with torch.set_grad_enabled(not self._is_plain):
            errors = self._values.errors(self._learns, self._aims, steps)
        weight = None
        if self._importance:
            weight = self._replicas.part(self._importance.weights(steps.oversampling, progress))
        loss = weighted_mean(errors.loss, weight)
        if self._is_plain:
            self._learns.backward(td_gradient(errors.error, steps.action, errors.q.shape[1], weight))
            norm = self._trained.descend(progress, loss)
        else:
            norm = self._trained.step(loss, progress)
        self._silence()
        for follower in (self._target, self._average):
            if follower:
                follower.follow(lambda: self.updates, progress)
        logged = {"loss": loss.detach(), "grad_norm": norm, "q_mean": errors.q.mean()}
        shares = self._teaches is self.network and not (self._best or self.random)
        lesson = Lesson(steps.observation, errors.q, errors.layers) if shares else None
        return Learned(logged, priority(errors.size) if self._importance else None, lesson)

    def _draw_noise(self) -> None:
        if self.random:
            device = self.random.device
            for network in (self.network, self._target.network):
                draw_noise(network, lambda count: torch.randn(count, generator=self.random, device=device))

    def _silence(self) -> None:
        if self.random:
            silence(self.network)
            silence(self._target.network)

    @torch.no_grad()
    def lesson(self, observation: Tensor) -> Lesson:
        """What is taught of these observations [B, *shape] now; no gradient leads back to the teacher."""
        network = self._best.network if self._best and self._best.found else self._teaches
        return Lesson(observation, *network.trace(observation))

    def heed(self, evaluation: Evaluation) -> None:
        """Take an evaluation in: the best teacher so far teaches, where that is asked for."""
        if self._best:
            self._best.heed(evaluation)

    def state(self) -> State:
        state = {"trained": self._trained.state(), "target": self._target.state(), "updates": self.updates}
        if self._average:
            state["average"] = self._average.state()
        if self._best:
            state["best"] = self._best.state()
        if self.random:
            state["random"] = self.random.get_state()
        return state

    def restore(self, state: State) -> None:
        self._trained.restore(state["trained"])
        self._target.restore(state["target"])
        if self._average:
            self._average.restore(state["average"])
        if self._best:
            self._best.restore(state["best"])
        if self.random:
            self.random.set_state(torch.as_tensor(state["random"]).cpu())
        self.updates = state["updates"]


class _BestSoFar:
    """The teacher as it was at the best evaluation; until there was one, nobody."""

    def __init__(self, network: nn.Module):
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._return = -np.inf

    @property
    def found(self) -> bool:
        return self._return > -np.inf

    def heed(self, evaluation: Evaluation) -> None:
        mean = float(np.mean(evaluation.scores["teacher"].returns))
        if mean > self._return:
            self._return = mean
            load_flat(self.network, evaluation.teacher)

    def state(self) -> State:
        return {"network": copied(self.network), "return": self._return if self.found else None}

    def restore(self, state: State) -> None:
        refill(self.network, state["network"])
        self._return = -np.inf if state["return"] is None else state["return"]


class FrozenTeacher:
    """A network that was trained elsewhere and is left as it is."""

    random: torch.Generator | None = None
    phase: Hashable = None

    def __init__(self, network: nn.Module):
        self.network = network.requires_grad_(False)
        self.networks = [network]
        self.updates = 0

    def begin(self) -> None:
        """Count an update of the students."""
        self.updates += 1

    def learn(self, steps: Steps, progress: Progress) -> Learned:
        """It learns nothing."""
        return Learned({}, None)

    @torch.no_grad()
    def lesson(self, observation: Tensor) -> Lesson:
        return Lesson(observation, *self.network.trace(observation))

    def heed(self, evaluation: Evaluation) -> None:
        """Nothing changes: the teacher is the same before and after every evaluation."""

    def state(self) -> State:
        return {"trained": {"network": copied(self.network)}, "updates": self.updates}

    def restore(self, state: State) -> None:
        refill(self.network, state["trained"]["network"])
        self.updates = state["updates"]


class Peers(FrozenTeacher):
    """No teacher: the students teach each other, and what stands for the teacher is all of them together.

    Each student learns from the others combined (deep mutual learning, Zhang et al. 2018, 1706.00384); with `best`, from
    the one that scored best when they were last evaluated (PIEKD: Hong et al. 2020, 2002.00149), which then keeps to itself.
    """

    def __init__(self, network: Ensemble, names: tuple[str, ...], config: TeacherConfig):
        super().__init__(network)
        for parameter in network.members.parameters():
            parameter.requires_grad_(True)  # they are the students' own, and learn as such
        self._names, self._by_score, self._leader = names, config.combine == "best", ""

    @property
    def phase(self) -> Hashable:
        return self._leader

    @torch.no_grad()
    def lesson(self, observation: Tensor) -> Lesson:
        network: Ensemble = self.network
        each, weight = network.each(observation), network.weight
        together = network.combined(each, weight)
        if self._leader:
            return Lesson(observation, together, leader=self._leader)
        others = 1.0 - torch.eye(len(self._names), device=weight.device)
        return Lesson(observation, together, q_for={n: network.combined(each, others[i]) for i, n in enumerate(self._names)})

    @torch.no_grad()
    def heed(self, evaluation: Evaluation) -> None:
        if self._by_score:
            means = [float(np.mean(evaluation.scores[name].returns)) for name in self._names]
            self._leader = self._names[int(np.argmax(means))]
            self.network.weight.zero_()[self._names.index(self._leader)] = 1.0

    def state(self) -> State:
        return {**super().state(), "leader": self._leader}

    def restore(self, state: State) -> None:
        super().restore(state)
        self._leader = state["leader"]
