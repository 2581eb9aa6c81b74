"""Every number of a run file has its bounds: a value at or within them is taken, one beyond is told."""

import pytest
from told import told

SHARE, ABOVE_0 = "between 0 and 1", "above 0"


@pytest.mark.parametrize(
    ("key", "good", "bad", "what", "bound"),
    [
        ("seed", "0", "-1", "bad seed", 0),
        ("stop.updates", "0", "-1", "bad bound", 0),
        ("stop.minutes", "0.5", "-0.5", "bad bound", 0),
        ("env.frame_stack", "1", "0", "bad frame stack", 1),
        ("teacher.network.width", "1e-9", "0.0", "bad layer width", ABOVE_0),
        ("students.tiny.network.width", "9.0", "inf", "bad layer width", ABOVE_0),
        ("teacher.atoms", "2", "1", "bad distribution", 2),
        ("teacher.munchausen", "1.0", "1.1", "bad Munchausen term", SHARE),
        ("teacher.munchausen", "0.0", "nan", "bad Munchausen term", SHARE),
        ("teacher.munchausen_temperature", "1e-9", "0.0", "bad Munchausen term", ABOVE_0),
        ("teacher.reward_clip", "0.0", "-1.0", "bad reward clip", 0),
        ("teacher.reward_clip", "1e9", "inf", "bad reward clip", 0),
        ("teacher.learning_rate", "1e-9", "0.0", "bad learning rate", ABOVE_0),
        ("teacher.learning_rate_end", "0.0", "-0.1", "bad learning rate", SHARE),
        ("teacher.gamma", "1.0", "1.01", "bad discount", SHARE),
        ("teacher.n_step", "1", "0", "bad n-step", 1),
        ("teacher.target_update", "0.5", "0.0", "bad target update", ABOVE_0),
        ("teacher.max_grad_norm", "0.1", "inf", "bad gradient clip", ABOVE_0),
        ("teacher.combine_temperature", "0.1", "0.0", "bad temperature", ABOVE_0),
        ("teacher.average_rate", "1.0", "nan", "bad rate", SHARE),
        ("teacher.exploration.start", "1.0", "1.5", "bad exploration", SHARE),
        ("teacher.exploration.end", "0.0", "-0.5", "bad exploration", SHARE),
        ("teacher.exploration.fraction", "0.0", "nan", "bad exploration", SHARE),
        ("teacher.exploration.ladder", "0.0", "-1.0", "bad exploration", 0),
        ("students.tiny.temperature", "1e-3", "0.0", "bad temperature", ABOVE_0),
        ("students.tiny.temperature_end", "0.1", "1.1", "bad temperature", SHARE),
        ("students.tiny.temperature_end", "0.1", "0.0", "bad temperature", ABOVE_0),
        ("students.tiny.smoothing", "1.0", "1.5", "bad smoothing", SHARE),
        ("students.tiny.observation_noise", "0.0", "-0.1", "bad noise", 0),
        ("students.tiny.target_noise", "9.0", "inf", "bad noise", 0),
        ("students.tiny.target_update", "1.0", "-1.0", "bad target update", ABOVE_0),
        ("students.tiny.warmup", "0", "-1", "bad warm-up", 0),
        ("students.tiny.learning_rate", "0.1", "-0.1", "bad learning rate", ABOVE_0),
        ("students.tiny.learning_rate_end", "0.0", "1.1", "bad learning rate", SHARE),
        ("students.tiny.max_grad_norm", "0.1", "0.0", "bad gradient clip", ABOVE_0),
        ("rollouts.actors", "1", "0", "bad number of rollouts", 1),
        ("rollouts.actors.min", "1", "0", "bad number of rollouts", 1),
        ("rollouts.envs_per_actor", "1", "0", "bad number of rollouts", 1),
        ("rollouts.steps_per_segment", "1", "-3", "bad number of rollouts", 1),
        ("rollouts.student_epsilon", "0.0", "2.0", "bad exploration", SHARE),
        ("rollouts.behaviour.teacher", "0.5", "-0.1", "bad share of lanes", SHARE),
        ("rollouts.behaviour.students", "0.5", "1.1", "bad share of lanes", SHARE),
        ("rollouts.behaviour.beta", "1.0", "1.1", "bad share of lanes", SHARE),
        ("rollouts.behaviour.beta_end", "0.0", "nan", "bad share of lanes", SHARE),
        ("rollouts.behaviour.beta_fraction", "0.0", "-0.1", "bad share of lanes", SHARE),
        ("replay.capacity", "2000", "0", "bad size", 1),
        ("replay.warmup", "1", "0", "bad size", 1),
        ("replay.batch_size", "1", "0", "bad size", 1),
        ("replay.samples_per_insert", "0.0", "-1.0", "bad pace", 0),
        ("replay.priority_exponent", "0.0", "-0.1", "bad priorities", SHARE),
        ("replay.priority_exponent", "1.0", "1.1", "bad priorities", SHARE),
        ("replay.importance", "0.0", "nan", "bad priorities", SHARE),
        ("replay.importance_end", "1.0", "2.0", "bad priorities", SHARE),
        ("data.held_out", "0.01", "1.01", "bad share of states", SHARE),
        ("data.updates", "1", "0", "bad number", 1),
        ("data.check_every", "1", "0", "bad number", 1),
        ("data.patience", "1", "-1", "bad number", 1),
        ("learner.updates_per_call", "1", "0", "bad number of updates", 1),
        ("learner.threads", "1", "0", "bad number of threads", 1),
        ("learner.skips", "1", "0", "bad number of skipped updates", 1),
        ("learner.replicas", "1", "0", "bad number of replicas", 1),
        ("evaluation.episodes", "2", "1", "bad number of episodes", 2),
        ("evaluation.every_seconds", "0.0", "-1.0", "bad interval", 0),
        ("evaluation.every_env_steps", "1", "-1", "bad interval", 0),
        ("checkpoint.every_seconds", "0.0", "inf", "bad interval", 0),
        ("checkpoint.keep", "1", "0", "bad number of checkpoints", 1),
    ],
)
def test_numbers_keep_to_their_bounds(key, good, bad, what, bound):
    assert told(f"{key} = {good}") == []
    rest = {
        SHARE: f"it must lie between 0 and 1. Set --{key} to a number from 0 to 1",
        ABOVE_0: f"it must be a finite number above 0. Set --{key} to a positive number",
    }.get(bound, f"it must be a finite number of at least {bound}. Set --{key} {bound} or more")
    assert told(f"{key} = {bad}") == [f"{what} ({key}={bad}): {rest}"]


@pytest.mark.parametrize("bad", ["10.0", "11.0", "nan", "-inf"])
def test_the_least_return_lies_below_the_greatest(bad):
    assert told("teacher = { v_min = 9.5, v_max = 10.0 }") == []
    (line,) = told(f"teacher.v_min = {bad}")
    assert line == (
        f"bad distribution (teacher.v_min={bad}): it must lie below v_max, 10. Set the least and the greatest return "
        "that can come"
    )


@pytest.mark.parametrize(
    ("name", "option", "bad", "rest"),
    [
        ("kl", "weight", -1.0, "it must be a finite number of at least 0"),
        ("hard_soft", "soft_weight", -1.0, "it must be a finite number of at least 0"),
        ("hard_soft", "hard_weight", -1.0, "it must be a finite number of at least 0"),
        ("hard_soft", "switch", 1.5, "it must lie between 0 and 1"),
        ("dkd", "alpha", -1.0, "it must be a finite number of at least 0"),
        ("dkd", "beta", -1.0, "it must be a finite number of at least 0"),
        ("margin", "margin", -1.0, "it must be a finite number of at least 0"),
        ("policy_gradient", "kl_weight", -1.0, "it must be a finite number of at least 0"),
        ("kl", "since", -0.5, "it must lie between 0 and 1"),
        ("kl", "until", 1.5, "it must lie between 0 and 1"),
    ],
)
def test_options_of_a_loss_keep_to_their_bounds(name, option, bad, rest):
    (line,) = told(f'students.tiny.losses = [{{ name = "kl" }}, {{ name = "{name}", {option} = {bad} }}]')
    assert line.startswith(f"bad loss (students.tiny.losses[1].{option}={bad}): {rest}. Set ")
    for good in (0.25, 0.75):
        assert told(f'students.tiny.losses = [{{ name = "kl" }}, {{ name = "{name}", {option} = {good} }}]') == []


def test_a_bound_below_zero_is_told_as_one():
    line = "bad bound (stop.env_steps=-1): it must be a finite number of at least 0. Set --stop.env_steps 0 or more"
    assert told("stop.env_steps = -1")[0] == line


def test_a_warm_up_that_is_proposed_is_one_that_may_be_set():
    # A tenth of 5 steps, and half of 1 row, would be 0.
    assert told("stop.env_steps = 5")[0].endswith("Set --replay.warmup 1 or less")
    assert told("replay = { capacity = 1, warmup = 2 }")[1].endswith("Set --replay.warmup 1 or less")
