import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


# A ring of six rows:      0    1    2 (observation)  3    4 (observation)  5, followed by row 0
REWARD = np.array([1.0, 2.0, 100.0, 4.0, 100.0, 8.0], np.float32)
DISCOUNT = np.array([0.5, 0.5, 1.0, 0.0, 1.0, 0.5], np.float32)
IS_STEP = np.array([True, True, False, True, False, True])


@pytest.mark.parametrize(
    ("start", "n", "n_step_return", "discount_product", "bootstrap_offset"),
    [
        (0, 1, 1.0, 0.5, 1),
        (0, 2, 2.0, 0.25, 2),  # 1 + .5 * 2
        (0, 3, 2.0, 0.25, 2),  # row 2 is no step
        (1, 3, 2.0, 0.5, 1),
        (3, 3, 4.0, 0.0, 1),  # terminated
        (5, 1, 8.0, 0.5, 1),
        (5, 2, 8.5, 0.25, 2),  # over the ring's end: 8 + .5 * 1
        (5, 3, 9.0, 0.125, 3),  # 8 + .5 * 1 + .25 * 2
        (5, 9, 9.0, 0.125, 3),
    ],
)
def test_n_step_by_hand(start, n, n_step_return, discount_product, bootstrap_offset):
    result = td.n_step(REWARD, DISCOUNT, IS_STEP, np.array([start]), n)
    assert [float(array[0]) for array in result] == [n_step_return, discount_product, bootstrap_offset]


def test_n_step_of_many_starts_at_once_and_its_types():
    n_step_return, discount_product, bootstrap_offset = td.n_step(REWARD, DISCOUNT, IS_STEP, np.array([5, 3, 0, 5]), n=2)
    np.testing.assert_array_equal(n_step_return, [8.5, 4.0, 2.0, 8.5])
    np.testing.assert_array_equal(discount_product, [0.25, 0.0, 0.25, 0.25])
    np.testing.assert_array_equal(bootstrap_offset, [2, 1, 2, 2])
    assert n_step_return.dtype == discount_product.dtype == np.float32
    assert bootstrap_offset.dtype == np.int64


def test_n_step_never_reads_what_lies_beyond_the_walk():
    reward = np.array([1.0, np.nan, np.nan], np.float32)
    discount = np.array([0.5, np.nan, np.nan], np.float32)
    result = td.n_step(reward, discount, np.array([True, False, True]), np.array([0]), n=3)
    assert [float(array[0]) for array in result] == [1.0, 0.5, 1.0]


def test_n_step_refuses_what_makes_no_sense():
    with pytest.raises(AssertionError):
        td.n_step(REWARD, DISCOUNT, IS_STEP, np.array([0]), n=0)
    with pytest.raises(AssertionError, match="start"):
        td.n_step(REWARD, DISCOUNT, IS_STEP, np.array([0, 2]), n=1)
    with pytest.raises(AssertionError):
        td.n_step(REWARD, DISCOUNT[:-1], IS_STEP, np.array([0]), n=1)


def walk(reward, discount, is_step, start, n):
    """One walk as the definition says it, row by row."""
    total, product, offset = 0.0, 1.0, 0
    while offset < n:
        row = (start + offset) % len(reward)
        if not is_step[row]:
            break
        total += product * float(reward[row])
        product *= float(discount[row])
        offset += 1
        if discount[row] == 0:
            break
    return total, product, offset


ROW = st.tuples(st.floats(-10, 10, width=32), st.sampled_from([0.0, 0.5, 0.9375, 0.99, 1.0]), st.booleans())


@settings(deadline=None, max_examples=200)
@given(rows=st.lists(ROW, min_size=1, max_size=12).filter(lambda rows: any(row[2] for row in rows)), n=st.integers(1, 15))
def test_n_step_equals_the_slow_walk_on_any_ring(rows, n):
    reward, discount = (np.array([row[i] for row in rows], np.float32) for i in (0, 1))
    is_step = np.array([row[2] for row in rows])
    starts = np.flatnonzero(is_step)
    n_step_return, discount_product, bootstrap_offset = td.n_step(reward, discount, is_step, starts, n)
    expected = [walk(reward, discount, is_step, start, n) for start in starts]
    np.testing.assert_allclose(n_step_return, [e[0] for e in expected], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(discount_product, [e[1] for e in expected], rtol=1e-6)
    np.testing.assert_array_equal(bootstrap_offset, [e[2] for e in expected])


@settings(deadline=None, max_examples=50)
@given(rows=st.lists(ROW, min_size=1, max_size=12), n=st.integers(1, 5), shift=st.integers(0, 11))
def test_n_step_does_not_care_where_the_ring_begins(rows, n, shift):
    rows = [*rows, (1.0, 0.5, True)]
    reward, discount = (np.array([row[i] for row in rows], np.float32) for i in (0, 1))
    is_step = np.array([row[2] for row in rows])
    starts = np.flatnonzero(is_step)
    turned = td.n_step(*(np.roll(a, shift) for a in (reward, discount, is_step)), (starts + shift) % len(rows), n)
    for array, expected in zip(turned, td.n_step(reward, discount, is_step, starts, n), strict=True):
        np.testing.assert_array_equal(array, expected)


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


@pytest.mark.parametrize(("clip", "expected"), [(np.inf, 9.0), (8.0, 9.0), (3.0, 4.0), (1.0, 1.75), (0.5, 0.875)])
def test_each_reward_of_n_steps_is_cut_by_itself(clip, expected):
    # From row 5: 8 + .5 * 1 + .25 * 2; cut to 3: 3 + .5 + .5; to 1: 1 + .5 + .25; to a half: .5 + .25 + .125.
    n_step_return, discount_product, _ = td.n_step(REWARD, DISCOUNT, IS_STEP, np.array([5]), 3, clip)
    assert (float(n_step_return[0]), float(discount_product[0])) == (expected, 0.125)
    below, _, _ = td.n_step(-REWARD, DISCOUNT, IS_STEP, np.array([5]), 3, clip)
    assert float(below[0]) == -expected
