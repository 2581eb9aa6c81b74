import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.maths.normalisation import LARGEST, LEAST_DEVIATION, merged, normalised


def none(*shape):
    return torch.zeros((), dtype=torch.float64), *torch.zeros(2, *shape, dtype=torch.float64)


def test_two_parts_worked_by_hand():
    count, mean, squares = merged(*none(1), torch.tensor([[1.0], [3.0]], dtype=torch.float64))
    # Mean 2; squared deviations 1 + 1.
    assert (count.item(), mean.item(), squares.item()) == (2, 2, 2)
    count, mean, squares = merged(count, mean, squares, torch.tensor([[8.0]], dtype=torch.float64))
    # Of 1, 3 and 8 the mean is 4, the squared deviations 9 + 1 + 16; here 2 + 0 + 6^2 * 2 * 1 / 3.
    assert (count.item(), mean.item(), squares.item()) == pytest.approx((3, 4, 26))


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    shape=st.sampled_from([(), (1,), (3,), (2, 2)]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    shift=st.sampled_from([0.0, -5.0, 1e3]),
)
def test_however_it_is_parted_it_is_the_mean_and_spread_of_all(sizes, shape, scale, shift):
    random = np.random.default_rng(len(sizes))
    parts = [scale * (random.normal(size=(size, *shape)) + shift) for size in sizes]
    count, mean, squares = none(*shape)
    for part in parts:
        count, mean, squares = merged(count, mean, squares, torch.tensor(part))
    each = np.concatenate(parts)
    assert count == len(each)
    np.testing.assert_allclose(mean, each.mean(0), rtol=1e-9, atol=1e-9 * scale)
    np.testing.assert_allclose(squares, ((each - each.mean(0)) ** 2).sum(0), rtol=1e-6, atol=1e-9 * scale**2)


def test_a_spread_that_is_small_beside_the_mean_is_not_lost():
    # The mean of squares less the square of the mean would leave nothing of it even in float64: 1e18 + 1.
    values = torch.tensor([[1e9 - 1], [1e9 + 1]], dtype=torch.float64)
    count, mean, squares = none(1)
    for row in values.split(1):
        count, mean, squares = merged(count, mean, squares, row)
    assert squares.item() == pytest.approx(2.0)


def test_shapes_that_differ_are_refused():
    count, mean, squares = none(3)
    for values in (torch.zeros(2, 1, dtype=torch.float64), torch.zeros(0, 3, dtype=torch.float64)):
        with pytest.raises(AssertionError):
            merged(count, mean, squares, values)


def test_what_is_seen_worked_by_hand():
    normal = torch.tensor([[1.0, 0.0, 5.0], [2.0, 0.0, 0.5]])
    observation = torch.tensor([[5.0, 0.05, 5.0], [-3.0, 1.0, -95.0]])
    # (5 - 1) / 2; .05 / .01, a deviation of 0 being counted as the least; 0. Then -2, and what ends at the bounds.
    expected = torch.tensor([[2.0, 5.0, 0.0], [-2.0, 10.0, -10.0]])
    torch.testing.assert_close(normalised(observation, normal), expected)
    assert (LEAST_DEVIATION, LARGEST) == (0.01, 10.0)


def test_bytes_and_stacks_of_frames_are_seen_by_the_same_numbers():
    normal = torch.tensor([[[10.0, 20.0]], [[5.0, 4.0]]])  # of observations [1, 2]
    frames = torch.tensor([[[[15, 16]], [[0, 20]]]], dtype=torch.uint8)  # one stack of two
    seen = normalised(frames, normal)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen, torch.tensor([[[[1.0, -1.0]], [[-2.0, 0.0]]]]))


@settings(deadline=None, max_examples=30)
@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e3, 1e3, width=32), st.floats(0, 1e3, width=32))
def test_it_is_always_finite_and_within_its_bounds(value, mean, deviation):
    seen = normalised(torch.tensor([[value]]), torch.tensor([[mean], [deviation]]))
    assert torch.isfinite(seen).all() and seen.abs().item() <= LARGEST
