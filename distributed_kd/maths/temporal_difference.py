"""Targets and losses of Q-learning.

Networks, optimizers and target copies live in `learning/`; what a row holds and which rows are drawn, in `replay/`.
"""

import torch
from torch import Tensor
from torch.nn import functional


def q_learning_target(q_t: Tensor, discount_t: Tensor, r_t: Tensor) -> Tensor:
    """What Q(s, a) is drawn to: r_t + discount_t * max_a q_t(a).

    q_t [B, A] values of the observation to bootstrap from, discount_t [B] (0 after a termination), r_t [B] the return
    of the steps before it. Gives [B], detached. AssertionError where shapes differ. Watkins and Dayan 1992; with a
    target network in q_t, Mnih et al. 2015.
    """
    assert q_t.ndim == 2 and discount_t.shape == r_t.shape == q_t.shape[:1], (q_t.shape, discount_t.shape, r_t.shape)
    return (r_t + discount_t * q_t.max(dim=-1).values).detach()


def double_q_learning_target(q_t_value: Tensor, q_t_selector: Tensor, r_t: Tensor, discount_t: Tensor) -> Tensor:
    """What Q(s, a) is drawn to where one network picks the action and another values it.

    q_t_value [B, A] (target network) and q_t_selector [B, A] (online network) of the observation to bootstrap from,
    r_t [B], discount_t [B]. Gives r_t + discount_t * q_t_value(argmax_a q_t_selector(a)), [B], detached.
    AssertionError where shapes differ. Van Hasselt, Guez and Silver 2016.
    """
    assert q_t_value.ndim == 2 and q_t_value.shape == q_t_selector.shape, (q_t_value.shape, q_t_selector.shape)
    assert discount_t.shape == r_t.shape == q_t_value.shape[:1], (q_t_value.shape, discount_t.shape, r_t.shape)
    a_t = q_t_selector.argmax(dim=-1, keepdim=True)  # [B, 1]
    return (r_t + discount_t * q_t_value.gather(-1, a_t).squeeze(-1)).detach()


def huber(error: Tensor, delta: float = 1.0) -> Tensor:
    """Half the squared error up to delta, delta * (|error| - delta / 2) beyond it.

    error of any shape; delta above 0, in the unit of error. Gives the same shape. RuntimeError where delta is not
    above 0. Huber 1964.
    """
    # One fused kernel forward and one backward: the losses of small networks are bound by launches, not arithmetic.
    return functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)


def td_error(q_tm1: Tensor, a_tm1: Tensor, target: Tensor) -> Tensor:
    """Temporal-difference errors target - q_tm1(a_tm1), [B].

    q_tm1 [B, A], a_tm1 [B] int64 actions taken, target [B], detached here again. AssertionError where shapes differ: [B, 1]
    against [B] would broadcast to [B, B] in silence. Sutton and Barto 2018, section 6.1.
    """
    assert q_tm1.ndim == 2 and a_tm1.shape == target.shape == q_tm1.shape[:1], (q_tm1.shape, a_tm1.shape, target.shape)
    return target.detach() - q_tm1.gather(-1, a_tm1.unsqueeze(-1)).squeeze(-1)


def td_loss(q_tm1: Tensor, a_tm1: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over the batch of the Huber loss of the temporal-difference errors, each times its weight [B] where given.

    Shapes as for `td_error`. Gives a 0-d tensor. AssertionError where shapes differ. Mnih et al. 2015.
    """
    return weighted_mean(huber(td_error(q_tm1, a_tm1, target)), weight)


def weighted_mean(loss: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of the losses [B], each times its weight [B]; 0-d. None: all alike. AssertionError where shapes differ."""
    if weight is None:
        return loss.mean()
    assert weight.shape == loss.shape, (weight.shape, loss.shape)
    return (weight * loss).mean()
