"""Gradients of losses at the outputs that they are of, in closed form.

They are what automatic differentiation gives of the losses in `distillation` and `temporal_difference`, without the graph,
which takes longer than a small network's own products.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from distributed_kd.maths.targets import Temperature, log_target


def _of_logits(student: Tensor, teacher_q: Tensor, temperature: Temperature, smoothing: float) -> Tensor:
    return student.softmax(-1).sub_(log_target(teacher_q, temperature, smoothing).exp())


def _of_tempered(student: Tensor, teacher_q: Tensor, temperature: Temperature, smoothing: float) -> Tensor:
    return _of_logits(student / temperature, teacher_q, temperature, smoothing)


def _of_tempered_squared(student: Tensor, teacher_q: Tensor, temperature: Temperature, smoothing: float) -> Tensor:
    return temperature * _of_tempered(student, teacher_q, temperature, smoothing)


def _of_hard_labels(student: Tensor, teacher_q: Tensor, temperature: Temperature, smoothing: float) -> Tensor:
    label = torch.full_like(teacher_q, smoothing / teacher_q.shape[-1])
    label.scatter_add_(-1, teacher_q.argmax(-1, keepdim=True), torch.full_like(teacher_q[:, :1], 1.0 - smoothing))
    return student.softmax(-1).sub_(label)


def _of_squares(student: Tensor, teacher_q: Tensor, temperature: Temperature, smoothing: float) -> Tensor:
    return 2.0 * (student - teacher_q)


def _of_huber(student: Tensor, teacher_q: Tensor, temperature: Temperature, smoothing: float) -> Tensor:
    return (student - teacher_q).clamp_(-1.0, 1.0)


GRADIENTS: dict[str, Callable[[Tensor, Tensor, Temperature, float], Tensor]] = {
    "kl": _of_logits,
    "cross_entropy": _of_logits,
    "kl_q": _of_tempered,
    "kl_hinton": _of_tempered_squared,
    "nll": _of_hard_labels,
    "mse": _of_squares,
    "huber": _of_huber,
}
"""By the loss's name, as in `distillation.LOSSES` without options: student [..., B, A], teacher_q [B, A], temperature and
smoothing to the gradient of each state's loss at the student's outputs, [..., B, A]"""


def distillation_gradient(
    loss: str,
    student: Tensor,
    teacher_q: Tensor,
    temperature: Temperature,
    *,
    weight: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Gradient of a loss of `distillation.LOSSES`, a mean over the batch, at the outputs of one student or of several.

    student [..., B, A], teacher_q [B, A] and temperature in the unit of returns, weight [B] of mean 1 or None. Gives
    [..., B, A]: for each student that of its own loss. KeyError where no closed form is known, AssertionError where shapes
    do not fit.
    """
    assert student.shape[-2:] == teacher_q.shape, (student.shape, teacher_q.shape)
    gradient = GRADIENTS[loss](student, teacher_q, temperature, smoothing)
    if weight is not None:
        assert weight.shape == teacher_q.shape[:1], (weight.shape, teacher_q.shape)
        gradient = gradient * weight.unsqueeze(-1)
    return gradient / len(teacher_q)


def td_gradient(error: Tensor, a_tm1: Tensor, actions: int, weight: Tensor | None = None) -> Tensor:
    """Gradient of `temporal_difference.td_loss` at the Q-values [B, A], from its errors target - q(a) [B].

    a_tm1 [B] int64, weight [B] or None. AssertionError where shapes differ.
    """
    assert error.shape == a_tm1.shape and (weight is None or weight.shape == error.shape), (error.shape, a_tm1.shape)
    taken = error.clamp(-1.0, 1.0) / -len(error)
    if weight is not None:
        taken = taken * weight
    return error.new_zeros((len(error), actions)).scatter_(1, a_tm1.unsqueeze(1), taken.unsqueeze(1))
