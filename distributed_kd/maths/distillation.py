"""Losses that draw a student's outputs to a teacher's Q-values, and what is measured of those Q-values.

Every loss takes student [B, A], teacher_q [B, A] with A at least 2 and a temperature (a float, or a 0-d tensor on the
same device), sums over the actions, averages over the batch and gives a 0-d tensor. The teacher is detached inside.
Nothing here waits for a GPU. Which loss a student uses, and its optimizer, live in `learning/`.
"""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from distributed_kd.maths import temporal_difference

AUTO_LOG_ODDS = 3.0
"""`auto_temperature`: log-odds of the best action over the second best at a gap of the mean size, about 20 to 1"""
SMALLEST_TEMPERATURE = 1e-6
"""`auto_temperature`: keeps the division by it finite while a fresh teacher values all actions alike"""

Temperature = float | Tensor
DistillationLoss = Callable[[Tensor, Tensor, Temperature], Tensor]


def _check_outputs(a: Tensor, b: Tensor) -> None:
    assert a.ndim == 2 and a.shape == b.shape, f"outputs must both be [B, A], not {a.shape} and {b.shape}"
    assert a.shape[-1] >= 2, "the softmax of a single output is constant: nothing could be learned from it"


def _log_target(teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """log softmax(teacher_q / temperature) over the actions, [B, A], detached."""
    return functional.log_softmax(teacher_q.detach() / temperature, dim=-1)


def _divergence(log_target: Tensor, log_student: Tensor) -> Tensor:
    """KL(target || student), summed over the actions, mean over the batch, of log-probabilities [B, A]."""
    # Written out rather than F.kl_div, whose argument order and default reduction invite mistakes.
    return (log_target.exp() * (log_target - log_student)).sum(dim=-1).mean()


def kl(student: Tensor, teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """KL(softmax(teacher_q / temperature) || softmax(student)): the student's outputs become policy logits.

    student [B, A] logits, untempered; teacher_q [B, A] and temperature in the unit of returns. Gives nats, 0-d; the
    gradient is (p_S - p_T) / B. The optimum is student = teacher_q / temperature (up to a constant a row), so a head
    that also learns from TD needs `kl_q`. AssertionError where shapes differ or A < 2. Rusu et al. 2015, 1511.06295.
    """
    _check_outputs(student, teacher_q)
    return _divergence(_log_target(teacher_q, temperature), functional.log_softmax(student, dim=-1))


def kl_q(student: Tensor, teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """temperature * KL(softmax(teacher_q / temperature) || softmax(student / temperature)): keeps the scale of Q.

    student and teacher_q [B, A] and temperature in the unit of returns; so is the loss, 0-d. It is 0 where the student
    equals the teacher. The factor makes the gradient (p_S - p_T) / B at every temperature. AssertionError where shapes
    differ or A < 2. QDagger: Agarwal et al. 2022, 2206.01626.
    """
    _check_outputs(student, teacher_q)
    log_student = functional.log_softmax(student / temperature, dim=-1)
    return temperature * _divergence(_log_target(teacher_q, temperature), log_student)


def kl_hinton(student: Tensor, teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """temperature^2 * KL(softmax(teacher_q / temperature) || softmax(student / temperature)).

    student and teacher_q [B, A] as logits, temperature in their unit. Gives a 0-d tensor. The square keeps the
    gradient's size where the temperature is far above the logits. AssertionError where shapes differ or A < 2.
    Hinton, Vinyals and Dean 2015, 1503.02531.
    """
    _check_outputs(student, teacher_q)
    log_student = functional.log_softmax(student / temperature, dim=-1)
    return temperature**2 * _divergence(_log_target(teacher_q, temperature), log_student)


def cross_entropy(student: Tensor, teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """-sum_a softmax(teacher_q / temperature)(a) * log softmax(student)(a): soft labels, untempered student logits.

    student [B, A] logits; teacher_q [B, A] and temperature in the unit of returns. Gives nats, 0-d: `kl` plus the
    targets' entropy, with the same gradient. AssertionError where shapes differ or A < 2. Hinton et al. 2015,
    1503.02531.
    """
    _check_outputs(student, teacher_q)
    target = _log_target(teacher_q, temperature).exp()
    return -(target * functional.log_softmax(student, dim=-1)).sum(dim=-1).mean()


def nll(student: Tensor, teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """-log softmax(student)(argmax_a teacher_q(a)): the teacher's greedy action as a hard label.

    student [B, A] logits, teacher_q [B, A]; temperature is taken, and not used, so that all losses are called alike.
    Gives nats, 0-d. AssertionError where shapes differ or A < 2. Rusu et al. 2015, 1511.06295.
    """
    _check_outputs(student, teacher_q)
    label = teacher_q.detach().argmax(dim=-1, keepdim=True)  # [B, 1]
    return -functional.log_softmax(student, dim=-1).gather(-1, label).mean()


def mse(student: Tensor, teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """Sum over the actions of (teacher_q - student)^2.

    student and teacher_q [B, A] in the unit of returns; temperature is taken, and not used. Gives a 0-d tensor.
    AssertionError where shapes differ or A < 2. Rusu et al. 2015, 1511.06295.
    """
    _check_outputs(student, teacher_q)
    return (teacher_q.detach() - student).square().sum(dim=-1).mean()


def huber(student: Tensor, teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """Sum over the actions of the Huber loss, delta 1, of teacher_q - student.

    student and teacher_q [B, A] in the unit of returns; temperature is taken, and not used. Gives a 0-d tensor.
    AssertionError where shapes differ or A < 2. Huber 1964.
    """
    _check_outputs(student, teacher_q)
    return temporal_difference.huber(teacher_q.detach() - student).sum(dim=-1).mean()


LOSSES: dict[str, DistillationLoss] = {
    "kl": kl,
    "kl_q": kl_q,
    "kl_hinton": kl_hinton,
    "cross_entropy": cross_entropy,
    "nll": nll,
    "mse": mse,
    "huber": huber,
}


def target_entropy(teacher_q: Tensor, temperature: Temperature) -> Tensor:
    """Mean entropy of the soft targets softmax(teacher_q / temperature), in nats: 0 = one-hot, log A = uniform.

    teacher_q [B, A]. Gives a 0-d tensor, detached. AssertionError where it is not 2-D or A < 2. Shannon 1948.
    """
    _check_outputs(teacher_q, teacher_q)
    log_target = _log_target(teacher_q, temperature)
    return -(log_target.exp() * log_target).sum(dim=-1).mean()


def action_gap(q: Tensor) -> Tensor:
    """By how much the best action is valued above the second best.

    q [B, A]. Gives [B], at least 0, in the unit of q. AssertionError where it is not 2-D or A < 2. Farahmand 2011.
    """
    _check_outputs(q, q)
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


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """Share of the rows in which both pick the same greedy action.

    a and b [B, A] outputs of any scale. Gives a 0-d float32 tensor from 0 to 1. AssertionError where shapes differ or
    A < 2.
    """
    _check_outputs(a, b)
    return (a.argmax(dim=-1) == b.argmax(dim=-1)).float().mean()
