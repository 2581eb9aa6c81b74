"""Mistakes seen in published code, each one a test that goes red when somebody makes it here.

Those in the losses between layers, and in those of a student's own steps, stand with the other tests of these.
"""

from math import log

import numpy as np
import pytest
import torch
from loss_samples import EVERY_LOSS, losses, random_outputs

from distributed_kd.maths import distillation, schedules, statistics, targets, temporal_difference
from distributed_kd.maths.n_step import n_step
from distributed_kd.student_config import ON_THE_SCALE_OF_Q

EVERY_SOFT_LOSS = losses("kl", "kl_q", "kl_hinton", "kl_reverse", "jsd", "cross_entropy", "dkd", "hard_soft")


def test_mistake_1_cross_entropy_against_raw_teacher_outputs():
    student, teacher_q = random_outputs(batch=4)
    loss = distillation.cross_entropy(student, teacher_q, 1.0)
    # Probabilities do not change where every value moves by the same amount; raw outputs as weights do.
    torch.testing.assert_close(distillation.cross_entropy(student, teacher_q + 7.0, 1.0), loss)
    # An undecided student pays log A whatever the targets are, but only if the targets add up to 1.
    undecided = torch.zeros_like(student)
    assert distillation.cross_entropy(undecided, teacher_q, 1.0).item() == pytest.approx(log(3))


@EVERY_SOFT_LOSS
def test_mistake_2_divergence_of_values_that_are_no_probabilities(loss):
    student, teacher_q = random_outputs(batch=4)
    expected = loss(student, teacher_q, 0.5)
    assert expected > 0
    torch.testing.assert_close(loss(student + 3.0, teacher_q, 0.5), expected)
    torch.testing.assert_close(loss(student, teacher_q + 3.0, 0.5), expected)


@EVERY_LOSS
def test_mistake_3_a_loss_with_no_path_to_the_student(loss):
    student, teacher_q = torch.nn.Linear(4, 3), random_outputs(batch=4)[1].float()
    for parameter in student.parameters():
        torch.nn.init.zeros_(parameter)
    loss(student(torch.eye(4)), teacher_q, 0.5).backward()
    for parameter in student.parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 1e-3


@EVERY_LOSS
def test_mistake_4_softmax_or_sum_over_the_batch(loss):
    student, teacher_q = random_outputs(batch=4)
    alone = torch.stack([loss(student[i : i + 1], teacher_q[i : i + 1], 0.5) for i in range(len(student))])
    together = loss(student, teacher_q, 0.5)
    torch.testing.assert_close(together, alone.mean())
    # A batch 32 times as large of the same rows weighs the same.
    torch.testing.assert_close(loss(student.repeat(32, 1), teacher_q.repeat(32, 1), 0.5), together)


@EVERY_LOSS
def test_mistake_5_a_mean_that_also_divides_by_the_number_of_actions(loss):
    student, teacher_q = random_outputs(batch=4)
    # Three more actions that neither would take, and on whose value both agree, change no sum over the actions.
    never = torch.full((len(student), 3), -1e4, dtype=student.dtype)
    more = loss(torch.cat([student, never], dim=-1), torch.cat([teacher_q, never], dim=-1), 1.0)
    # The floor of kl_reverse leaves each of them e^-10 of the target, as if it were taken once in 22,000 times.
    tolerance = 1e-3 if loss is distillation.kl_reverse else 1e-7
    torch.testing.assert_close(more, loss(student, teacher_q, 1.0), rtol=tolerance, atol=0)


@EVERY_LOSS
def test_mistake_6_a_single_output_teaches_nothing(loss):
    with pytest.raises(AssertionError, match="single output"):
        loss(torch.randn(4, 1), torch.randn(4, 1), 1.0)
    student = torch.zeros(1, 3, requires_grad=True)
    loss(student, torch.tensor([[1.0, -1.0, -1.0]]), 1.0).backward()
    assert student.grad[0, 0] < 0 < student.grad[0, 1:].sum()


@EVERY_LOSS
@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 1), (4,), (4, 4)])
def test_mistake_7_shapes_that_broadcast_in_silence(loss, shape):
    student = torch.randn(3, 3) if shape != (4, 4) else torch.randn(4, 3)
    with pytest.raises(AssertionError):
        loss(student, torch.randn(shape), 1.0)
    with pytest.raises(AssertionError):
        loss(torch.randn(shape), student, 1.0)


@EVERY_LOSS
@pytest.mark.parametrize("shape", [(), (1,), (4, 1), (1, 4)])
def test_mistake_7_weights_that_broadcast_in_silence(loss, shape):
    student, teacher_q = random_outputs(batch=4)
    with pytest.raises(AssertionError):
        loss(student, teacher_q, 1.0, weight=torch.ones(shape))


def test_mistake_7_shapes_that_broadcast_in_silence_in_the_teachers_own_loss():
    q, actions, column = torch.randn(4, 4), torch.zeros(4, dtype=torch.int64), torch.randn(4, 1)
    row = torch.randn(4)
    with pytest.raises(AssertionError):
        temporal_difference.td_loss(q, actions, column)
    with pytest.raises(AssertionError):
        temporal_difference.td_loss(row, actions, row)
    with pytest.raises(AssertionError):
        temporal_difference.q_learning_target(q, row, column)
    with pytest.raises(AssertionError):
        temporal_difference.q_learning_target(q, column, row)
    with pytest.raises(AssertionError):
        temporal_difference.double_q_learning_target(q, q, column, row)
    with pytest.raises(AssertionError):
        temporal_difference.double_q_learning_target(q, q, row, column)
    with pytest.raises(AssertionError):
        temporal_difference.double_q_learning_target(q, q[:1], row, row)


@EVERY_LOSS
def test_mistake_8_a_teacher_whose_gradient_is_not_cut(loss):
    student, teacher_q = random_outputs(batch=4)
    student.requires_grad_()
    teacher_q.requires_grad_()
    temperature = targets.auto_temperature(targets.action_gap(teacher_q).mean())
    assert not temperature.requires_grad
    loss(student, teacher_q, temperature).backward()
    assert teacher_q.grad is None
    assert student.grad.abs().sum() > 0


def test_mistake_8_a_target_whose_gradient_is_not_cut():
    q_tm1, q_t = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    ones = torch.ones(4)
    assert not temporal_difference.q_learning_target(q_t, ones, ones).requires_grad
    assert not temporal_difference.double_q_learning_target(q_t, q_tm1, ones, ones).requires_grad
    temporal_difference.td_loss(q_tm1, torch.zeros(4, dtype=torch.int64), q_t.mean(dim=-1)).backward()
    assert q_t.grad is None
    assert q_tm1.grad.abs().sum() > 0


def test_mistake_9_a_temperature_meant_for_rewards_of_another_scale():
    # As a trained CartPole teacher values its two actions.
    teacher_q = torch.tensor([[99.0, 100.0], [98.5, 97.0], [95.0, 95.5]])
    assert targets.target_entropy(teacher_q, 0.01).item() < 1e-6
    entropies = []
    for scale in (0.01, 1.0, 100.0):
        gap_mean = targets.action_gap(scale * teacher_q).mean()
        temperature = targets.auto_temperature(gap_mean)
        entropies.append(targets.target_entropy(scale * teacher_q, temperature).item())
    # The mean gap is 1, so log-odds are 3, 4.5 and 1.5: entropies .19, .06 and .47 nats.
    assert entropies == pytest.approx([0.2416] * 3, abs=2e-3)


def test_mistake_10_policy_logits_on_a_head_that_holds_q_values():
    _, teacher_q = random_outputs(batch=4)
    q = teacher_q.clone().requires_grad_()
    distillation.kl_q(q, teacher_q, 0.01).backward()
    assert distillation.kl_q(q, teacher_q, 0.01).item() == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(q.grad, torch.zeros_like(q))
    # `kl` pulls the same head away, up to logits that are the values over the temperature.
    assert distillation.kl(q, teacher_q, 0.01) > 0.1
    torch.testing.assert_close(distillation.kl(teacher_q / 0.01, teacher_q, 0.01), torch.zeros((), dtype=q.dtype))
    # What is said to keep the scale of Q has its optimum at the teacher's own values, wherever they are.
    for name in ON_THE_SCALE_OF_Q:
        apart = (10.0 * teacher_q).requires_grad_()  # by more than the margin of .8
        distillation.LOSSES[name](apart, apart.detach(), 2.0).backward()
        torch.testing.assert_close(apart.grad, torch.zeros_like(q))
    # The factor keeps the gradient of kl_q from growing as the temperature falls.
    student = (teacher_q + 10.0 * torch.eye(4, 3)).requires_grad_()
    distillation.kl_q(student, teacher_q, 1e-3).backward()
    assert 0.01 < student.grad.abs().max() <= 1.0 / len(student)


@losses("kl", "kl_q", "kl_hinton", "cross_entropy")
def test_mistake_11_divergence_with_swapped_arguments_or_the_default_reduction(loss):
    # The student gives (3/4, 1/4) where the teacher gives (1/2, 1/2), in both of two rows.
    student = torch.tensor([[log(3), 0.0]] * 2, dtype=torch.float64)
    teacher_q = torch.zeros_like(student)
    entropy = targets.target_entropy(teacher_q, 1.0) if loss is distillation.cross_entropy else 0.0
    # 1/2 log(2/3) + 1/2 log 2. Swapped it is .1308; a mean over all elements gives half.
    assert (loss(student, teacher_q, 1.0) - entropy).item() == pytest.approx(log(4 / 3) / 2)
    # The reverse is the one that swaps them, and as many rows weigh as one.
    assert distillation.kl_reverse(student, teacher_q, 1.0).item() == pytest.approx(0.1308, abs=1e-4)


def test_mistake_11_swapped_arguments_in_either_part_of_dkd():
    # p_S = (6, 1, 1)/8 and (2, 3, 1)/6 where p_T = (2, 1, 1)/4. The first differs in the best action alone, (3/4, 1/4)
    # for (1/2, 1/2): 1/2 log(4/3), .1438; swapped .1308. The second in both, (1/3, 2/3), and among the others.
    teacher_q = torch.tensor([[log(2), 0.0, 0.0]] * 2, dtype=torch.float64)
    student = torch.tensor([[log(6), 0.0, 0.0], [log(2), log(3), 0.0]], dtype=torch.float64)
    # 1/2 log(3/2) + 1/2 log(3/4) = 1/2 log(9/8)
    tckd = distillation.dkd(student, teacher_q, 1.0, beta=0.0)
    assert tckd.item() == pytest.approx((log(4 / 3) + log(9 / 8)) / 4)
    # 0, and (3/4, 1/4) for (1/2, 1/2)
    nckd = distillation.dkd(student, teacher_q, 1.0, alpha=0.0, beta=1.0)
    assert nckd.item() == pytest.approx(log(4 / 3) / 4)


# Two steps cut off by a time limit, the true last observation, then the next episode from its reset. A row that is no
# step may hold anything beside its observation.
REWARD = np.array([1.0, 2.0, 100.0, 100.0, 100.0, 100.0], np.float32)
IS_STEP = np.array([True, True, False, True, True, False])
TRUNCATED = np.full(6, 0.5, np.float32)


def test_mistake_13_bootstrapping_zero_at_a_truncation():
    n_step_return, discount_product, _ = n_step(REWARD, TRUNCATED, IS_STEP, np.array([0, 1]), 3)
    np.testing.assert_array_equal(discount_product, [0.25, 0.5])
    q_t = torch.tensor([[8.0, 4.0], [8.0, 4.0]])
    target = temporal_difference.q_learning_target(q_t, torch.tensor(discount_product), torch.tensor(n_step_return))
    # 1 + .5 * 2 + .25 * 8 and 2 + .5 * 8: the state after the limit is worth what it always is.
    assert target.tolist() == [4.0, 6.0]


def test_mistake_13_the_reset_observation_taken_for_the_final_one():
    starts = np.array([0, 1])
    for n in (2, 3, 5):
        offset = n_step(REWARD, TRUNCATED, IS_STEP, starts, n)[2]
        assert (starts + offset).tolist() == [2, 2]


@pytest.mark.parametrize("between", [True, False], ids=["observation between", "next episode at once"])
def test_mistake_14_an_n_step_return_across_a_termination(between):
    is_step = IS_STEP if between else np.ones(6, bool)
    terminated = np.array([0.5, 0.0, 0.5, 0.5, 0.5, 0.5], np.float32)
    result = n_step(REWARD, terminated, is_step, np.array([0]), 5)
    # 1 + .5 * 2; nothing of the rewards of 100 that follow, and nothing to bootstrap.
    assert [float(array[0]) for array in result] == [2.0, 0.0, 2.0]


def test_mistake_14_an_n_step_return_across_a_truncation():
    n_step_return = n_step(REWARD, TRUNCATED, IS_STEP, np.array([0, 1]), 5)[0]
    assert n_step_return.tolist() == [2.0, 2.0]


def test_mistake_14_one_discount_for_n_steps():
    reward, discount, is_step = np.ones(6, np.float32), np.full(6, 0.5, np.float32), np.ones(6, bool)
    n_step_return, discount_product, _ = n_step(reward, discount, is_step, np.array([0]), 3)
    # 1 + .5 + .25, then .5^3 on what is bootstrapped.
    assert n_step_return.tolist() == [1.75]
    assert discount_product.tolist() == [0.125]


def test_mistake_15_a_schedule_at_its_end_from_the_first_step():
    values = [schedules.linear(1.0, 0.05, 0.2, progress) for progress in (0.0, 0.001, 0.1, 0.199, 0.2, 1.0)]
    assert values == pytest.approx([1.0, 0.99525, 0.525, 0.05475, 0.05, 0.05])
    rising = [schedules.linear(0.05, 1.0, 0.2, progress) for progress in (0.0, 0.1, 0.2, 1.0)]
    assert rising == pytest.approx([0.05, 0.525, 1.0, 1.0])


def test_mistake_16_a_share_of_negative_returns():
    # Acrobot: random -500, teacher -80. A raw ratio calls a student twice as slow 2.0 and a better one .75.
    assert statistics.normalised_score(-160.0, -500.0, -80.0) == pytest.approx(340 / 420)
    assert statistics.normalised_score(-60.0, -500.0, -80.0) == pytest.approx(440 / 420)
    # Returns on both sides of zero, as Pong's.
    assert statistics.normalised_score(-1.0, -21.0, 19.0) == pytest.approx(0.5)
