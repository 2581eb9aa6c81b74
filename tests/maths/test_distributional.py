import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.maths import distributional

SUPPORT = torch.tensor([-1.0, 0.0, 1.0])


def random_rows(seed, batch=4, atoms=7):
    """Probabilities [batch, atoms], rewards and discounts [batch], in float64."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(batch, atoms + 2, dtype=torch.float64, generator=generator)
    return (2 * rows[:, 2:]).softmax(dim=-1), 3 * rows[:, 0], rows[:, 1].sigmoid()


def test_support_is_even():
    torch.testing.assert_close(distributional.support(5, -2.0, 2.0), torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]))
    assert distributional.support(51, -10.0, 10.0)[[0, -1]].tolist() == [-10.0, 10.0]


@pytest.mark.parametrize(("atoms", "v_min", "v_max"), [(1, 0.0, 1.0), (3, 1.0, 1.0), (3, 1.0, 0.0)])
def test_a_support_without_width_is_refused(atoms, v_min, v_max):
    with pytest.raises(AssertionError):
        distributional.support(atoms, v_min, v_max)


def test_means_by_hand():
    logits = torch.tensor([[[1.0, 1.0, 1.0], [math.log(0.5), math.log(0.25), math.log(0.25)]]])
    # A third of -1, 0 and 1; then .5 * -1 + .25 * 1.
    torch.testing.assert_close(distributional.c51_mean(logits, SUPPORT), torch.tensor([[0.0, -0.25]]))
    quantiles = torch.tensor([[[1.0, 2.0, 6.0], [-3.0, 0.0, 3.0]]])
    torch.testing.assert_close(distributional.quantile_mean(quantiles), torch.tensor([[3.0, 0.0]]))


@pytest.mark.parametrize(
    ("r_t", "discount_t", "expected"),
    [
        # Returns -.25, .25, .75, which are places .75, 1.25, 1.75 in atoms:
        # .2 * (.25, .75, 0) + .3 * (0, .75, .25) + .5 * (0, .25, .75)
        (0.25, 0.5, [0.05, 0.5, 0.45]),
        (0.0, 1.0, [0.2, 0.3, 0.5]),  # each on an atom: unchanged, nothing lost
        (1.0, 1.0, [0.0, 0.2, 0.8]),  # returns 0, 1, 2
        (1.0, 0.0, [0.0, 0.0, 1.0]),  # terminated, on the highest atom
        (-1.0, 0.0, [1.0, 0.0, 0.0]),
        (-0.25, 0.0, [0.25, 0.75, 0.0]),
        (7.0, 0.9, [0.0, 0.0, 1.0]),  # all beyond the support
        (-7.0, 0.9, [1.0, 0.0, 0.0]),
    ],
)
def test_c51_target_by_hand(r_t, discount_t, expected):
    probabilities_t = torch.tensor([[0.2, 0.3, 0.5]])
    target = distributional.c51_target(probabilities_t, torch.tensor([r_t]), torch.tensor([discount_t]), SUPPORT)
    torch.testing.assert_close(target, torch.tensor([expected]))


def projected(probabilities_t, r_t, discount_t, support):
    """Algorithm 1 of the paper, atom by atom, with the case that it forgets: floor and ceiling the same."""
    spacing = (support[-1] - support[0]) / (len(support) - 1)
    target = [0.0] * len(support)
    for probability, atom in zip(probabilities_t, support, strict=True):
        place = (min(max(r_t + discount_t * atom, support[0]), support[-1]) - support[0]) / spacing
        low, high = math.floor(place), math.ceil(place)
        if low == high:
            target[low] += probability
        else:
            target[low] += probability * (high - place)
            target[high] += probability * (place - low)
    return target


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), v_min=st.sampled_from([-10.0, -1.5, 0.0]))
def test_c51_target_equals_the_published_algorithm(seed, v_min):
    probabilities_t, r_t, discount_t = random_rows(seed)
    support = distributional.support(7, v_min, 4.5).double()
    target = distributional.c51_target(probabilities_t, r_t, discount_t, support)
    rows = zip(probabilities_t.tolist(), r_t.tolist(), discount_t.tolist(), strict=True)
    expected = torch.tensor([projected(*row, support.tolist()) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(target, expected)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), atoms=st.sampled_from([2, 3, 51]), whole=st.booleans())
def test_c51_target_loses_no_probability(seed, atoms, whole):
    probabilities_t, r_t, discount_t = (rows.float() for rows in random_rows(seed, batch=16, atoms=atoms))
    if whole:  # many returns meet an atom
        r_t, discount_t = r_t.round(), torch.ones_like(discount_t)
    target = distributional.c51_target(probabilities_t, r_t, discount_t, distributional.support(atoms, -5.0, 5.0))
    torch.testing.assert_close(target.sum(dim=-1), torch.ones(16))
    assert target.min() >= 0


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999))
def test_c51_target_keeps_the_mean_of_returns_cut_to_the_support(seed):
    probabilities_t, r_t, discount_t = random_rows(seed, batch=8)
    support = distributional.support(7, -3.0, 3.0).double()
    target = distributional.c51_target(probabilities_t, r_t, discount_t, support)
    returns = (r_t.unsqueeze(-1) + discount_t.unsqueeze(-1) * support).clamp(-3.0, 3.0)
    torch.testing.assert_close(target @ support, (probabilities_t * returns).sum(dim=-1))
    # Inside the support nothing is cut: r + discount * mean. At half the discount |returns| are at most 1 + 1.5.
    inside = distributional.c51_target(probabilities_t, r_t.clamp(-1, 1), discount_t / 2, support)
    torch.testing.assert_close(inside @ support, r_t.clamp(-1, 1) + discount_t / 2 * (probabilities_t @ support))


def test_c51_loss_and_its_gradient():
    logits_tm1 = torch.tensor([[math.log(0.5), math.log(0.25), math.log(0.25)], [0.0, 0.0, 0.0]], requires_grad=True)
    target = torch.tensor([[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
    loss = distributional.c51_loss(logits_tm1, target)
    # .2 * log 2 + .8 * log 4 = 1.8 * log 2; log 3
    torch.testing.assert_close(loss, torch.tensor([1.247665, 1.098612]), rtol=0, atol=1e-6)
    loss.sum().backward()
    # The probabilities minus the target.
    expected = torch.tensor([[0.3, -0.05, -0.25], [1 / 3, -2 / 3, 1 / 3]])
    torch.testing.assert_close(logits_tm1.grad, expected)


def test_quantile_target_by_hand():
    quantiles_t = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    target = distributional.quantile_target(quantiles_t, torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(target, torch.tensor([[2.5, 3.5], [-1.0, -1.0]]))


@pytest.mark.parametrize(
    ("kappa", "expected"),
    [
        # Quantile 0 (tau .25), errors .5, 6: .25 * (.125, 5.5), mean .703125.
        # Quantile 4 (tau .75), errors -3.5, 2: .25 * 3 and .75 * 1.5, mean .9375.
        (1.0, 1.640625),
        # .25 * (.125, 2 * 5), mean 1.265625; .25 * (2 * 2.5) and .75 * 2, mean 1.375.
        (2.0, 2.640625),
    ],
)
def test_quantile_loss_by_hand(kappa, expected):
    quantiles_tm1, target = torch.tensor([[0.0, 4.0], [9.0, 9.0]]), torch.tensor([[0.5, 6.0], [9.0, 9.0]])
    loss = distributional.quantile_loss(quantiles_tm1, target, kappa)
    torch.testing.assert_close(loss, torch.tensor([expected, 0.0]))


def test_quantile_loss_with_more_samples_than_quantiles():
    # Tau .5, errors 0, 2, -2, 1: .5 * (0 + 1.5 + 1.5 + .5) / 4
    loss = distributional.quantile_loss(torch.tensor([[1.0]]), torch.tensor([[1.0, 3.0, -1.0, 2.0]]))
    torch.testing.assert_close(loss, torch.tensor([0.4375]))


def gradient(quantiles_tm1, target, kappa=1.0):
    quantiles_tm1 = quantiles_tm1.clone().requires_grad_()
    distributional.quantile_loss(quantiles_tm1, target, kappa).sum().backward()
    return quantiles_tm1.grad


def test_quantile_loss_of_two_points_is_least_near_them():
    """0 and 10, equally likely. Quantile .25 at x in (0, 1): .75 * x to the left, .25 to the right, so x = 1/3."""
    target = torch.tensor([[0.0, 10.0]], dtype=torch.float64)
    best = torch.tensor([[1 / 3, 10 - 1 / 3]], dtype=torch.float64)
    torch.testing.assert_close(gradient(best, target), torch.zeros(1, 2, dtype=torch.float64))
    # A little beside it, |slope| = (.75 * .1) / 2.
    torch.testing.assert_close(gradient(best + 0.1, target), torch.full((1, 2), 0.0375, dtype=torch.float64))
    torch.testing.assert_close(gradient(best - 0.1, target), torch.full((1, 2), -0.0375, dtype=torch.float64))


@settings(deadline=None, max_examples=40)
@given(steps=st.lists(st.floats(0.1, 5), min_size=1, max_size=8), side=st.sampled_from([-1, 1]))
def test_quantile_loss_draws_each_quantile_to_its_sample(steps, side):
    """N samples: the quantile of (i + .5) / N is the i-th, so a little below it the slope falls, above it rises.

    Below: (i * (1 - tau) - (N - i) * tau) * kappa / N = (i - N * tau) * kappa / N = -.5 * kappa / N. Above: +.5 * kappa / N.
    """
    kappa = 0.01
    target = torch.tensor([steps], dtype=torch.float64).cumsum(dim=-1)
    slope = gradient(target + side * 1.5 * kappa, target, kappa)
    torch.testing.assert_close(slope, torch.full_like(target, side * 0.5 * kappa / len(steps)))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), shift=st.floats(-100, 100), scale=st.floats(0.1, 10))
def test_quantile_loss_depends_on_differences_alone_and_not_on_the_samples_order(seed, shift, scale):
    rows = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    quantiles_tm1, target = rows[0], 2 * rows[1]
    loss = distributional.quantile_loss(quantiles_tm1, target)
    torch.testing.assert_close(distributional.quantile_loss(quantiles_tm1 + shift, target + shift), loss)
    torch.testing.assert_close(distributional.quantile_loss(quantiles_tm1, target.flip(-1)), loss)
    # Both parts of Huber's loss are of degree 2 in the error and kappa together.
    scaled = distributional.quantile_loss(scale * quantiles_tm1, scale * target, kappa=scale)
    torch.testing.assert_close(scaled, scale**2 * loss)


def test_quantile_loss_gradient_agrees_with_finite_differences():
    rows = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    quantiles_tm1, target = rows[0].requires_grad_(), 3 * rows[1]
    assert torch.autograd.gradcheck(lambda q: distributional.quantile_loss(q, target), (quantiles_tm1,))


def test_targets_carry_no_gradient():
    rows, one = torch.rand(2, 3, requires_grad=True), torch.ones(2, requires_grad=True)
    assert not distributional.c51_target(rows, one, one, SUPPORT).requires_grad
    assert not distributional.quantile_target(rows, one, one).requires_grad
    for loss in (distributional.c51_loss, distributional.quantile_loss):
        learner = torch.zeros(2, 3, requires_grad=True)
        loss(learner, rows).sum().backward()
        assert rows.grad is None
        assert learner.grad.abs().sum() > 0


ROWS, BATCH = torch.ones(2, 3), torch.ones(2)


@pytest.mark.parametrize(
    "call",
    [
        lambda: distributional.c51_mean(ROWS, SUPPORT),
        lambda: distributional.c51_mean(torch.ones(2, 4, 2), SUPPORT),
        lambda: distributional.quantile_mean(ROWS),
        lambda: distributional.c51_target(ROWS, BATCH.unsqueeze(-1), BATCH, SUPPORT),
        lambda: distributional.c51_target(ROWS, BATCH, torch.ones(1), SUPPORT),
        lambda: distributional.c51_target(ROWS, BATCH, BATCH, SUPPORT[:2]),
        lambda: distributional.c51_loss(ROWS, ROWS[:1]),
        lambda: distributional.c51_loss(torch.ones(2, 4, 3), torch.ones(2, 4, 3)),
        lambda: distributional.quantile_target(ROWS, BATCH.unsqueeze(-1), BATCH),
        lambda: distributional.quantile_target(ROWS, BATCH, torch.ones(1)),
        lambda: distributional.quantile_loss(ROWS, ROWS[:1]),
        lambda: distributional.quantile_loss(ROWS, BATCH),
    ],
)
def test_shapes_that_would_broadcast_are_refused(call):
    with pytest.raises(AssertionError):
        call()
