"""Environments that fail in the middle of an episode: it is cut off at its last good observation, and play goes on."""

import gymnasium as gym
import numpy as np
import pytest
from rollout_builders import WALK, build_rollout, pieces
from small_environments import Walk

from distributed_kd.config import EnvConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.errors import EnvironmentFault
from distributed_kd.rollouts.evaluation import MOST_FAULTS, play

LANES, STEPS, FAULT_AT = 6, 8, 20
FAULTS = [
    ("step", "env_error", "RuntimeError: the engine stalled"),
    ("broken", "env_error", "RuntimeError: the engine stalled"),
    ("reward", "env_nan", "a reward is not finite"),
    ("infinite", "env_nan", "a reward is not finite"),
    ("observation", "env_nan", "an observation is not finite"),
    ("shape", "env_shape", "an observation has the shape (4,), not (3,)"),
]


def played(fault, calls=4, **more):
    """Every lane's environment fails in its 20th step, the fourth of the third call."""
    rollout, weights = build_rollout(EnvConfig("Walk-v0", {"fault": fault, "fault_at": FAULT_AT, **more}), actor=2)
    return [rollout.collect(weights, 0) for _ in range(calls)]


@pytest.mark.parametrize(("fault", "reason", "why"), FAULTS)
def test_a_fault_costs_one_step_of_its_lane_and_is_told(fault, reason, why):
    collected = played(fault)
    assert [stats.steps for _, stats in collected] == [48, 48, 42, 48]
    assert [segment.steps for segment, _ in collected] == [48, 48, 42, 48]
    assert [len(stats.faults) for _, stats in collected] == [0, 0, *((12, 0) if fault == "broken" else (6, 0))]
    faults = collected[2][1].faults
    spoilt = [one for one in faults if one.steps]
    assert [one.lane for one in spoilt] == list(range(LANES))
    assert {one.reason for one in spoilt} == {reason}
    assert all(one.why.startswith(why) for one in spoilt)
    assert {one.seed for one in faults} <= set(Walk.resets)
    if fault == "step":
        assert "small_environments.py" in faults[0].why
    if fault == "broken":  # such a one is made anew
        assert [one.why.split(" File")[0] for one in faults if not one.steps] == ["OSError: no such level"] * LANES


@pytest.mark.parametrize("fault", [fault for fault, _, _ in FAULTS])
def test_what_is_learned_from_is_as_the_environment_played_it(fault):
    collected = played(fault)
    for segment, _ in collected:
        segment.check_valid()
        assert np.isfinite(segment.observation).all() and np.isfinite(segment.reward).all()
        for rows in pieces(segment):
            # Every row of a walk is of one episode, each one step behind the one before, the closing one too.
            mark, taken, last_action = segment.observation[rows].T
            np.testing.assert_array_equal(mark, mark[0])
            np.testing.assert_array_equal(np.diff(taken), 1)
            np.testing.assert_array_equal(last_action[1:], segment.action[rows[:-1]])
            np.testing.assert_allclose(segment.reward[rows[:-1]], mark[0] + taken[:-1] + 1 - 3, atol=1e-6)
    segment = collected[2][0]
    assert (segment.policy[~segment.is_step] == -1).all()
    cut = [rows for rows in pieces(segment) if len(rows) == 1]
    assert len(cut) >= LANES, "the observation that was acted on stands alone behind where it ends a walk"


def test_the_step_before_the_fault_bootstraps_as_one_cut_off_by_a_time_limit_does():
    segment, _ = played("step", ends="truncated")[2]
    # All episodes of this environment end by truncation: no step, the last ones before the faults among them, is terminal.
    np.testing.assert_allclose(segment.discount[segment.is_step], 0.9, rtol=1e-6)


def test_an_episode_that_was_cut_off_is_no_episode_played():
    rollout, weights = build_rollout(EnvConfig("Walk-v0", {"fault": "step", "fault_at": 1}), steps=1)
    segment, stats = rollout.collect(weights, 0)
    assert (segment.steps, stats.steps, len(stats.faults)) == (0, 0, LANES)
    assert (len(stats.episode_return), len(stats.episode_length)) == (0, 0)
    # The next episodes, of 2 to 8 steps, are counted from their own first step.
    lengths = [length for _ in range(8) for length in rollout.collect(weights, 0)[1].episode_length.tolist()]
    assert len(lengths) >= LANES
    assert all(2 <= length <= 8 for length in lengths)


def test_other_lanes_play_as_if_nothing_had_happened():
    def collected(fault):
        rollout, weights = build_rollout(WALK)
        one = rollout._lanes._envs.envs[0].unwrapped
        one.fault, one.fault_at = fault, FAULT_AT
        return [rollout.collect(weights, 0)[0] for _ in range(4)]

    for quiet, loud in zip(collected(""), collected("step"), strict=True):
        # What comes behind the first lane's last step and the row that closes it is the other lanes'.
        others = np.flatnonzero(quiet.is_step)[STEPS - 1] + 2
        rows = len(quiet.observation) - others
        for name in ("observation", "action", "reward", "discount", "is_step", "begins", "policy", "probability"):
            np.testing.assert_array_equal(getattr(quiet, name)[-rows:], getattr(loud, name)[-rows:])
    assert quiet.observation[0].tolist() != loud.observation[0].tolist(), "its lane plays another episode by now"


def test_an_environment_that_cannot_begin_any_more_ends_it():
    rollout, weights = build_rollout(EnvConfig("Walk-v0", {"fault": "step", "fault_at": FAULT_AT}), actor=2)
    for lane in rollout._lanes._envs.envs:
        lane._make = None  # nothing can be made anew
    rollout.collect(weights, 0)
    for lane in rollout._lanes._envs.envs:
        lane.unwrapped.fault = "reset"
    with pytest.raises(EnvironmentFault, match=r"env\.id=Walk-v0.*rollout 2"):
        rollout.collect(weights, 0)


def evaluated(failing, fault="step", remake=lambda: gym.make("Walk-v0")):
    """Episodes of 12 environments, the first `failing` of which fail in their second step."""
    envs = [gym.make("Walk-v0", fault=fault if lane < failing else "", fault_at=2) for lane in range(12)]
    return play(envs, read_spec(EnvConfig("Walk-v0")), lambda seen: np.zeros(len(seen), int), range(12), remake=remake)


@pytest.mark.parametrize(("fault", "reason", "_"), FAULTS)
def test_an_episode_that_fails_in_an_evaluation_is_played_again_from_its_seed(fault, reason, _):
    played, expected = evaluated(MOST_FAULTS, fault), evaluated(0)
    assert (played.returns, played.lengths) == (expected.returns, expected.lengths)
    assert [one.seed for one in played.faults] == list(range(MOST_FAULTS))
    assert {(one.reason, one.steps) for one in played.faults} == {(reason, 0)}
    assert expected.faults == ()


def test_an_evaluation_that_fails_too_often_or_cannot_begin_again_is_told_with_its_seed():
    with pytest.raises(
        EnvironmentFault, match=rf"\(seed={MOST_FAULTS}\): in an evaluation, RuntimeError: the engine stalled"
    ):
        evaluated(MOST_FAULTS + 1)
    with pytest.raises(EnvironmentFault, match=r"\(seed=0\): in an evaluation, OSError: no such level"):
        evaluated(1, remake=lambda: gym.make("Walk-v0", fault="reset"))
    with pytest.raises(EnvironmentFault, match=r"\(seed=0\): in an evaluation, RuntimeError"):
        evaluated(1, remake=None)
