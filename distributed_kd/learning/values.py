"""What a teacher's network is drawn to: Q-values, or the distribution of the return whose mean they are.

The formulas are in `maths/`; here it is said which network values what.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from distributed_kd.learning.lesson import Steps
from distributed_kd.maths import distributional
from distributed_kd.maths.munchausen import munchausen_target
from distributed_kd.maths.temporal_difference import double_q_learning_target, huber, q_learning_target, td_error
from distributed_kd.policy_config import TeacherConfig


@dataclass(frozen=True)
class Errors:
    """Of a batch: loss [B], what a step's priority goes by [B] (at least 0), and what the network said of the observations.

    q [B, A] and the hidden `layers` are those of the forward that the loss was taken from; all but the loss are detached.
    `error` [B] is target - q(a) where the loss is Huber's of it, else None.
    """

    loss: Tensor
    size: Tensor
    q: Tensor
    layers: tuple[Tensor, ...]
    error: Tensor | None = None


class Values(Protocol):
    def errors(self, network: nn.Module, target_network: nn.Module, steps: Steps) -> Errors:
        """How far `network` is from what `target_network` makes of these steps."""


class QValues:
    """Deep Q-learning (Mnih et al. 2015); double (van Hasselt et al. 2016) or with Munchausen's term as set."""

    def __init__(self, config: TeacherConfig):
        self._double = config.double
        self._munchausen, self._temperature = config.munchausen, config.munchausen_temperature

    def errors(self, network: nn.Module, target_network: nn.Module, steps: Steps) -> Errors:
        with torch.no_grad():
            target = self._target(network, target_network, steps)
        q_tm1, layers = network.trace(steps.observation)
        error = td_error(q_tm1, steps.action, target)
        apart = error.detach()
        return Errors(huber(error), apart.abs(), q_tm1.detach(), _detached(layers), apart)

    def _target(self, network: nn.Module, target_network: nn.Module, steps: Steps) -> Tensor:
        q_t = target_network(steps.next_observation)
        if self._munchausen:
            q_tm1 = target_network(steps.observation)
            return munchausen_target(
                q_tm1, steps.action, q_t, steps.n_step_return, steps.discount, self._munchausen, self._temperature
            )
        if self._double:
            selector = network(steps.next_observation)
            return double_q_learning_target(q_t, selector, steps.n_step_return, steps.discount)
        return q_learning_target(q_t, steps.discount, steps.n_step_return)


class Distributions:
    """C51 (Bellemare et al. 2017) or quantile regression (Dabney et al. 2018); double as set."""

    def __init__(self, config: TeacherConfig):
        self._double, self._is_c51 = config.double, config.distribution == "c51"

    def errors(self, network: nn.Module, target_network: nn.Module, steps: Steps) -> Errors:
        rows = torch.arange(len(steps.action), device=steps.action.device)
        with torch.no_grad():
            each = target_network.distribution(steps.next_observation)
            q_t = network(steps.next_observation) if self._double else target_network.mean(each)
            chosen = each[rows, q_t.argmax(1)]
            target = self._target(target_network, chosen, steps)
        taken, layers = network.trace_outputs(steps.observation)
        loss = (distributional.c51_loss if self._is_c51 else distributional.quantile_loss)(taken[rows, steps.action], target)
        return Errors(loss, loss.detach(), network.mean(taken.detach()), _detached(layers))

    def _target(self, target_network: nn.Module, chosen: Tensor, steps: Steps) -> Tensor:
        if self._is_c51:
            likelihood = chosen.softmax(-1)
            return distributional.c51_target(likelihood, steps.n_step_return, steps.discount, target_network.support)
        return distributional.quantile_target(chosen, steps.n_step_return, steps.discount)


def _detached(layers: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(layer.detach() for layer in layers)


def values_of(config: TeacherConfig) -> Values:
    return QValues(config) if config.distribution == "none" else Distributions(config)
