"""What was drawn from a replay, read row by row and held against what it should be."""

import numpy as np
import pytest

from distributed_kd.replay.pace import Pace


def free(batch_size=16):
    return Pace(0, 1, batch_size, 0)


def rows_of(batch):
    """One row per transition: number of the observation, action, return, discount, number of the next one, probability."""
    rows = []
    for one in batch.split():
        np.testing.assert_array_equal(one.observation[:, 1], -one.observation[:, 0])
        np.testing.assert_array_equal(one.next_observation[:, 1], -one.next_observation[:, 0])
        columns = (one.action, one.n_step_return, one.discount, one.next_observation[:, 0], one.probability)
        rows += list(zip(one.observation[:, 0].tolist(), *(column.tolist() for column in columns), strict=True))
    return rows


def check_transitions(rows, held):
    """Each row is the transition that is held under its number."""
    for number, action, total, discount, following, probability in rows:
        assert number in held, "drawn, but not held, or no step"
        assert (action, following, probability) == (held[number][0], *held[number][3:])
        assert (total, discount) == pytest.approx(held[number][1:3], abs=1e-5)


def assert_same(one, other):
    """Two batches to the bit, students' own among them."""
    np.testing.assert_equal({**vars(one), "own": 0}, {**vars(other), "own": 0})
    assert one.own.keys() == other.own.keys()
    for name, batch in one.own.items():
        assert_same(batch, other.own[name])
