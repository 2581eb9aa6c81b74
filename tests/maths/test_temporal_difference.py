import pytest
import torch

from distributed_kd.maths import temporal_difference as td


def test_q_learning_target_takes_the_best_action():
    q_t = torch.tensor([[1.0, 3.0], [5.0, 2.0], [4.0, 4.5]])
    target = td.q_learning_target(q_t, torch.tensor([0.9, 0.0, 0.5]), torch.tensor([1.0, -1.0, 2.0]))
    # 1 + .9 * 3; -1 alone after a termination; 2 + .5 * 4.5
    torch.testing.assert_close(target, torch.tensor([3.7, -1.0, 4.25]))


def test_double_q_learning_target_picks_with_one_network_and_values_with_the_other():
    q_t_value = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
    q_t_selector = torch.tensor([[2.0, 1.0], [0.0, 5.0]])
    target = td.double_q_learning_target(q_t_value, q_t_selector, torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.9]))
    # Row 0 picks action 0: 1 + .5 * 10 (the greedy 20 would give 11). Row 1 picks action 1: 2 + .9 * 40.
    torch.testing.assert_close(target, torch.tensor([6.0, 38.0]))


def test_double_and_single_targets_agree_where_one_network_plays_both_parts():
    q_t = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    r_t, discount_t = torch.linspace(-1, 1, 16), torch.linspace(0, 1, 16)
    double = td.double_q_learning_target(q_t, q_t, r_t, discount_t)
    torch.testing.assert_close(double, td.q_learning_target(q_t, discount_t, r_t))


def test_huber_is_a_parabola_inside_delta_and_a_line_outside():
    error = torch.tensor([0.0, 0.5, -1.0, 3.0, -3.0])
    # .5 * .5^2 = .125; .5 * 1^2 = .5; 1 * (3 - .5) = 2.5
    torch.testing.assert_close(td.huber(error), torch.tensor([0.0, 0.125, 0.5, 2.5, 2.5]))
    # delta 2: .5 * .25 = .125; .5; 2 * (3 - 1) = 4
    torch.testing.assert_close(td.huber(error, delta=2.0), torch.tensor([0.0, 0.125, 0.5, 4.0, 4.0]))


@pytest.mark.parametrize("delta", [0.5, 1.0, 2.0])
def test_huber_gradient_is_the_error_cut_at_delta(delta):
    error = torch.tensor([-3.0, -0.7, 0.0, 0.3, 0.9, 5.0], dtype=torch.float64, requires_grad=True)
    td.huber(error, delta).sum().backward()
    torch.testing.assert_close(error.grad, error.detach().clamp(-delta, delta))


def test_td_loss_and_its_gradient():
    q_tm1 = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    loss = td.td_loss(q_tm1, torch.tensor([1, 0]), torch.tensor([2.5, 0.0]))
    # Errors 2.5 - 2 = .5 and 0 - 3 = -3, so (.125 + 2.5) / 2.
    assert loss.item() == pytest.approx(1.3125)
    loss.backward()
    # Minus the error cut at 1, over a batch of 2, and only where an action was taken.
    torch.testing.assert_close(q_tm1.grad, torch.tensor([[0.0, -0.25], [0.5, 0.0]]))


def test_td_loss_gradient_agrees_with_finite_differences():
    generator = torch.Generator().manual_seed(1)
    q_tm1 = torch.randn(5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    a_tm1 = torch.tensor([0, 2, 1, 1, 0])
    target = 3 * torch.randn(5, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda q: td.td_loss(q, a_tm1, target), (q_tm1,))


def test_td_errors_worked_by_hand_and_their_shapes():
    q_tm1 = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    target = torch.tensor([2.5, 0.0], requires_grad=True)
    error = td.td_error(q_tm1, torch.tensor([1, 0]), target)
    # 2.5 - 2 and 0 - 3
    torch.testing.assert_close(error, torch.tensor([0.5, -3.0]))
    error.sum().backward()
    assert target.grad is None, "nothing is learned by the target"
    torch.testing.assert_close(q_tm1.grad, torch.tensor([[0.0, -1.0], [-1.0, 0.0]]))
    # [B, 1] against [B] would be broadcast to [B, B] in silence.
    for action, goal in ((torch.tensor([[1], [0]]), target), (torch.tensor([1, 0]), target[:, None])):
        with pytest.raises(AssertionError):
            td.td_error(q_tm1, action, goal)


def test_weights_of_the_td_loss_worked_by_hand():
    q_tm1 = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    action, target = torch.tensor([1, 0]), torch.tensor([2.5, 0.0])
    # Huber losses .125 and 2.5: (.5 * .125 + 1 * 2.5) / 2.
    assert td.td_loss(q_tm1, action, target, torch.tensor([0.5, 1.0])).item() == pytest.approx(1.28125)
    assert td.td_loss(q_tm1, action, target, torch.ones(2)) == td.td_loss(q_tm1, action, target)


def test_a_weighted_mean_divides_by_the_count_and_not_by_the_weights():
    loss = torch.tensor([1.0, 2.0, 6.0])
    assert td.weighted_mean(loss, None) == 3.0
    assert td.weighted_mean(loss, torch.tensor([1.0, 0.5, 0.25])).item() == pytest.approx(3.5 / 3)
    with pytest.raises(AssertionError):
        td.weighted_mean(loss, torch.ones(3, 1))
