"""Targets and losses of Q-learning where a network gives the distribution of the return instead of its mean.

C51: probabilities of N fixed returns, the atoms of a support. Quantiles: N returns of probability 1 / N each. Networks and
optimizers live in `learning/`; which action is chosen, and by which network, is the caller's. Nothing here waits for a GPU.
"""

import torch
from torch import Tensor
from torch.nn import functional

from distributed_kd.maths import temporal_difference


def support(atoms: int, v_min: float, v_max: float) -> Tensor:
    """The returns [atoms] float32 that C51 gives probabilities to, evenly from v_min to v_max.

    AssertionError where there are fewer than 2 atoms or v_min is not below v_max. Bellemare et al. 2017, 1707.06887.
    """
    assert atoms >= 2 and v_min < v_max, (atoms, v_min, v_max)
    return torch.linspace(v_min, v_max, atoms)


def c51_mean(logits: Tensor, support: Tensor) -> Tensor:
    """Q-values [B, A] in the unit of returns: the mean of softmax(logits) over the support.

    logits [B, A, N], support [N]. AssertionError where shapes do not fit. Bellemare et al. 2017, 1707.06887.
    """
    assert logits.ndim == 3 and support.shape == logits.shape[-1:], (logits.shape, support.shape)
    return (logits.softmax(dim=-1) * support).sum(dim=-1)


def quantile_mean(quantiles: Tensor) -> Tensor:
    """Q-values [B, A]: the mean over the quantiles.

    quantiles [B, A, N] in the unit of returns. AssertionError where it is not 3-D. Dabney et al. 2018, 1710.10044.
    """
    assert quantiles.ndim == 3, quantiles.shape
    return quantiles.mean(dim=-1)


def c51_target(probabilities_t: Tensor, r_t: Tensor, discount_t: Tensor, support: Tensor) -> Tensor:
    """The distribution of r_t + discount_t * the next return, projected on the support.

    probabilities_t [B, N] of the action chosen in the observation to bootstrap from, r_t [B], discount_t [B] (0 after a
    termination), support [N] evenly spaced. What falls between two atoms is split between them by closeness, what falls
    outside goes to the outermost. Gives probabilities [B, N], detached. AssertionError where shapes differ.
    Bellemare, Dabney and Munos 2017, 1707.06887, algorithm 1.
    """
    assert probabilities_t.ndim == 2 and support.shape == probabilities_t.shape[1:], (probabilities_t.shape, support.shape)
    assert discount_t.shape == r_t.shape == probabilities_t.shape[:1], (probabilities_t.shape, discount_t.shape, r_t.shape)
    last = support.shape[0] - 1
    spacing = (support[-1] - support[0]) / last
    returns = r_t.unsqueeze(-1) + discount_t.unsqueeze(-1) * support  # [B, N]
    place = ((returns - support[0]) / spacing).clamp(0, last)  # in atoms from the lowest
    # Each atom's share by its distance, rather than by floor and ceiling: these are one atom where a return meets it, which
    # would lose its probability, and adding up by index is not deterministic on a GPU.
    atoms = torch.arange(last + 1, dtype=place.dtype, device=place.device)
    share = (1 - (place.unsqueeze(-1) - atoms).abs()).clamp_min(0)  # [B, N of the next return, N of the target]
    return (probabilities_t.unsqueeze(-1) * share).sum(dim=1).detach()


def c51_loss(logits_tm1: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each row, -sum_i target_i * log softmax(logits_tm1)_i.

    logits_tm1 [B, N] of the action taken, target [B, N] probabilities, detached here again. Gives nats, [B]; the gradient
    is softmax(logits_tm1) - target. AssertionError where shapes differ. Bellemare et al. 2017, 1707.06887, algorithm 1.
    """
    assert logits_tm1.ndim == 2 and logits_tm1.shape == target.shape, (logits_tm1.shape, target.shape)
    return -(target.detach() * functional.log_softmax(logits_tm1, dim=-1)).sum(dim=-1)


def quantile_target(quantiles_t: Tensor, r_t: Tensor, discount_t: Tensor) -> Tensor:
    """r_t + discount_t * each quantile.

    quantiles_t [B, N] of the action chosen in the observation to bootstrap from, r_t [B], discount_t [B] (0 after a
    termination). Gives samples of the return [B, N], detached. AssertionError where shapes differ.
    Dabney et al. 2018, 1710.10044, algorithm 1.
    """
    assert quantiles_t.ndim == 2 and discount_t.shape == r_t.shape == quantiles_t.shape[:1], (quantiles_t.shape, r_t.shape)
    return (r_t.unsqueeze(-1) + discount_t.unsqueeze(-1) * quantiles_t).detach()


def quantile_loss(quantiles_tm1: Tensor, target: Tensor, kappa: float = 1.0) -> Tensor:
    """Quantile Huber loss: sum over i of the mean over j of |tau_i - 1(u < 0)| * huber(u, kappa), u = target_j - quantile_i.

    quantiles_tm1 [B, N] of the action taken, the quantiles of tau_i = (i + 0.5) / N; target [B, M] samples of the return,
    detached here again; kappa above 0 in their unit, beyond which an error counts linearly. Gives [B], not divided by kappa.
    AssertionError where shapes do not fit. Dabney et al. 2018, 1710.10044, equation 10 and algorithm 1.
    """
    assert quantiles_tm1.ndim == target.ndim == 2 and len(quantiles_tm1) == len(target), (quantiles_tm1.shape, target.shape)
    count = quantiles_tm1.shape[-1]
    tau = (torch.arange(count, dtype=quantiles_tm1.dtype, device=quantiles_tm1.device) + 0.5) / count
    error = target.detach().unsqueeze(1) - quantiles_tm1.unsqueeze(-1)  # [B, N, M]
    asymmetry = (tau.unsqueeze(-1) - (error.detach() < 0).to(tau.dtype)).abs()
    return (asymmetry * temporal_difference.huber(error, kappa)).mean(dim=-1).sum(dim=-1)
