import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.maths import priorities

FUNCTIONS = {
    "priority": priorities.priority,
    "importance_weights": lambda rows: priorities.importance_weights(rows, 0.5),
    "corrected_weights": priorities.corrected_weights,
}
EVERY = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())


def test_priority_is_the_size_of_the_error_and_never_0():
    td_error = torch.tensor([-2.0, 0.0, 0.5], dtype=torch.float64)
    expected = torch.tensor([2.000001, 0.000001, 0.500001], dtype=torch.float64)
    torch.testing.assert_close(priorities.priority(td_error), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("exponent", "expected"),
    [
        (0.0, [1.0, 1.0, 1.0, 1.0]),
        (0.5, [1.0, 0.5, 0.25, 2.0**0.5 / 2]),  # 2, 1, .5 and 2^.5 over 2
        (1.0, [1.0, 0.25, 0.0625, 0.5]),  # 4, 1, .25 and 2 over 4
    ],
)
def test_importance_weights_by_hand(exponent, expected):
    oversampling = torch.tensor([0.25, 1.0, 4.0, 0.5])
    torch.testing.assert_close(priorities.importance_weights(oversampling, exponent), torch.tensor(expected))


def test_corrected_weights_by_hand():
    # 1 / oversampling: 2, 1, .5, .5; their mean is 1.
    weights = priorities.corrected_weights(torch.tensor([0.5, 1.0, 2.0, 2.0]))
    torch.testing.assert_close(weights, torch.tensor([2.0, 1.0, 0.5, 0.5]))
    # 4 and 1, over a mean of 2.5
    torch.testing.assert_close(priorities.corrected_weights(torch.tensor([0.25, 1.0])), torch.tensor([1.6, 0.4]))


@settings(deadline=None, max_examples=50)
@given(times=st.lists(st.integers(1, 9), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_corrected_losses_of_a_skewed_batch_are_those_of_all_rows_alike(times, seed):
    """Row i is drawn times[i] times, as its priority would have it on average; every row should count once."""
    times = torch.tensor(times)
    loss = torch.rand(len(times), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    oversampling = len(times) * times.double() / times.sum()
    weights = priorities.corrected_weights(oversampling.repeat_interleave(times))
    assert weights.mean().item() == pytest.approx(1.0)
    assert (weights * loss.repeat_interleave(times)).mean().item() == pytest.approx(loss.mean().item())


OVERSAMPLING = st.lists(st.floats(2**-10, 2**10, width=32), min_size=1, max_size=8).map(torch.tensor)


@settings(deadline=None, max_examples=50)
@given(oversampling=OVERSAMPLING, exponent=st.floats(0, 1), scale=st.sampled_from([0.25, 2.0, 64.0]))
def test_importance_weights_are_at_most_1_and_know_no_scale(oversampling, exponent, scale):
    weights = priorities.importance_weights(oversampling, exponent)
    assert weights.max() == 1
    assert weights.min() > 0
    assert weights[oversampling.argmin()] == 1, "the row drawn too seldom weighs most"
    torch.testing.assert_close(priorities.importance_weights(scale * oversampling, exponent), weights)
    torch.testing.assert_close(
        priorities.corrected_weights(scale * oversampling), priorities.corrected_weights(oversampling)
    )


def test_the_rarest_rows_do_not_overflow():
    oversampling = torch.tensor([1e-40, 1e-38])  # 1 over the first is more than a float32 holds
    torch.testing.assert_close(
        priorities.importance_weights(oversampling, 1.0), torch.tensor([1.0, 0.01]), rtol=1e-4, atol=0
    )
    # 100 and 1, over a mean of 50.5
    expected = torch.tensor([100 / 50.5, 1 / 50.5])
    torch.testing.assert_close(priorities.corrected_weights(oversampling), expected, rtol=1e-4, atol=0)


@EVERY
def test_nothing_learns_through_them(function):
    assert not function(torch.ones(3, requires_grad=True)).requires_grad


@EVERY
@pytest.mark.parametrize("shape", [(), (3, 1)])
def test_wrong_shapes_are_refused(function, shape):
    with pytest.raises(AssertionError, match=r"\[B\]"):
        function(torch.ones(shape))
