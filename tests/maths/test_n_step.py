import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.maths.n_step import n_step

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
    result = n_step(REWARD, DISCOUNT, IS_STEP, np.array([start]), n)
    assert [float(array[0]) for array in result] == [n_step_return, discount_product, bootstrap_offset]


def test_n_step_of_many_starts_at_once_and_its_types():
    n_step_return, discount_product, bootstrap_offset = n_step(REWARD, DISCOUNT, IS_STEP, np.array([5, 3, 0, 5]), n=2)
    np.testing.assert_array_equal(n_step_return, [8.5, 4.0, 2.0, 8.5])
    np.testing.assert_array_equal(discount_product, [0.25, 0.0, 0.25, 0.25])
    np.testing.assert_array_equal(bootstrap_offset, [2, 1, 2, 2])
    assert n_step_return.dtype == discount_product.dtype == np.float32
    assert bootstrap_offset.dtype == np.int64


def test_n_step_never_reads_what_lies_beyond_the_walk():
    reward = np.array([1.0, np.nan, np.nan], np.float32)
    discount = np.array([0.5, np.nan, np.nan], np.float32)
    result = n_step(reward, discount, np.array([True, False, True]), np.array([0]), n=3)
    assert [float(array[0]) for array in result] == [1.0, 0.5, 1.0]


def test_n_step_refuses_what_makes_no_sense():
    with pytest.raises(AssertionError):
        n_step(REWARD, DISCOUNT, IS_STEP, np.array([0]), n=0)
    with pytest.raises(AssertionError, match="start"):
        n_step(REWARD, DISCOUNT, IS_STEP, np.array([0, 2]), n=1)
    with pytest.raises(AssertionError):
        n_step(REWARD, DISCOUNT[:-1], IS_STEP, np.array([0]), n=1)


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
    n_step_return, discount_product, bootstrap_offset = n_step(reward, discount, is_step, starts, n)
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
    turned = n_step(*(np.roll(a, shift) for a in (reward, discount, is_step)), (starts + shift) % len(rows), n)
    for array, expected in zip(turned, n_step(reward, discount, is_step, starts, n), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(("clip", "expected"), [(np.inf, 9.0), (8.0, 9.0), (3.0, 4.0), (1.0, 1.75), (0.5, 0.875)])
def test_each_reward_of_n_steps_is_cut_by_itself(clip, expected):
    # From row 5: 8 + .5 * 1 + .25 * 2; cut to 3: 3 + .5 + .5; to 1: 1 + .5 + .25; to a half: .5 + .25 + .125.
    n_step_return, discount_product, _ = n_step(REWARD, DISCOUNT, IS_STEP, np.array([5]), 3, clip)
    assert (float(n_step_return[0]), float(discount_product[0])) == (expected, 0.125)
    below, _, _ = n_step(-REWARD, DISCOUNT, IS_STEP, np.array([5]), 3, clip)
    assert float(below[0]) == -expected
