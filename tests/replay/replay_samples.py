"""What was drawn from a replay, read row by row and held against what it should be."""

import numpy as np
import pytest
from naive_replay import SPEC, stacking

from distributed_kd.data_config import ReplayConfig
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.replay import Replay


def free(batch_size=16):
    return Pace(0, 1, batch_size, 0)


def replay_of(capacity=50, n_step=1, pace=None, seed=0, *, spec=SPEC, stack=1, own=None, clip=0.0, **config):
    """A replay of numbered observations; `config` are fields of ReplayConfig."""
    spec = stacking(stack) if stack > 1 else spec
    config = ReplayConfig(capacity=capacity, **config)
    return Replay(spec, config, n_step, clip, pace or free(), np.random.SeedSequence(seed), own or {})


def rows_of(batch):
    """One row per transition: numbers seen, action, return, discount, numbers seen next, probability."""
    rows = []
    for one in batch.split():
        seen, following = (values.reshape(len(one.action), -1, 2) for values in (one.observation, one.next_observation))
        for values in (seen, following):
            np.testing.assert_array_equal(values[..., 1], -values[..., 0])
        names = [list(map(tuple, values[..., 0].tolist())) for values in (seen, following)]
        columns = [column.tolist() for column in (one.action, one.n_step_return, one.discount, one.probability)]
        rows += list(zip(names[0], *columns[:3], names[1], columns[3], strict=True))
    return rows


def newest_of(rows):
    """Number of the observation of each row's own step."""
    return [row[0][-1] for row in rows]


def check_transitions(rows, held):
    """Each row is the transition that is held under its number."""
    for row in rows:
        assert row[0][-1] in held, "drawn, but not held, or no step"
        expected = held[row[0][-1]]
        assert (row[0], row[1], *row[4:]) == (expected[0], expected[1], *expected[4:])
        assert row[2:4] == pytest.approx(expected[2:4], abs=1e-5)


def assert_same(one, other):
    """Two batches to the bit, students' own and those apart among them."""
    np.testing.assert_equal({**vars(one), "own": 0, "students": 0}, {**vars(other), "own": 0, "students": 0})
    assert one.own.keys() == other.own.keys()
    for name, batch in one.own.items():
        assert_same(batch, other.own[name])
    assert (one.students is None) == (other.students is None)
    if one.students is not None:
        assert_same(one.students, other.students)


def assert_goes_on_alike(first, second, player, learned, told):
    """Two replays of one state are given and asked for the same; gives the last receipt."""
    assert second.receipt() == first.receipt()
    for _ in range(6):
        segment = player.play()[0]
        assert second.add(segment) == first.add(segment)
        (ours, receipt), (theirs, their_receipt) = second.sample(3, told), first.sample(3, told)
        assert receipt == their_receipt
        assert_same(ours, theirs)
        told = learned(ours)
    return receipt
