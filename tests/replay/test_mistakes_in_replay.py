"""Mistakes seen in published code that a replay can make; each one a test that goes red when somebody makes it here."""

import numpy as np
import pytest

from distributed_kd.errors import ConfigurationError
from distributed_kd.records import EnvSpec, Segment
from distributed_kd.replay.pace import FREE, Pace
from distributed_kd.replay.replay import Replay
from distributed_kd.run_file import decode


def test_mistake_17_prioritised_batches_without_importance_weights():
    """Students take every batch as a fair sample of the replay, so one it must be; who asks for another is told."""
    steps, draws = 40, 400 * 100
    spec = EnvSpec("Numbers", (1,), "float32", 2)
    replay = Replay(spec, 100, 1, Pace(0.0, 1, 100, FREE), np.random.SeedSequence(3))
    rows = steps + 1
    is_step = np.arange(rows) < steps
    # Rewards, and so errors, as unlike each other as can be: nothing of it may show in what is drawn.
    reward = np.where(is_step, 10.0 ** (np.arange(rows) % 7), 0.0).astype(np.float32)
    column = {"policy": np.zeros(rows, np.int16), "version": np.zeros(rows, np.int64)}
    replay.add(
        Segment(
            0,
            0,
            0,
            observation=np.arange(rows, dtype=np.float32)[:, None],
            action=np.zeros(rows, np.int64),
            reward=reward,
            discount=np.full(rows, 0.9, np.float32),
            is_step=is_step,
            probability=np.ones(rows, np.float32),
            **column,
        )
    )
    batches, _ = replay.sample(draws // 100)
    counts = np.bincount(batches.observation.astype(int).ravel(), minlength=steps)
    expected = draws / steps
    # Chi-square with 39 degrees of freedom: 72 is passed once in a thousand seeds, and the seed is fixed.
    assert ((counts - expected) ** 2 / expected).sum() < 72
    with pytest.raises(ConfigurationError, match=r"replay\.prioritized=true"):
        decode({"students": {"tiny": {}}, "replay": {"prioritized": True}})
