"""What is made of a teacher's Q-values before a loss sees them, and what is measured of them.

The softmax targets, several teachers as one, the importance of states, and the temperature that follows the action gaps.
Nothing here waits for a GPU. The losses are in `distillation`, `representation` and `policy_gradient`; which networks are
asked, in `networks/` and `learning/`.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

AUTO_LOG_ODDS = 3.0
"""`auto_temperature`: log-odds of the best action over the second best at a gap of the mean size, about 20 to 1"""
SMALLEST_TEMPERATURE = 1e-6
"""`auto_temperature`: keeps the division by it finite while a fresh teacher values all actions alike"""
LEAST_ENTROPY = 0.1
"""`importance`: nats added to every entropy. So a one-hot target weighs at most 1 + 10 log A times a uniform one (8 times at
two actions, 30 times at 18), and a batch is never left to its few surest states."""

Temperature = float | Tensor


def check_outputs(a: Tensor, b: Tensor) -> None:
    """AssertionError unless a and b are both [B, A] with A at least 2: what broadcasts in silence teaches nonsense."""
    assert a.ndim == 2 and a.shape == b.shape, f"outputs must both be [B, A], not {a.shape} and {b.shape}"
    assert a.shape[-1] >= 2, "the softmax of a single output is constant: nothing could be learned from it"


def batch_mean(per_state: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over the batch of a loss, each state's times its weight.

    per_state [B]; weight [B] with mean 1, detached here, or None for all alike. Gives a 0-d tensor in the unit of
    per_state. AssertionError where shapes differ or per_state is not 1-D.
    """
    assert per_state.ndim == 1, f"a loss of each state is [B], not {per_state.shape}"
    if weight is None:
        return per_state.mean()
    assert weight.shape == per_state.shape, f"weights must be [B], {per_state.shape}, not {weight.shape}"
    return (weight.detach() * per_state).mean()


def log_target(teacher_q: Tensor, temperature: Temperature, smoothing: float = 0.0) -> Tensor:
    """log((1 - smoothing) * softmax(teacher_q / temperature) + smoothing / A) over the actions.

    teacher_q [B, A] and temperature in the same unit; smoothing a share from 0 to 1. Gives log-probabilities [B, A] in
    nats, detached. AssertionError where it is not 2-D, A < 2 or smoothing is no share. Label smoothing: Szegedy et al.
    2016, 1512.00567.
    """
    check_outputs(teacher_q, teacher_q)
    assert 0 <= smoothing <= 1, f"smoothing is a share from 0 to 1, not {smoothing}"
    log_p = functional.log_softmax(teacher_q.detach() / temperature, dim=-1)
    if smoothing == 0:
        return log_p
    log_share_kept = math.log1p(-smoothing) if smoothing < 1 else -math.inf
    log_share_of_each = math.log(smoothing) - math.log(log_p.shape[-1])
    return torch.logaddexp(log_p + log_share_kept, torch.full_like(log_p, log_share_of_each))


def entropies(teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """Entropy of each soft target softmax(teacher_q / temperature), in nats: 0 = one-hot, log A = uniform.

    teacher_q [B, A]. Gives [B], detached. AssertionError where it is not 2-D or A < 2. Shannon 1948.
    """
    log_p = log_target(teacher_q, temperature)
    return -(log_p.exp() * log_p).sum(dim=-1)


def target_entropy(teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """Mean of `entropies` over the batch, in nats.

    teacher_q [B, A]. Gives a 0-d tensor, detached. AssertionError where it is not 2-D or A < 2.
    """
    return entropies(teacher_q, temperature).mean()


def action_gap(q: Tensor) -> Tensor:
    """By how much the best action is valued above the second best.

    q [B, A]. Gives [B], at least 0, in the unit of q. AssertionError where it is not 2-D or A < 2. Farahmand 2011.
    """
    check_outputs(q, q)
    best = q.topk(2, dim=-1).values  # [B, 2]
    return best[:, 0] - best[:, 1]


def auto_temperature(gap_mean: Tensor) -> Tensor:
    """The temperature at which an action gap of the mean size becomes log-odds of AUTO_LOG_ODDS.

    gap_mean 0-d, the mean action gap of the teacher, in the unit of its Q-values. Gives 0-d in the same unit, on the
    same device, detached, at least SMALLEST_TEMPERATURE. AssertionError where it is not 0-d. The formula is this
    project's own: gap / temperature is the log-odds of the two best actions in a softmax.
    """
    assert gap_mean.ndim == 0, gap_mean.shape
    return (gap_mean.detach() / AUTO_LOG_ODDS).clamp_min(SMALLEST_TEMPERATURE)


def agreement(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Share of the rows in which both pick the same greedy action; with weights, those rows' share of the weight.

    a and b [B, A] outputs of any scale; weight [B] at least 0, of any scale (`action_gap` of the teacher: agreement
    where it matters), or None; weights that are all 0 count as all alike. Gives a 0-d float32 tensor from 0 to 1.
    AssertionError where shapes differ or A < 2.
    """
    check_outputs(a, b)
    same = (a.argmax(dim=-1) == b.argmax(dim=-1)).float()
    if weight is None:
        return same.mean()
    assert weight.shape == same.shape, f"weights must be [B], {same.shape}, not {weight.shape}"
    weight = weight.detach().float()
    total = weight.sum()
    return torch.where(total > 0, (weight * same).sum() / total, same.mean())


def importance(teacher_q: Tensor, temperature: Temperature, kind: Literal["entropy", "action_gap"]) -> Tensor:
    """How much each state matters to the teacher, as weights of mean 1.

    teacher_q [B, A] and temperature in the same unit. "entropy": proportional to 1 / (entropy of the soft target +
    LEAST_ENTROPY); "action_gap": to the gap, ones where every gap is 0. Gives [B], detached. AssertionError for
    another kind, where teacher_q is not 2-D or A < 2. IPPD (importance of states).
    """
    assert kind in ("entropy", "action_gap"), f"no such importance: {kind}"
    if kind == "entropy":
        matters = 1 / (entropies(teacher_q, temperature) + LEAST_ENTROPY)
    else:
        matters = action_gap(teacher_q.detach())
    mean = matters.mean()
    return torch.where(mean > 0, matters / mean, torch.ones_like(matters))


def mean_of(q: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of several teachers' Q-values.

    q [K, B, A]; weight [K] at least 0 and not all 0, of any scale. Gives [B, A] in the unit of q. AssertionError where
    shapes do not fit.
    """
    _check_fusion(q, weight)
    return ((weight / weight.sum())[:, None, None] * q).sum(dim=0)


def log_sum_exp_of(q: Tensor, weight: Tensor, temperature: Temperature) -> Tensor:
    """temperature * log sum_k weight_k * softmax(q_k / temperature): several teachers as the mean of their policies.

    q [K, B, A]; weight [K] at least 0 and not all 0, of any scale; temperature in the unit of q. Gives [B, A] in that
    unit, at most 0: preferences, not returns. Its softmax at the same temperature is the weighted mean of the policies.
    AssertionError where shapes do not fit.
    """
    _check_fusion(q, weight)
    log_p = functional.log_softmax(q / temperature, dim=-1)
    log_weight = (weight / weight.sum()).log()[:, None, None]
    return temperature * torch.logsumexp(log_weight + log_p, dim=0)


def _check_fusion(q: Tensor, weight: Tensor) -> None:
    assert q.ndim == 3 and weight.shape == q.shape[:1], f"q [K, B, A] and weight [K], not {q.shape} and {weight.shape}"
