import warnings

import numpy as np
import pytest

from distributed_kd.config import EnvConfig
from distributed_kd.envs.lanes import make_lanes
from distributed_kd.envs.spec import make, read_spec

pytest.importorskip("minatar")


@pytest.mark.parametrize(
    ("id", "actions", "channels"),
    [
        ("MinAtar/Breakout-v0", 6, 4),
        ("MinAtar/Breakout-v1", 3, 4),
        ("MinAtar/Freeway-v1", 3, 7),
        ("MinAtar/Seaquest-v1", 6, 10),
        ("MinAtar/Asterix-v1", 5, 4),
        ("MinAtar/SpaceInvaders-v1", 4, 6),
    ],
)
def test_all_or_the_fewest_actions_and_bytes(id, actions, channels):
    spec = read_spec(EnvConfig(id))
    assert spec.actions == actions
    assert spec.observation_shape == (10, 10, channels)
    assert (spec.observation_dtype, spec.channels, spec.scale) == ("uint8", "last", 1.0)


def test_arguments_reach_the_game():
    own = make(EnvConfig("MinAtar/Asterix-v1", {"sticky_action_prob": 0.0, "difficulty_ramping": False})).unwrapped.game
    usual = make(EnvConfig("MinAtar/Asterix-v1")).unwrapped.game
    assert (own.sticky_action_prob, own.env.ramping) == (0.0, False)
    assert (usual.sticky_action_prob, usual.env.ramping) == (0.1, True)


def test_the_form_with_all_actions_is_not_called_out_of_date():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_spec(EnvConfig("MinAtar/Breakout-v0"))


def test_an_episode_is_decided_by_its_seed_and_actions_alone():
    # With a stickiness of 1 the first action is whatever the game remembers: after a reset, the idle one.
    env = make(EnvConfig("MinAtar/Breakout-v1", {"sticky_action_prob": 1.0}))

    def play():
        return [env.reset(seed=3)[0], *(env.step(action)[0] for action in (1, 1, 2))]

    first = play()
    env.unwrapped.game.last_action = 1
    np.testing.assert_array_equal(play(), first)


def test_restored_lanes_go_on_as_if_nothing_had_happened():
    config = EnvConfig("MinAtar/Breakout-v1")
    spec = read_spec(config)
    actions = np.random.default_rng(0).integers(0, spec.actions, (150, 3))

    def lanes():
        return make_lanes(config, spec, 3, np.random.SeedSequence(5))

    first = lanes()
    first.reset()
    ends = sum(int(first.step(action).terminated.sum()) for action in actions[:100])
    assert ends > 3
    state = first.state()
    second = lanes()
    second.reset()
    second.restore(state)
    for action in actions[100:]:
        ours, theirs = second.step(action), first.step(action)
        np.testing.assert_array_equal(ours.after, theirs.after)
        np.testing.assert_array_equal(ours.observation, theirs.observation)
        np.testing.assert_array_equal(ours.reward, theirs.reward)
