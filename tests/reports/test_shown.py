"""How numbers are written out."""

import math

import pytest

from distributed_kd.reports.shown import return_form


@pytest.mark.parametrize(
    ("returns", "form"),
    [
        ((0.1, 0.975), ".3f"),  # shares of images told right
        ((-2.0, 2.0), ".3f"),
        ((0.1, 2.1), ".1f"),
        ((-500.0, -80.2), ".1f"),
        ((None, math.nan), ".1f"),
        ((None, 0.5), ".3f"),
    ],
)
def test_small_returns_have_three_decimals(returns, form):
    assert return_form(*returns) == form
