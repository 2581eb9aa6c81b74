import math

import numpy as np
import pytest
import torch
from learning_samples import CPU

from distributed_kd.learning.temperature import AutoTemperature


def gapped(*gaps):
    """Q-values of three actions, the best of them better than the second by the gap."""
    return torch.tensor([[5.0, 5.0 + gap, 4.0] for gap in gaps])


def test_the_first_batch_sets_it():
    # A mean gap of (2 + 4) / 2 = 3 is to be log-odds of 3.
    assert AutoTemperature(CPU).follow(gapped(2.0, 4.0)).item() == pytest.approx(1.0)


def test_it_follows_the_gap_at_one_hundredth_a_batch():
    temperature = AutoTemperature(CPU)
    temperature.follow(gapped(3.0))
    # .99 * 3 + .01 * 303 = 6, and then .99 * 6 + .01 * 303 = 8.97
    assert temperature.follow(gapped(303.0)).item() == pytest.approx(2.0)
    assert temperature.follow(gapped(303.0)).item() == pytest.approx(2.99)
    for _ in range(500):
        now = temperature.follow(gapped(303.0))
    # .99 ** 500 = .0066 of the difference is left.
    assert now.item() == pytest.approx(101.0, rel=0.01)


def test_it_is_a_state_that_goes_on():
    first, second = AutoTemperature(CPU), AutoTemperature(CPU)
    second.restore(first.state())
    assert math.isnan(second.state())
    first.follow(gapped(3.0))
    state = first.state()
    first.follow(gapped(900.0))
    assert state.item() == 3.0
    second.restore(np.asarray(state))
    assert second.follow(gapped(900.0)).item() == pytest.approx(first.state().item() / 3)
