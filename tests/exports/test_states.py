"""distributed_kd/exports/states.py: states that were seen, and others near them."""

import numpy as np
import pytest
from export_samples import saved_of

from distributed_kd.exports.states import BATCH, EXCHANGED, NOISE, draw_states, perturbed
from distributed_kd.network_config import NetworkConfig
from distributed_kd.records import EnvSpec


def test_perturbed_bytes_are_bytes_that_were_seen_in_their_place():
    random = np.random.default_rng(0)
    seen = (np.arange(4, dtype=np.uint8)[:, None] * 10 + np.arange(6, dtype=np.uint8))[:, None]  # [4, 1, 6]
    made = perturbed(seen, BATCH + 40, random)
    assert made.shape == (BATCH + 40, 1, 6) and made.dtype == np.uint8
    assert (made % 10 == np.arange(6)).all() and set((made // 10).ravel().tolist()) == {0, 1, 2, 3}
    # Most are one state but for some numbers: a tenth of them come from another one, which is itself in a quarter.
    most = np.array([np.bincount(row.ravel() // 10, minlength=4).max() for row in made])
    assert abs((most / 6).mean() - (1 - EXCHANGED * 0.75)) < 0.03
    assert len(np.unique(made.reshape(len(made), -1), axis=0)) > 50


def test_perturbed_floats_move_by_a_tenth_of_their_spread():
    seen = np.array([[0.0, 5.0], [100.0, 5.0]], np.float32)
    made = perturbed(seen, 1_000, np.random.default_rng(0))
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[:, 1], 5.0)  # it never differs, so it has no spread
    away = np.minimum(np.abs(made[:, 0]), np.abs(made[:, 0] - 100))
    assert away.std() == pytest.approx(NOISE * 50 * (1 - 2 / np.pi) ** 0.5, rel=0.1)  # of a folded normal


def test_none_are_made_where_none_are_missing():
    assert perturbed(np.zeros((3, 2), np.float32), 0, np.random.default_rng(0)).shape == (0, 2)


def test_without_a_replay_episodes_are_played():
    """As of a run that learned from a set of states."""
    spec = EnvSpec("CartPole-v1", (4,), "float32", 2)
    states = draw_states(saved_of(spec, NetworkConfig(hidden=(4,)), {}, False), 400)
    assert states.observations.shape == (400, 4) and states.observations.dtype == np.float32
    assert 20 <= states.seen <= 400  # each of 20 episodes has a first state, and 400 are kept at most
    assert np.abs(states.observations[: states.seen, 2]).max() < 0.3  # the pole's angle, until it has fallen
