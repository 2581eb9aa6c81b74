"""Batches, lists of losses, and the gradients of these losses by formula, that the tests of `maths` share."""

from math import exp

import pytest
import torch
from torch.nn.functional import one_hot

from distributed_kd.maths import distillation

EVERY_LOSS = pytest.mark.parametrize("loss", distillation.LOSSES.values(), ids=distillation.LOSSES.keys())


def losses(*names):
    """The losses of these names, as a parameter of a test."""
    return pytest.mark.parametrize("loss", [distillation.LOSSES[name] for name in names], ids=names)


def random_outputs(seed=0, batch=5, actions=3, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    student = scale * torch.randn(batch, actions, dtype=torch.float64, generator=generator)
    teacher_q = scale * torch.randn(batch, actions, dtype=torch.float64, generator=generator)
    return student, teacher_q


def random_layers(seed=0, student=(4, 2, 3, 2), teacher=(4, 3, 3, 2)):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in (student, teacher)]


def softmax(x):
    return x.softmax(dim=-1)


def of_divergence(p, q):
    """Gradient of KL(p || q) towards the logits of p."""
    divergence = (p * (p / q).log()).sum(dim=-1, keepdim=True)
    return p * ((p / q).log() - divergence)


def reverse_gradient(s, q, t):
    floored = softmax(q / t).clamp_min(exp(distillation.LOWEST_LOG_TARGET))
    return of_divergence(softmax(s), floored / floored.sum(dim=-1, keepdim=True))


def dkd_gradient(s, q, t):
    best = one_hot(q.argmax(dim=-1), s.shape[-1]).bool()
    (s_best, s_among), (q_best, q_among) = (
        (softmax(x / t)[best].unsqueeze(-1), softmax((x / t).masked_fill(best, -torch.inf))) for x in (s, q)
    )
    of_others = (q_best - s_best) * s_among + 8.0 * (s_among - q_among)
    return t * torch.where(best, s_best - q_best, of_others)


def margin_gradient(s, q, t):
    best = one_hot(q.argmax(dim=-1), s.shape[-1])
    return (one_hot((s + 0.8 * (1 - best)).argmax(dim=-1), s.shape[-1]) - best).to(s.dtype)


CLOSED_FORM_GRADIENTS = {
    "kl": lambda s, q, t: softmax(s) - softmax(q / t),
    "kl_q": lambda s, q, t: softmax(s / t) - softmax(q / t),
    "kl_hinton": lambda s, q, t: t * (softmax(s / t) - softmax(q / t)),
    "kl_reverse": reverse_gradient,
    "jsd": lambda s, q, t: of_divergence(softmax(s), (softmax(s) + softmax(q / t)) / 2) / 2,
    "cross_entropy": lambda s, q, t: softmax(s) - softmax(q / t),
    "nll": lambda s, q, t: softmax(s) - one_hot(q.argmax(-1), s.shape[-1]),
    "mse": lambda s, q, t: 2 * (s - q),
    "huber": lambda s, q, t: (s - q).clamp(-1, 1),
    "dkd": dkd_gradient,
    "margin": margin_gradient,
    "hard_soft": lambda s, q, t: softmax(s) - (softmax(q / t) + one_hot(q.argmax(-1), s.shape[-1])) / 2,
}
