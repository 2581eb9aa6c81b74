"""maths.closed_form: the gradients that automatic differentiation gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_samples import random_outputs

from distributed_kd.maths.closed_form import GRADIENTS, distillation_gradient, td_gradient
from distributed_kd.maths.distillation import LOSSES
from distributed_kd.maths.temporal_difference import td_error, td_loss


@settings(deadline=None, max_examples=120)
@given(
    st.sampled_from(sorted(GRADIENTS)),
    st.integers(1, 6),
    st.integers(2, 5),
    st.sampled_from([0.01, 0.3, 1.0, 5.0]),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_a_distillation_gradient_is_that_of_its_loss(loss, batch, actions, temperature, smoothing, weighted, seed):
    student, teacher_q = random_outputs(seed, batch, actions)
    student = student.double().requires_grad_()
    teacher_q = teacher_q.double()
    weight = torch.rand(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) if weighted else None
    LOSSES[loss](student, teacher_q, temperature, weight=weight, smoothing=smoothing).backward()
    found = distillation_gradient(loss, student.detach(), teacher_q, temperature, weight=weight, smoothing=smoothing)
    torch.testing.assert_close(found, student.grad, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("loss", sorted(GRADIENTS))
def test_of_several_students_each_has_its_own(loss):
    first, teacher_q = random_outputs(1)
    second, _ = random_outputs(2)
    both = distillation_gradient(loss, torch.stack([first, second]), teacher_q, torch.tensor(0.5))
    for found, student in zip(both, (first, second), strict=True):
        torch.testing.assert_close(found, distillation_gradient(loss, student, teacher_q, 0.5))


def test_kl_by_hand():
    # softmax(log 3, 0) = (3/4, 1/4), softmax((log 1, 0)) = (1/2, 1/2); two states.
    student = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).log()
    gradient = distillation_gradient("kl", student, torch.zeros(2, 2), 1.0, weight=torch.tensor([2.0, 0.0]))
    torch.testing.assert_close(gradient, torch.tensor([[0.25, -0.25], [0.0, 0.0]]))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 6), st.integers(2, 5), st.booleans(), st.integers(0, 10**6))
def test_the_td_gradient_is_that_of_the_td_loss(batch, actions, weighted, seed):
    generator = torch.Generator().manual_seed(seed)
    q = (3 * torch.randn(batch, actions, generator=generator, dtype=torch.float64)).requires_grad_()
    action = torch.randint(0, actions, (batch,), generator=generator)
    target = torch.randn(batch, generator=generator, dtype=torch.float64)
    weight = torch.rand(batch, generator=generator, dtype=torch.float64) if weighted else None
    td_loss(q, action, target, weight).backward()
    found = td_gradient(td_error(q.detach(), action, target), action, actions, weight)
    torch.testing.assert_close(found, q.grad)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(AssertionError):
        distillation_gradient("kl", torch.zeros(3, 2), torch.zeros(4, 2), 1.0)
    with pytest.raises(AssertionError):
        distillation_gradient("kl", torch.zeros(4, 2), torch.zeros(4, 2), 1.0, weight=torch.ones(4, 1))
    with pytest.raises(AssertionError):
        td_gradient(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64), 2)
    with pytest.raises(KeyError):
        distillation_gradient("dkd", torch.zeros(4, 3), torch.zeros(4, 3), 1.0)
