"""Losses by which a student learns from its own steps, and its state value from the teacher's Q-values.

How a student acts, what it stores and how these losses are added up live in `rollouts/` and `learning/`.
"""

import torch
from torch import Tensor
from torch.nn import functional

from distributed_kd.maths.targets import batch_mean

SMALLEST_DEVIATION = 1e-6
"""`standardised`: added to the standard deviation, so that advantages which are all alike become 0"""


def value(v: Tensor, teacher_q: Tensor, weight: Tensor | None = None) -> Tensor:
    """(v - max_a teacher_q(a))^2, batch mean: the student's state value is drawn to the teacher's.

    v [B] and teacher_q [B, A], detached, in the unit of returns; weight [B] with mean 1, or None. Gives that unit
    squared, 0-d; the gradient is 2 (v - max_a teacher_q(a)) / B. AssertionError where shapes differ: [B, 1] against [B]
    would broadcast to [B, B] in silence. The value of a greedy policy: Watkins and Dayan 1992.
    """
    assert teacher_q.ndim == 2 and v.shape == teacher_q.shape[:1], f"v [B], q [B, A], not {v.shape}, {teacher_q.shape}"
    return batch_mean((v - teacher_q.detach().max(dim=-1).values).square(), weight)


def advantage(n_step_return: Tensor, discount: Tensor, v_t: Tensor, v_tm1: Tensor) -> Tensor:
    """By how much the steps taken did better than the state's value: n_step_return + discount * v_t - v_tm1.

    n_step_return [B], discount [B] (the product over the steps, 0 after a termination), v_t [B] the value of what they
    led to, v_tm1 [B] of where they began, in the unit of returns. Gives [B] in that unit, detached. AssertionError
    where shapes differ. Mnih et al. 2016, 1602.01783.
    """
    _check_batch(n_step_return, discount, v_t, v_tm1)
    return (n_step_return + discount * v_t - v_tm1).detach()


def standardised(advantage: Tensor) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 over the batch, whatever the unit of returns.

    advantage [B]. Gives [B]; zeros where all are alike. AssertionError where it is not 1-D. Andrychowicz et al. 2021,
    2006.05990, list it among what implementations of PPO do.
    """
    _check_batch(advantage)
    return (advantage - advantage.mean()) / (advantage.std(correction=0) + SMALLEST_DEVIATION)


def policy_gradient(logits: Tensor, action: Tensor, advantage: Tensor, probability: Tensor, clip: float = 0.2) -> Tensor:
    """-mean of min(r * advantage, clamp(r, 1 - clip, 1 + clip) * advantage), r = softmax(logits)(action) / probability.

    logits [B, A] of the student now; action [B] int64 it took, with the probability [B], above 0, that it had then;
    advantage [B]. Both are detached. Gives a 0-d tensor; where r is 1 its gradient is that of -mean(advantage *
    log softmax(logits)(action)). AssertionError where shapes differ, A < 2 or actions are not int64. The clipped
    surrogate of PPO: Schulman et al. 2017, 1707.06347.
    """
    assert logits.ndim == 2 and logits.shape[-1] >= 2, f"logits are [B, A] with A at least 2, not {logits.shape}"
    _check_batch(action, advantage, probability, logits[:, 0])
    assert action.dtype == torch.int64, f"actions are int64, not {action.dtype}"
    log_pi = functional.log_softmax(logits, dim=-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
    ratio = log_pi.exp() / probability.detach()
    advantage = advantage.detach()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def _check_batch(*columns: Tensor) -> None:
    shapes = [column.shape for column in columns]
    assert len(shapes[0]) == 1 and len(set(shapes)) == 1, f"all must be [B], not {', '.join(map(str, shapes))}"
