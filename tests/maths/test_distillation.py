from math import exp, log
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_samples import CLOSED_FORM_GRADIENTS, EVERY_LOSS, losses, random_outputs, softmax
from torch.nn.functional import one_hot

from distributed_kd.maths import distillation, targets
from distributed_kd.student_config import OutputLossName


def test_the_losses_are_those_that_a_run_file_can_name():
    assert tuple(distillation.LOSSES) == (*get_args(OutputLossName), "hard_soft")


L2, L3 = log(2), log(3)  # softmax([log 3, 0]) = (3/4, 1/4)


@pytest.mark.parametrize(
    ("name", "student", "teacher_q", "temperature", "expected"),
    [
        # p_T = (1/2, 1/2), p_S = (3/4, 1/4): 1/2 log(2/3) + 1/2 log 2 = 1/2 log(4/3)
        ("kl", [[L3, 0.0]], [[0.0, 0.0]], 0.01, log(4 / 3) / 2),
        # p_T = (3/4, 1/4) by its temperature, p_S = (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2)
        ("kl", [[0.0, 0.0]], [[0.01 * L3, 0.0]], 0.01, 0.75 * log(1.5) + 0.25 * log(0.5)),
        # the first row again, and one whose student agrees: the mean of it and 0
        ("kl", [[L3, 0.0], [L3, 0.0]], [[0.0, 0.0], [0.5 * L3, 0.0]], 0.5, log(4 / 3) / 4),
        # both divided by 2 the divergence is 1/2 log(4/3), times 2
        ("kl_q", [[2 * L3, 0.0]], [[0.0, 0.0]], 2.0, log(4 / 3)),
        # the same, times 2^2
        ("kl_hinton", [[2 * L3, 0.0]], [[0.0, 0.0]], 2.0, 2 * log(4 / 3)),
        # p_S = (3/4, 1/4), p_T = (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2)
        ("kl_reverse", [[L3, 0.0]], [[0.0, 0.0]], 0.01, 0.75 * log(1.5) + 0.25 * log(0.5)),
        # p_T = (1, e^-100) counts as (1, e^-10) / (1 + e^-10), p_S = (1/2, 1/2): -log 2 + 10/2 + log(1 + e^-10)
        ("kl_reverse", [[0.0, 0.0]], [[1.0, 0.0]], 0.01, 5 - L2 + log(1 + exp(-10))),
        # p_S = (3/4, 1/4), p_T = (1/2, 1/2), mixture (5/8, 3/8)
        (
            "jsd",
            [[L3, 0.0]],
            [[0.0, 0.0]],
            1.0,
            (0.75 * log(6 / 5) + 0.25 * log(2 / 3) + 0.5 * log(4 / 5) + 0.5 * log(4 / 3)) / 2,
        ),
        # (1, 0) against (0, 1), mixture (1/2, 1/2): log 2, the most there is
        ("jsd", [[200.0, 0.0]], [[0.0, 2.0]], 0.01, L2),
        # p_T = (3/4, 1/4), p_S = (1/4, 3/4): 3/4 log 4 + 1/4 log(4/3)
        ("cross_entropy", [[0.0, L3]], [[0.5 * L3, 0.0]], 0.5, 0.75 * log(4) + 0.25 * log(4 / 3)),
        # the student gives the teacher's first action 3/4, its second 1/4
        ("nll", [[L3, 0.0]], [[5.0, 1.0]], 0.01, log(4 / 3)),
        ("nll", [[L3, 0.0], [L3, 0.0]], [[5.0, 1.0], [1.0, 5.0]], 0.01, (log(4 / 3) + log(4)) / 2),
        # 2^2 + 1^2 = 5 and 1 + 1 = 2
        ("mse", [[1.0, 2.0], [0.0, 0.0]], [[3.0, 1.0], [1.0, 1.0]], 0.01, 3.5),
        # (2 - 1/2) + 1/2 = 2 and 1/2 + 1/2 = 1
        ("huber", [[1.0, 2.0], [0.0, 0.0]], [[3.0, 1.0], [1.0, 1.0]], 0.01, 1.5),
        # p_T = (2, 1, 1)/4, p_S = (4, 3, 1)/8: both best at 1/2; among the others (1/2, 1/2) and (3/4, 1/4), so
        # 2^2 * 8 * 1/2 log(4/3)
        ("dkd", [[4 * L2, 2 * L3, 0.0]], [[2 * L2, 0.0, 0.0]], 2.0, 16 * log(4 / 3)),
        # p_S = (6, 1, 1)/8: the others agree, the best has 3/4 in place of 1/2: 2^2 * 1/2 log(4/3)
        ("dkd", [[2 * log(6), 0.0, 0.0]], [[2 * L2, 0.0, 0.0]], 2.0, 2 * log(4 / 3)),
        # best action 0: max(1, 2.8, .8) - 1 = 1.8; best action 1, which leads by 2: max(.8, 2, .8) - 2 = 0
        ("margin", [[1.0, 2.0, 0.0], [0.0, 2.0, 0.0]], [[9.0, 8.0, 7.0], [1.0, 5.0, 0.0]], 0.01, 0.9),
        # kl of (1/4, 3/4) and (3/4, 1/4): 1/4 log(1/3) + 3/4 log 3 = 1/2 log 3; nll log 4; half of each
        ("hard_soft", [[L3, 0.0]], [[0.0, L3]], 1.0, (L3 / 2 + log(4)) / 2),
    ],
)
def test_losses_by_hand(name, student, teacher_q, temperature, expected):
    outputs = (torch.tensor(values, dtype=torch.float64) for values in (student, teacher_q))
    assert distillation.LOSSES[name](*outputs, temperature).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        # As above: TCKD 1/2 log(4/3) with the second student, NCKD 1/2 log(4/3) with the first; T^2 = 4; mean of two.
        ("dkd", {"alpha": 3.0, "beta": 5.0}, 4 * (3 + 5) * log(4 / 3) / 2 / 2),
        # 2 log 6 and 4 log 2 both lead by more than 1 over 0, but 4 log 2 over 2 log 3 by .575: 1 - .575 = .425, halved
        ("margin", {"margin": 1.0}, (1 + 2 * L3 - 4 * L2) / 2),
        # p_S(best) at temperature 1: 16/(16 + 9 + 1) and 36/38
        ("hard_soft", {"soft": "mse", "soft_weight": 0.0, "hard_weight": 2.0}, log(26 / 16) + log(38 / 36)),
        # (4 log 2 - 2 log 2)^2 + (2 log 3)^2 and (2 log 6 - 2 log 2)^2 = (2 log 3)^2, no nll
        ("hard_soft", {"soft": "mse", "soft_weight": 1.0, "hard_weight": 0.0}, (4 * L2**2 + 8 * L3**2) / 2),
    ],
)
def test_options_by_hand(name, options, expected):
    student = torch.tensor([[4 * L2, 2 * L3, 0.0], [2 * log(6), 0.0, 0.0]], dtype=torch.float64)
    teacher_q = torch.tensor([[2 * L2, 0.0, 0.0]] * 2, dtype=torch.float64)
    assert distillation.LOSSES[name](student, teacher_q, 2.0, **options).item() == pytest.approx(expected)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("name", distillation.LOSSES)
def test_gradients_equal_their_closed_form_over_the_batch(name, temperature):
    student, teacher_q = random_outputs()
    student.requires_grad_()
    distillation.LOSSES[name](student, teacher_q, temperature).backward()
    expected = CLOSED_FORM_GRADIENTS[name](student.detach(), teacher_q, temperature) / len(student)
    torch.testing.assert_close(student.grad, expected)


@EVERY_LOSS
def test_gradients_agree_with_finite_differences(loss):
    student, teacher_q = random_outputs(seed=2)
    weight = torch.tensor([0.0, 2.5, 1.0, 0.5, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s: loss(s, teacher_q, 0.7, weight=weight, smoothing=0.1), (student.requires_grad_(),)
    )


BATCHES = {
    "seed": st.integers(0, 2**31),
    "batch": st.integers(1, 6),
    "actions": st.integers(2, 6),
    "scale": st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
    "temperature": st.sampled_from([0.01, 1.0, 10.0]),
}


def values(student, teacher_q, temperature, **options):
    """Every loss that so many actions have."""
    return {
        name: loss(student, teacher_q, temperature, **options).item()
        for name, loss in distillation.LOSSES.items()
        if name != "dkd" or student.shape[-1] > 2
    }


@settings(deadline=None, max_examples=50)
@given(**BATCHES)
def test_properties_of_the_losses(seed, batch, actions, scale, temperature):
    student, teacher_q = random_outputs(seed, batch, actions, scale)
    of = values(student, teacher_q, temperature)
    assert all(value >= -1e-12 for value in of.values())
    entropy = targets.target_entropy(teacher_q, temperature).item()
    assert of["cross_entropy"] == pytest.approx(of["kl"] + entropy, abs=1e-9)
    assert of["kl_hinton"] == pytest.approx(of["kl_q"] * temperature, abs=1e-9)
    assert of["huber"] <= of["mse"] / 2 + 1e-12
    assert of["jsd"] <= log(2) + 1e-12
    assert of["kl_reverse"] <= -distillation.LOWEST_LOG_TARGET + actions * exp(distillation.LOWEST_LOG_TARGET)
    assert of["hard_soft"] == pytest.approx((of["kl"] + of["nll"]) / 2, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(**BATCHES, smoothing=st.sampled_from([0.0, 0.1]), shift=st.floats(-10, 10))
def test_neither_the_order_of_states_or_actions_nor_the_height_of_preferences_matters(
    seed, batch, actions, scale, temperature, smoothing, shift
):
    # Where all actions are alike the first of them is the best, and another order changes which one that is.
    student, teacher_q = random_outputs(seed, batch, actions, max(scale, 1e-3))
    generator = torch.Generator().manual_seed(seed)
    states, columns = torch.randperm(batch, generator=generator), torch.randperm(actions, generator=generator)
    weight = 2 * torch.rand(batch, dtype=torch.float64, generator=generator)
    expected = values(student, teacher_q, temperature, weight=weight, smoothing=smoothing)
    reordered = values(
        student[states][:, columns], teacher_q[states][:, columns], temperature, weight=weight[states], smoothing=smoothing
    )
    assert reordered == pytest.approx(expected, rel=1e-7, abs=1e-9)
    raised = values(student - shift, teacher_q + shift, temperature, weight=weight, smoothing=smoothing)
    for read_as_returns in ("mse", "huber"):
        del raised[read_as_returns], expected[read_as_returns]
    assert raised == pytest.approx(expected, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
@pytest.mark.parametrize(
    ("name", "taught"),
    [
        *((name, lambda q, t: q / t + 7.0) for name in ("kl", "kl_reverse", "jsd")),
        *((name, lambda q, t: q + 7.0) for name in ("kl_q", "kl_hinton", "dkd")),
        *((name, lambda q, t: q) for name in ("mse", "huber")),
        # the best action of three in front by .8
        ("margin", lambda q, t: 0.8 * one_hot(q.argmax(dim=-1), 3).to(q.dtype)),
    ],
)
def test_a_student_that_says_what_the_teacher_says_has_nothing_to_learn(name, taught, temperature):
    teacher_q = random_outputs()[1]
    student = taught(teacher_q, temperature).requires_grad_()
    loss = distillation.LOSSES[name](student, teacher_q, temperature)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
    if name != "margin":  # whose kink is at the margin
        loss.backward()
        torch.testing.assert_close(student.grad, torch.zeros_like(student))


def test_dkd_is_hintons_loss_with_another_weight_on_the_other_actions():
    for seed in range(5):
        student, teacher_q = random_outputs(seed, batch=1, actions=5)
        beta = 1 - softmax(teacher_q / 4.0).max().item()
        together = distillation.dkd(student, teacher_q, 4.0, alpha=1.0, beta=beta)
        torch.testing.assert_close(together, distillation.kl_hinton(student, teacher_q, 4.0))


def test_dkd_refuses_two_actions():
    with pytest.raises(AssertionError, match="undefined for two actions"):
        distillation.dkd(torch.randn(4, 2), torch.randn(4, 2), 4.0)


@EVERY_LOSS
def test_a_temperature_on_the_device_gives_what_a_number_gives(loss):
    student, teacher_q = random_outputs()
    temperature = torch.tensor(0.25)
    torch.testing.assert_close(loss(student, teacher_q, temperature), loss(student, teacher_q, 0.25))
    assert loss(student.float(), teacher_q.float(), temperature).dtype == torch.float32


@EVERY_LOSS
def test_no_loss_reads_a_value_back_from_the_device(loss):
    # Tensors on "meta" hold no values: reading one, which would make a GPU wait, raises.
    student, teacher_q = torch.empty(2, 4, 3, device="meta")
    temperature = targets.auto_temperature(targets.action_gap(teacher_q).mean())
    weight = targets.importance(teacher_q, temperature, "entropy")
    assert loss(student, teacher_q, temperature, weight=weight, smoothing=0.1).shape == ()


@EVERY_LOSS
@pytest.mark.parametrize("temperature", [0.01, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 1e-3, 1.0])
@pytest.mark.parametrize(
    ("student", "teacher_q"),
    [
        ([1e4, -1e4, 0.0], [-1e4, 1e4, 5e3]),
        ([101.0, 99.0, 100.0], [99.0, 100.5, 101.0]),
        ([0.0, 0.0, 0.0], [100.0, 100.0, 100.0]),
        ([100.0, 100.0, 100.0], [100.0, 100.0, 0.0]),
    ],
    ids=["large", "near 100", "no gap", "no gap at the top"],
)
def test_losses_and_gradients_stay_finite_on_returns_of_any_size(loss, temperature, smoothing, student, teacher_q):
    student = torch.tensor([student], requires_grad=True)
    value = loss(student, torch.tensor([teacher_q]), temperature, smoothing=smoothing)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


def test_the_reverse_divergence_of_a_one_hot_target_still_teaches():
    # Without the floor the first loss would be 5000 * 2/3 and its gradients as large: nothing else in the batch would count.
    teacher_q = torch.tensor([[100.0, 50.0, 50.0]])
    for student in ([0.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 8.0, 8.0], [3.0, 0.0, 0.0]):
        logits = torch.tensor([student], requires_grad=True)
        loss = distillation.kl_reverse(logits, teacher_q, 0.01)
        loss.backward()
        assert 0 < loss < 10.1
        assert -3 < logits.grad[0, 0] < -1e-3 and logits.grad.abs().max() < 3


@EVERY_LOSS
def test_a_weight_multiplies_the_loss_of_its_state(loss):
    student, teacher_q = random_outputs()
    student.requires_grad_()
    weight = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64, requires_grad=True)
    alone = [loss(student[i : i + 1], teacher_q[i : i + 1], 0.5) for i in range(5)]
    weighted = loss(student, teacher_q, 0.5, weight=weight)
    torch.testing.assert_close(weighted, (0.5 * alone[1] + alone[2] + 1.5 * alone[3] + 2 * alone[4]) / 5)
    weighted.backward()
    assert weight.grad is None and student.grad[0].abs().sum() == 0
    ones = torch.ones(5, dtype=torch.float64)
    assert torch.equal(loss(student, teacher_q, 0.5, weight=ones), loss(student, teacher_q, 0.5))


SMOOTHED = losses("kl", "kl_q", "kl_hinton", "kl_reverse", "jsd", "cross_entropy", "nll", "dkd", "hard_soft")


@SMOOTHED
def test_smoothing_of_one_teaches_that_all_actions_are_alike(loss):
    student, teacher_q = random_outputs()
    # Which action counts as the best is left to the teacher: near nothing in front, it is as good as alike.
    alike = 1e-12 * teacher_q
    expected = loss(student, alike, 0.5)
    if loss in (distillation.nll, distillation.hard_soft):  # whose hard label is spread too
        even = distillation.cross_entropy(student, alike, 0.5)
        expected = even if loss is distillation.nll else (even + distillation.kl(student, alike, 0.5)) / 2
    torch.testing.assert_close(loss(student, teacher_q, 0.5, smoothing=1.0), expected)
    assert torch.equal(loss(student, teacher_q, 0.5, smoothing=0.0), loss(student, teacher_q, 0.5))


@SMOOTHED
def test_smoothing_by_hand_changes_the_target_alone(loss):
    # (.8, .1, .1) with a quarter spread evenly: .75 * .8 + .25 / 3 = .68333, .75 * .1 + .25 / 3 = .15833
    student, teacher_q = random_outputs(batch=1)[0], torch.tensor([[0.8, 0.1, 0.1]], dtype=torch.float64).log()
    spread = torch.tensor([[0.75 * 0.8 + 0.25 / 3, *[0.75 * 0.1 + 0.25 / 3] * 2]], dtype=torch.float64)
    expected = loss(student, spread.log(), 1.0)
    if loss in (distillation.nll, distillation.hard_soft):
        # the hard label (1, 0, 0) becomes (.83333, .08333, .08333)
        label = torch.tensor([[10 / 12, 1 / 12, 1 / 12]], dtype=torch.float64)
        hard = -(label * student.log_softmax(dim=-1)).sum()
        expected = hard if loss is distillation.nll else (hard + distillation.kl(student, spread.log(), 1.0)) / 2
    torch.testing.assert_close(loss(student, teacher_q, 1.0, smoothing=0.25), expected)


@losses("mse", "huber", "margin")
def test_smoothing_leaves_values_alone(loss):
    student, teacher_q = random_outputs()
    assert torch.equal(loss(student, teacher_q, 0.5, smoothing=0.5), loss(student, teacher_q, 0.5))
