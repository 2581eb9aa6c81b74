"""Losses that draw a student's outputs to a teacher's Q-values.

Every loss takes student [B, A], teacher_q [B, A] with A at least 2 and a temperature (a float, or a 0-d tensor on the
same device), sums over the actions, averages over the batch and gives a 0-d tensor; AssertionError where shapes do not
fit. By name it takes a weight [B] of each state, with mean 1 (`targets.importance`), and `smoothing`, the share of the
target's probability spread evenly over all actions. The teacher and the weight are detached inside. Nothing here waits
for a GPU.
Losses between hidden layers are in `representation`, those of values and rewards in `policy_gradient`; which loss a
student uses, and its optimizer, live in `learning/`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from distributed_kd.maths import temporal_difference
from distributed_kd.maths.targets import Temperature, batch_mean, check_outputs, log_target

LOWEST_LOG_TARGET = -10.0
"""`kl_reverse`: below it a target's log-probability (1 in 22,000) is not taken at its word. At temperature 0.01 it may be
-10,000, and one state would outweigh its batch; so a state costs about 10 nats at most, its gradient about 3 an action."""

DistillationLoss = Callable[..., Tensor]


def _divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of log-probabilities [B, A], summed over the actions, [B]."""
    # Written out rather than F.kl_div, whose argument order and default reduction invite mistakes.
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _best(teacher_q: Tensor) -> Tensor:
    """The teacher's greedy action, [B, 1]."""
    return teacher_q.detach().argmax(dim=-1, keepdim=True)


def kl(
    student: Tensor, teacher_q: Tensor, temperature: Temperature, *, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """KL(softmax(teacher_q / temperature) || softmax(student)): the student's outputs become policy logits.

    student [B, A] logits, untempered; teacher_q [B, A] and temperature in the unit of returns. Gives nats, 0-d; the
    gradient is (p_S - p_T) / B. The optimum is student = teacher_q / temperature (up to a constant a row), so a head
    that also learns from TD needs `kl_q`. AssertionError where shapes differ or A < 2. Rusu et al. 2015, 1511.06295.
    """
    check_outputs(student, teacher_q)
    log_student = functional.log_softmax(student, dim=-1)
    return batch_mean(_divergence(log_target(teacher_q, temperature, smoothing), log_student), weight)


def kl_q(
    student: Tensor, teacher_q: Tensor, temperature: Temperature, *, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """temperature * KL(softmax(teacher_q / temperature) || softmax(student / temperature)): keeps the scale of Q.

    student and teacher_q [B, A] and temperature in the unit of returns; so is the loss, 0-d. It is 0 where the student
    equals the teacher. The factor makes the gradient (p_S - p_T) / B at every temperature. AssertionError where shapes
    differ or A < 2. QDagger: Agarwal et al. 2022, 2206.01626.
    """
    check_outputs(student, teacher_q)
    log_student = functional.log_softmax(student / temperature, dim=-1)
    return temperature * batch_mean(_divergence(log_target(teacher_q, temperature, smoothing), log_student), weight)


def kl_hinton(
    student: Tensor, teacher_q: Tensor, temperature: Temperature, *, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """temperature^2 * KL(softmax(teacher_q / temperature) || softmax(student / temperature)).

    student and teacher_q [B, A] as logits, temperature in their unit. Gives a 0-d tensor. The square keeps the
    gradient's size where the temperature is far above the logits. AssertionError where shapes differ or A < 2.
    Hinton, Vinyals and Dean 2015, 1503.02531.
    """
    check_outputs(student, teacher_q)
    log_student = functional.log_softmax(student / temperature, dim=-1)
    return temperature**2 * batch_mean(_divergence(log_target(teacher_q, temperature, smoothing), log_student), weight)


def kl_reverse(
    student: Tensor, teacher_q: Tensor, temperature: Temperature, *, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """KL(softmax(student) || softmax(teacher_q / temperature)): seeks the teacher's mode.

    student [B, A] logits, untempered; teacher_q [B, A] and temperature in the unit of returns. The target's
    log-probabilities are raised to LOWEST_LOG_TARGET, and normalised again so that the loss stays at least 0. Gives
    nats, 0-d; the gradient is p_S * (log(p_S / p_T) - KL of the state) / B. AssertionError where shapes differ or
    A < 2. Kullback and Leibler 1951.
    """
    check_outputs(student, teacher_q)
    floored = log_target(teacher_q, temperature, smoothing).clamp_min(LOWEST_LOG_TARGET)
    log_student = functional.log_softmax(student, dim=-1)
    return batch_mean(_divergence(log_student, functional.log_softmax(floored, dim=-1)), weight)


def jsd(
    student: Tensor, teacher_q: Tensor, temperature: Temperature, *, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """Jensen-Shannon divergence of softmax(student) and softmax(teacher_q / temperature): symmetric and bounded.

    student [B, A] logits, untempered; teacher_q [B, A] and temperature in the unit of returns. Gives nats, 0-d, from 0
    to log 2: the mean of both divergences from the even mixture m; the gradient is p_S * (log(p_S / m) -
    KL(p_S || m)) / 2B. AssertionError where shapes differ or A < 2. Lin 1991.
    """
    check_outputs(student, teacher_q)
    log_p, log_student = log_target(teacher_q, temperature, smoothing), functional.log_softmax(student, dim=-1)
    # In log space, as a mixture of probabilities that round to 0 has no logarithm.
    log_mixture = torch.logaddexp(log_p, log_student) - math.log(2)
    return batch_mean((_divergence(log_p, log_mixture) + _divergence(log_student, log_mixture)) / 2, weight)


def cross_entropy(
    student: Tensor, teacher_q: Tensor, temperature: Temperature, *, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """-sum_a softmax(teacher_q / temperature)(a) * log softmax(student)(a): soft labels, untempered student logits.

    student [B, A] logits; teacher_q [B, A] and temperature in the unit of returns. Gives nats, 0-d: `kl` plus the
    targets' entropy, with the same gradient. AssertionError where shapes differ or A < 2. Hinton et al. 2015,
    1503.02531.
    """
    check_outputs(student, teacher_q)
    target = log_target(teacher_q, temperature, smoothing).exp()
    return batch_mean(-(target * functional.log_softmax(student, dim=-1)).sum(dim=-1), weight)


def nll(
    student: Tensor, teacher_q: Tensor, temperature: Temperature, *, weight: Tensor | None = None, smoothing: float = 0.0
) -> Tensor:
    """-log softmax(student)(argmax_a teacher_q(a)): the teacher's greedy action as a hard label.

    student [B, A] logits, teacher_q [B, A]; temperature is taken, and not used, so that all losses are called alike.
    With smoothing s the label is (1 - s) on the best action plus s / A on all. Gives nats, 0-d. AssertionError where
    shapes differ or A < 2. Rusu et al. 2015, 1511.06295.
    """
    check_outputs(student, teacher_q)
    log_student = functional.log_softmax(student, dim=-1)
    hard = log_student.gather(-1, _best(teacher_q)).squeeze(-1)
    return batch_mean(-((1 - smoothing) * hard + smoothing * log_student.mean(dim=-1)), weight)


def mse(
    student: Tensor,
    teacher_q: Tensor,
    temperature: Temperature,
    *,
    weight: Tensor | None = None,
    smoothing: float = 0.0,
    target: str = "q",
) -> Tensor:
    """Sum over the actions of (teacher_q - student)^2.

    student and teacher_q [B, A] in the unit of returns, `target` as in `_error`; temperature and smoothing are taken, and
    not used. Gives a 0-d tensor. AssertionError where shapes differ or A < 2. Rusu et al. 2015, 1511.06295.
    """
    check_outputs(student, teacher_q)
    return batch_mean(_error(student, teacher_q, target).square().sum(dim=-1), weight)


def huber(
    student: Tensor,
    teacher_q: Tensor,
    temperature: Temperature,
    *,
    weight: Tensor | None = None,
    smoothing: float = 0.0,
    target: str = "q",
) -> Tensor:
    """Sum over the actions of the Huber loss, delta 1, of teacher_q - student.

    student and teacher_q [B, A] in the unit of returns, `target` as in `_error`; temperature and smoothing are taken, and
    not used. Gives a 0-d tensor. AssertionError where shapes differ or A < 2. Huber 1964.
    """
    check_outputs(student, teacher_q)
    return batch_mean(temporal_difference.huber(_error(student, teacher_q, target)).sum(dim=-1), weight)


def _error(student: Tensor, teacher_q: Tensor, target: str) -> Tensor:
    """What is left between student and teacher [B, A], the teacher detached.

    "q": of the Q-values. "advantage": of both less their mean over the actions, so that the student need not know how much
    is still to come, only what each action adds (Wang et al. 2016, 1511.06581). "scaled": the teacher's less their mean over
    the batch and divided by their standard deviation over it, so that the student's outputs are near 1 whatever the rewards.
    """
    teacher_q = teacher_q.detach()
    if target == "advantage":
        return _centred(teacher_q) - _centred(student)
    if target == "scaled":
        spread = teacher_q.std(correction=0)
        return (teacher_q - teacher_q.mean()) / torch.where(spread > 0, spread, 1.0) - student
    assert target == "q", f"no such target: {target}"
    return teacher_q - student


def _centred(outputs: Tensor) -> Tensor:
    """[B, A] less its mean over the actions."""
    return outputs - outputs.mean(dim=-1, keepdim=True)


def dkd(
    student: Tensor,
    teacher_q: Tensor,
    temperature: Temperature,
    *,
    weight: Tensor | None = None,
    smoothing: float = 0.0,
    alpha: float = 1.0,
    beta: float = 8.0,
) -> Tensor:
    """temperature^2 * (alpha * TCKD + beta * NCKD): `kl_hinton` in two parts, each with a factor of its own.

    TCKD is the divergence of (p, 1 - p), p the probability of the teacher's best action; NCKD that among the other
    actions. student and teacher_q [B, A] as logits, temperature in their unit; alpha and beta at least 0. Gives a 0-d
    tensor. It is `kl_hinton` where alpha is 1 and beta the teacher's 1 - p. AssertionError where shapes differ or
    A < 3. Zhao et al. 2022, 2203.08679.
    """
    check_outputs(student, teacher_q)
    assert student.shape[-1] >= 3, "dkd is undefined for two actions: nothing is left to compare among the others"
    best = _best(teacher_q)
    target_pair, target_others = _decoupled(log_target(teacher_q, temperature, smoothing), best)
    student_pair, student_others = _decoupled(student / temperature, best)
    tckd, nckd = _divergence(target_pair, student_pair), _divergence(target_others, student_others)
    return temperature**2 * batch_mean(alpha * tckd + beta * nckd, weight)


def _decoupled(logits: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """log (p, 1 - p) of the best action [B, 2], and the log-probabilities among the others [B, A - 1]."""
    # The others are picked out, not masked to -inf: 0 * (-inf - -inf) would be NaN. 1 - p is summed over them in log
    # space, as it rounds to 0 where the teacher is sure.
    others = logits.gather(-1, (best + torch.arange(1, logits.shape[-1], device=logits.device)) % logits.shape[-1])
    pair = torch.cat([logits.gather(-1, best), others.logsumexp(dim=-1, keepdim=True)], dim=-1)
    return functional.log_softmax(pair, dim=-1), functional.log_softmax(others, dim=-1)


def margin(
    student: Tensor,
    teacher_q: Tensor,
    temperature: Temperature,
    *,
    weight: Tensor | None = None,
    smoothing: float = 0.0,
    margin: float = 0.8,
) -> Tensor:
    """max_a[student(a) + margin * 1(a != a_T)] - student(a_T), a_T = argmax_a teacher_q(a): a_T is to lead by the margin.

    student [B, A] in the unit of returns, as is the margin, at least 0; teacher_q [B, A]; temperature and smoothing are
    taken, and not used. Gives a 0-d tensor, 0 where a_T leads by the margin. AssertionError where shapes differ or
    A < 2. DQfD: Hester et al. 2018, 1704.03732.
    """
    check_outputs(student, teacher_q)
    best = _best(teacher_q)
    followed = student.gather(-1, best)  # [B, 1]
    raised = (student + margin).scatter(-1, best, followed)
    return batch_mean(raised.max(dim=-1).values - followed.squeeze(-1), weight)


def hard_soft(
    student: Tensor,
    teacher_q: Tensor,
    temperature: Temperature,
    *,
    weight: Tensor | None = None,
    smoothing: float = 0.0,
    soft: str = "kl",
    hard: str = "nll",
    soft_weight: float = 0.5,
    hard_weight: float = 0.5,
) -> Tensor:
    """soft_weight * the loss named soft + hard_weight * the loss named hard, each with its default options.

    student and teacher_q [B, A], temperature, weight and smoothing are handed to both. Gives a 0-d tensor.
    AssertionError as theirs; KeyError where LOSSES has no such name. Hinton et al. 2015, 1503.02531, section 2.
    """
    softly = LOSSES[soft](student, teacher_q, temperature, weight=weight, smoothing=smoothing)
    hardly = LOSSES[hard](student, teacher_q, temperature, weight=weight, smoothing=smoothing)
    return soft_weight * softly + hard_weight * hardly


LOSSES: dict[str, DistillationLoss] = {
    "kl": kl,
    "kl_q": kl_q,
    "kl_hinton": kl_hinton,
    "kl_reverse": kl_reverse,
    "jsd": jsd,
    "cross_entropy": cross_entropy,
    "nll": nll,
    "mse": mse,
    "huber": huber,
    "dkd": dkd,
    "margin": margin,
    "hard_soft": hard_soft,
}
