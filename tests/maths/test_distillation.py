from math import exp, log
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from distributed_kd.maths import distillation
from distributed_kd.student_config import LossName

EVERY_LOSS = pytest.mark.parametrize("loss", distillation.LOSSES.values(), ids=distillation.LOSSES.keys())


def random_outputs(seed=0, batch=5, actions=3, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    student = scale * torch.randn(batch, actions, dtype=torch.float64, generator=generator)
    teacher_q = scale * torch.randn(batch, actions, dtype=torch.float64, generator=generator)
    return student, teacher_q


def test_the_losses_are_those_that_a_run_file_can_name():
    assert tuple(distillation.LOSSES) == get_args(LossName)


L3 = log(3)  # softmax([log 3, 0]) = (3/4, 1/4)


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
        # p_T = (3/4, 1/4), p_S = (1/4, 3/4): 3/4 log 4 + 1/4 log(4/3)
        ("cross_entropy", [[0.0, L3]], [[0.5 * L3, 0.0]], 0.5, 0.75 * log(4) + 0.25 * log(4 / 3)),
        # the student gives the teacher's first action 3/4, its second 1/4
        ("nll", [[L3, 0.0]], [[5.0, 1.0]], 0.01, log(4 / 3)),
        ("nll", [[L3, 0.0], [L3, 0.0]], [[5.0, 1.0], [1.0, 5.0]], 0.01, (log(4 / 3) + log(4)) / 2),
        # 2^2 + 1^2 = 5 and 1 + 1 = 2
        ("mse", [[1.0, 2.0], [0.0, 0.0]], [[3.0, 1.0], [1.0, 1.0]], 0.01, 3.5),
        # (2 - 1/2) + 1/2 = 2 and 1/2 + 1/2 = 1
        ("huber", [[1.0, 2.0], [0.0, 0.0]], [[3.0, 1.0], [1.0, 1.0]], 0.01, 1.5),
    ],
)
def test_losses_by_hand(name, student, teacher_q, temperature, expected):
    outputs = (torch.tensor(values, dtype=torch.float64) for values in (student, teacher_q))
    assert distillation.LOSSES[name](*outputs, temperature).item() == pytest.approx(expected, rel=1e-9)


def softmax(x):
    return x.softmax(dim=-1)


CLOSED_FORM_GRADIENTS = {
    "kl": lambda s, q, t: softmax(s) - softmax(q / t),
    "kl_q": lambda s, q, t: softmax(s / t) - softmax(q / t),
    "kl_hinton": lambda s, q, t: t * (softmax(s / t) - softmax(q / t)),
    "cross_entropy": lambda s, q, t: softmax(s) - softmax(q / t),
    "nll": lambda s, q, t: softmax(s) - one_hot(q.argmax(-1), s.shape[-1]),
    "mse": lambda s, q, t: 2 * (s - q),
    "huber": lambda s, q, t: (s - q).clamp(-1, 1),
}


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
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher_q, 0.7), (student.requires_grad_(),))


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 6),
    actions=st.integers(2, 6),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
    temperature=st.sampled_from([0.01, 1.0, 10.0]),
)
def test_properties_of_the_losses(seed, batch, actions, scale, temperature):
    student, teacher_q = random_outputs(seed, batch, actions, scale)
    of = {name: loss(student, teacher_q, temperature).item() for name, loss in distillation.LOSSES.items()}
    assert all(value >= -1e-12 for value in of.values())
    entropy = distillation.target_entropy(teacher_q, temperature).item()
    assert of["cross_entropy"] == pytest.approx(of["kl"] + entropy, abs=1e-9)
    assert of["kl_hinton"] == pytest.approx(of["kl_q"] * temperature, abs=1e-9)
    assert of["huber"] <= of["mse"] / 2 + 1e-12
    assert 0 <= entropy <= log(actions) + 1e-12


@EVERY_LOSS
def test_a_temperature_on_the_device_gives_what_a_number_gives(loss):
    student, teacher_q = random_outputs()
    temperature = torch.tensor(0.25)
    torch.testing.assert_close(loss(student, teacher_q, temperature), loss(student, teacher_q, 0.25))
    assert loss(student.float(), teacher_q.float(), temperature).dtype == torch.float32


@EVERY_LOSS
def test_no_loss_reads_a_value_back_from_the_device(loss):
    # Tensors on "meta" hold no values: reading one, which would make a GPU wait, raises.
    teacher_q = torch.empty(4, 3, device="meta")
    temperature = distillation.auto_temperature(distillation.action_gap(teacher_q).mean())
    assert loss(torch.empty(4, 3, device="meta"), teacher_q, temperature).shape == ()
    assert distillation.target_entropy(teacher_q, temperature).shape == ()
    assert distillation.agreement(teacher_q, teacher_q).shape == ()


@EVERY_LOSS
@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_losses_stay_finite_on_returns_of_any_size(loss, temperature):
    student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    value = loss(student, torch.tensor([[-1e4, 1e4, 5e3]]), temperature)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()


def test_target_entropy_by_hand():
    teacher_q = torch.tensor([[1.0, 1.0], [0.5 * L3, 0.0]])
    # log 2 of (1/2, 1/2); 3/4 log(4/3) + 1/4 log 4 of (3/4, 1/4)
    expected = (log(2) + 0.75 * log(4 / 3) + 0.25 * log(4)) / 2
    assert distillation.target_entropy(teacher_q, 0.5).item() == pytest.approx(expected)


def test_action_gap_by_hand():
    q = torch.tensor([[1.0, 5.0, 3.0], [2.0, 2.0, 0.0], [-1.0, -4.0, -2.0]])
    torch.testing.assert_close(distillation.action_gap(q), torch.tensor([2.0, 0.0, 1.0]))


@pytest.mark.parametrize("gap", [0.01, 6.0, 1e4])
def test_auto_temperature_makes_a_mean_gap_twenty_to_one(gap):
    temperature = distillation.auto_temperature(torch.tensor(gap))
    assert temperature.shape == () and temperature.item() == pytest.approx(gap / 3)
    best, second = softmax(torch.tensor([gap, 0.0]) / temperature).tolist()
    assert best / second == pytest.approx(exp(3), rel=1e-4)  # e^3 = 20.1


def test_auto_temperature_of_a_teacher_without_gaps_can_be_divided_by():
    teacher_q = torch.full((4, 3), 100.0)
    temperature = distillation.auto_temperature(distillation.action_gap(teacher_q).mean())
    assert temperature.item() == pytest.approx(distillation.SMALLEST_TEMPERATURE)
    assert distillation.target_entropy(teacher_q, temperature).item() == pytest.approx(log(3))


def test_auto_temperature_refuses_a_gap_for_each_row():
    with pytest.raises(AssertionError):
        distillation.auto_temperature(torch.ones(4))


def test_agreement_by_hand():
    a = torch.tensor([[1.0, 2.0], [3.0, 1.0], [0.0, 9.0], [5.0, 4.0]])
    b = torch.tensor([[0.1, 0.2], [0.1, 0.2], [-2.0, -1.0], [70.0, 0.0]])
    # Greedy actions 1 0 1 0 and 1 1 1 0: three of four.
    assert distillation.agreement(a, b).item() == 0.75


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 4, 3)])
def test_measures_refuse_what_is_not_a_batch_of_two_actions_or_more(shape):
    q = torch.zeros(shape)
    for measure in (lambda: distillation.target_entropy(q, 1.0), lambda: distillation.action_gap(q)):
        with pytest.raises(AssertionError):
            measure()
    with pytest.raises(AssertionError):
        distillation.agreement(q, q)
