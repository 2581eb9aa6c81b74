"""networks.prepared: the same numbers from NumPy and from PyTorch, in places that stay."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.networks import prepared
from distributed_kd.networks.prepared import FEW_NUMBERS, ONE_THREAD, do, gated, product, rectified


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.booleans())
def test_products_of_all_shapes(count, rows, between, columns, turned, shared):
    left, right = numbers(count, rows, between), numbers(count, between, columns, seed=1)
    if turned:  # views that lie the other way round in memory
        left, right = (one.transpose(-1, -2).contiguous().transpose(-1, -2) for one in (left, right))
    if shared:
        right = right[0]
    if count == 1:
        left, right = left[0], right if shared else right[0]
    room = torch.full((*left.shape[:-1], columns + 1), 7.0)
    out = room[..., :-1]
    call = product(left, right, out)
    for _ in range(2):
        call()
        torch.testing.assert_close(out, left @ right)
        left.mul_(2.0)  # it is the places that are remembered, not what stood there
    assert (room[..., -1] == 7.0).all()


@pytest.mark.parametrize("rows", [8, ONE_THREAD // 64 + 1])
def test_a_product_is_numpys_up_to_what_one_thread_does(rows):
    left, right, out = numbers(rows, 8), numbers(8, 8), torch.empty(rows, 8)
    call = product(left, right, out)
    assert (call.func is np.dot) == (rows * 8 * 8 <= ONE_THREAD)
    call()
    torch.testing.assert_close(out, left @ right)


@pytest.mark.parametrize("size", [10, FEW_NUMBERS + 1])
def test_the_way_through_a_relu_and_back(size):
    features, gradient = numbers(size), numbers(size, seed=1)
    expected = torch.where(features > 0, gradient, 0.0)
    positive = features.clamp(min=0.0)
    do([rectified(features), gated(gradient, features)])
    assert torch.equal(features, positive) and torch.equal(gradient, expected)


@pytest.mark.parametrize("by_pytorch", [False, True])
def test_numbers_that_are_not_finite_stay_so_without_a_word(monkeypatch, recwarn, by_pytorch):
    if by_pytorch:
        monkeypatch.setattr(prepared, "by_numpy", lambda *places: False)
    left, right, out = torch.tensor([[math.inf, 1.0]]), torch.tensor([[0.0], [3e38]]), torch.empty(1, 1)
    do([product(left, right, out), rectified(out)])
    assert out.isnan().all() and not recwarn.list
