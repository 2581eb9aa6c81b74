"""What `mse` and `huber` may be taken of: Q-values, advantages, or Q-values on a scale of their own."""

import pytest
import torch

from distributed_kd.maths.distillation import huber, mse

STUDENT = torch.tensor([[1.0, 4.0], [0.0, 0.0]])
TEACHER = torch.tensor([[10.0, 12.0], [14.0, 20.0]])


def test_advantages_worked_by_hand():
    # Less their means the student's rows are (-1.5, 1.5) and (0, 0), the teacher's (-1, 1) and (-3, 3): errors of .5 and 3.
    assert mse(STUDENT, TEACHER, 1.0, target="advantage").item() == pytest.approx((2 * 0.25 + 2 * 9.0) / 2)
    assert huber(STUDENT, TEACHER, 1.0, target="advantage").item() == pytest.approx((2 * 0.125 + 2 * 2.5) / 2)


def test_scaled_values_worked_by_hand():
    # The teacher's mean is 14 and its variance (16 + 4 + 0 + 36) / 4 = 14.
    root = 14**0.5
    errors = [-4 / root - 1, -2 / root - 4, 0.0, 6 / root]
    assert mse(STUDENT, TEACHER, 1.0, target="scaled").item() == pytest.approx(sum(e * e for e in errors) / 2, rel=1e-6)


@pytest.mark.parametrize("loss", [mse, huber])
def test_what_each_target_does_not_look_at(loss):
    advantage = loss(STUDENT, TEACHER, 1.0, target="advantage")
    torch.testing.assert_close(loss(STUDENT + 5, TEACHER - 7, 1.0, target="advantage"), advantage)
    scaled = loss(STUDENT, TEACHER, 1.0, target="scaled")
    torch.testing.assert_close(loss(STUDENT, 100 * TEACHER + 3, 1.0, target="scaled"), scaled)
    assert loss(STUDENT, TEACHER, 1.0, target="q") == loss(STUDENT, TEACHER, 1.0)
    assert torch.isfinite(loss(STUDENT, torch.ones(2, 2), 1.0, target="scaled"))


@pytest.mark.parametrize("loss", [mse, huber])
@pytest.mark.parametrize("target", ["q", "advantage", "scaled"])
def test_gradients(loss, target):
    student, teacher = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, 1.0, target=target), (student,))
    loss(student, teacher, 1.0, target=target).backward()
    assert student.grad is not None
    assert teacher.grad is None


def test_an_unknown_target_is_refused():
    with pytest.raises(AssertionError, match="no such target: v"):
        mse(STUDENT, TEACHER, 1.0, target="v")
