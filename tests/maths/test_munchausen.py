import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.maths.munchausen import munchausen_target
from distributed_kd.maths.temporal_difference import q_learning_target

LOG3 = math.log(3)


def of_one(q_tm1, a_tm1, q_t, r_t, discount_t, *options, dtype=torch.float32):
    """The target of a batch of one, as a number."""
    rows = (torch.tensor([values], dtype=dtype) for values in (q_tm1, q_t, r_t, discount_t))
    q_tm1, q_t, r_t, discount_t = rows
    return munchausen_target(q_tm1, torch.tensor([a_tm1]), q_t, r_t, discount_t, *options).item()


# Both policies are (1/4, 3/4): the soft value is 1/4 * (0 + log 4) + 3/4 * (log 3 + log 4 - log 3) = log 4 = 1.386294.
@pytest.mark.parametrize(
    ("a_tm1", "discount_t", "lowest", "expected"),
    [
        (1, 0.9, -1.0, 1.988750),  # 1 + .9 * log(3/4) + .9 * 1.386294 = 1 - .258914 + 1.247665
        (0, 0.9, -1.0, 1.347665),  # log(1/4) = -1.386294 is cut to -1: 1 - .9 + 1.247665
        (0, 0.9, -2.0, 1.0),  # not cut: 1 - 1.247665 + 1.247665
        (0, 0.0, -1.0, 0.1),  # terminated: 1 - .9
        (1, 0.0, -1.0, 0.741086),  # 1 - .258914
    ],
)
def test_by_hand_at_temperature_1(a_tm1, discount_t, lowest, expected):
    target = of_one([0.0, LOG3], a_tm1, [0.0, LOG3], 1.0, discount_t, 0.9, 1.0, lowest)
    assert target == pytest.approx(expected, abs=2e-6)


def test_by_hand_at_half_the_temperature():
    # Halved values, so the same policies: 1 + .5 * (.5 * -1.386294) + .9 * (.5 * 1.386294) = 1 - .346574 + .623832
    target = of_one([0.0, LOG3 / 2], 0, [0.0, LOG3 / 2], 1.0, 0.9, 0.5, 0.5)
    assert target == pytest.approx(1.277259, abs=2e-6)


def test_the_rows_of_a_batch_are_apart():
    q_tm1, q_t = torch.tensor([[0.0, LOG3], [LOG3, 0.0]]), torch.tensor([[0.0, LOG3], [1.0, 1.0]])
    target = munchausen_target(
        q_tm1, torch.tensor([0, 0]), q_t, torch.tensor([1.0, 2.0]), torch.tensor([0.9, 0.5]), 0.9, 1.0
    )
    # As above; 2 + .9 * log(3/4) + .5 * (1 + log 2) = 2 - .258914 + .846574
    torch.testing.assert_close(target, torch.tensor([1.347665, 2.587660]), rtol=0, atol=2e-6)


def written_out(q_tm1, a_tm1, q_t, r_t, discount_t, factor, temperature, lowest):
    def policy(q):
        powers = [math.exp(value / temperature) for value in q]
        return [power / sum(powers) for power in powers]

    bonus = min(max(temperature * math.log(policy(q_tm1)[a_tm1]), lowest), 0.0)
    soft = sum(p * (value - temperature * math.log(p)) for p, value in zip(policy(q_t), q_t, strict=True))
    return r_t + factor * bonus + discount_t * soft


VALUES = st.lists(st.floats(-3, 3), min_size=3, max_size=3)


@settings(deadline=None, max_examples=60)
@given(
    q_tm1=VALUES,
    q_t=VALUES,
    a_tm1=st.integers(0, 2),
    factor=st.floats(0, 1),
    temperature=st.floats(0.1, 5),
    lowest=st.floats(-3, 0),
)
def test_equals_the_formula_written_out(q_tm1, q_t, a_tm1, factor, temperature, lowest):
    arguments = (q_tm1, a_tm1, q_t, 0.5, 0.9, factor, temperature, lowest)
    assert of_one(*arguments, dtype=torch.float64) == pytest.approx(written_out(*arguments), abs=1e-9)


@settings(deadline=None, max_examples=40)
@given(q_tm1=VALUES, q_t=VALUES, shift=st.floats(-100, 100))
def test_a_constant_added_to_all_actions(q_tm1, q_t, shift):
    """The policies stay as they are: at first nothing changes, then the next value does by the constant."""
    target = of_one(q_tm1, 0, q_t, 0.5, 0.8, 0.9, 0.3, dtype=torch.float64)
    before = of_one([q + shift for q in q_tm1], 0, q_t, 0.5, 0.8, 0.9, 0.3, dtype=torch.float64)
    after = of_one(q_tm1, 0, [q + shift for q in q_t], 0.5, 0.8, 0.9, 0.3, dtype=torch.float64)
    assert before == pytest.approx(target, abs=1e-9)
    assert after == pytest.approx(target + 0.8 * shift, abs=1e-9)


def test_without_bonus_and_temperature_it_is_q_learning():
    generator = torch.Generator().manual_seed(0)
    q_tm1, q_t = torch.randn(2, 64, 4, generator=generator)
    r_t, discount_t = torch.linspace(-1, 1, 64), torch.linspace(0, 1, 64)
    a_tm1 = torch.arange(64) % 4
    # Above the maximum by at most temperature * log A = 1.4e-6.
    target = munchausen_target(q_tm1, a_tm1, q_t, r_t, discount_t, 0.0, 1e-6)
    torch.testing.assert_close(target, q_learning_target(q_t, discount_t, r_t), rtol=0, atol=3e-6)


@pytest.mark.parametrize(
    ("a_tm1", "expected"),
    [
        (1, 1.0 + 0.5 * 1e4),  # the best action: no bonus is lost
        (0, 1.0 - 0.9 + 0.5 * 1e4),  # -1e4 is cut to -1
    ],
)
def test_a_small_temperature_and_wide_gaps_overflow_nothing(a_tm1, expected):
    assert of_one([0.0, 1e4], a_tm1, [1e4, 0.0], 1.0, 0.5, 0.9, 1e-3) == pytest.approx(expected, rel=1e-7)


def test_a_small_gap_between_large_values_is_not_rounded_away():
    gap = 2.0**-11  # 1,000 and 1,000 + gap are float32 numbers; over 0.001 they would round to the next 1/16
    target = of_one([1_000.0, 1_000.0 + gap], 0, [0.0, 0.0], 0.0, 0.0, 1.0, 1e-3)
    assert target == pytest.approx(-1e-3 * math.log1p(math.exp(gap / 1e-3)), rel=1e-5)


def test_the_temperature_may_be_a_tensor():
    arguments = ([0.0, LOG3 / 2], 0, [0.0, LOG3 / 2], 1.0, 0.9, 0.5)
    assert of_one(*arguments, torch.tensor(0.5)) == of_one(*arguments, 0.5)


def test_the_target_carries_no_gradient():
    q, one = torch.randn(2, 3, requires_grad=True), torch.ones(2, requires_grad=True)
    assert not munchausen_target(q, torch.tensor([0, 1]), q, one, one, 0.9, 0.1).requires_grad


Q, A, ONE = torch.ones(2, 3), torch.zeros(2, dtype=torch.int64), torch.ones(2)


@pytest.mark.parametrize(
    "rows",
    [
        (Q[:1], A, Q, ONE, ONE),
        (Q, A, Q[:, :2], ONE, ONE),
        (Q, A.unsqueeze(-1), Q, ONE, ONE),
        (Q, A, Q, ONE.unsqueeze(-1), ONE),
        (Q, A, Q, ONE, ONE[:1]),
        (Q.unsqueeze(0), A, Q.unsqueeze(0), ONE, ONE),
    ],
)
def test_shapes_that_would_broadcast_are_refused(rows):
    with pytest.raises(AssertionError):
        munchausen_target(*rows, 0.9, 0.1)
