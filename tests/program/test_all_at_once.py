"""Everything that a run can carry at once: images, stacks, means of observations, priorities, noise and distributions.

Each is tested where it is made; here they meet in the loop in one process, which repeats and goes on to the bit.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from launching import assert_accounts_add_up, summary
from test_every_preset import assert_priorities_add_up
from test_inline_runs import (
    EVERYTHING,
    assert_stands_between,
    config_of,
    contents,
    files,
    go_on,
    learner_of,
    start,
    student,
    without_time,
)

from distributed_kd.config import EnvConfig, ReplayConfig, RunConfig, StopConfig
from distributed_kd.data_config import BehaviourConfig
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import ExplorationConfig, TeacherConfig
from distributed_kd.storage.checkpoints import load_newest
from distributed_kd.student_config import StudentConfig

SMALL = NetworkConfig("minatar", width=0.1)
"""One convolution of 2 channels, 13 units"""
TEACHER = TeacherConfig(
    network=SMALL,
    n_step=2,
    target_update=20,
    dueling=True,
    noisy=True,
    distribution="c51",
    atoms=11,
    v_min=0.0,
    v_max=5.0,
    exploration=ExplorationConfig(start=0.0, end=0.0),
)
REPLAY = ReplayConfig(
    capacity=500, prioritized=True, student_batches="uniform", warmup=200, batch_size=16, samples_per_insert=2.0
)


def all_at_once() -> RunConfig:
    """960 steps in 20 segments of 48, and about 100 updates; the ring evicts from the tenth segment or so on."""
    pytest.importorskip("minatar")
    env = EnvConfig("MinAtar/Breakout-v1", {"max_episode_steps": 40}, frame_stack=2, normalise=True)
    config = replace(config_of(students=(), env_steps=960), env=env, teacher=TEACHER, replay=REPLAY)
    students = {
        "image": StudentConfig(network=SMALL, loss="kl", temperature="auto", observation_noise=0.1),
        "flat": student(8, loss="mse", td_weight=1.0),
    }
    return replace(config, students=students)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """It never stopped."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert start(path, all_at_once())[1] == 0
    return path


def test_the_whole_run_adds_up(whole):
    told, state = summary(whole), load_newest(whole / "checkpoints").parts
    assert_accounts_add_up(told, samples_per_insert=2.0, batch_size=16)
    assert_priorities_add_up(told, True)
    assert told["replay"]["evicted"] > 0
    # Each observation is stored once, in bytes, and not as networks see it: stacked, and less its mean.
    rows = state["replay"]["rows"]["observation"]
    assert (rows.shape[1:], rows.dtype) == ((10, 10, 4), np.uint8)
    assert rows.max() == 1


# The 4th segment is in the warm-up, the 5th at its edge; from the 10th on the ring is full.
@pytest.mark.parametrize("point", [4, pytest.param(5, marks=pytest.mark.slow), 13])
def test_stopped_and_resumed_is_as_never_stopped(point, whole, tmp_path):
    path = tmp_path / "stopped"
    told, code = start(path, all_at_once(), stop_after=point)
    assert (told["status"], code, told["env_steps"]) == ("preempted", 75, 48 * point)
    assert_stands_between(told)
    assert go_on(path, all_at_once())[1] == 0
    assert files(path, *EVERYTHING) == files(whole, *EVERYTHING)
    assert without_time(summary(path)) == without_time(summary(whole))


@pytest.mark.parametrize("student_batches", ["corrected", "uniform"])
def test_the_teacher_is_the_same_with_no_students_and_with_many(student_batches, tmp_path):
    """By priority too, however the students' batches are drawn: their draws, noise and gradients are their own."""
    many = {
        "a": student(8, temperature="auto", observation_noise=0.1),
        "b": student(8, loss="mse", td_weight=1.0),
        "c": student(4, loss="huber", warmup=10),
        "d": student(4, loss="kl_reverse", smoothing=0.1),
    }
    config = replace(
        config_of(students=(), env_steps=528),
        env=EnvConfig("CartPole-v1", frame_stack=2, normalise=True),
        teacher=replace(TEACHER, network=NetworkConfig(hidden=(16,)), v_max=100.0),
        replay=replace(REPLAY, student_batches=student_batches),
    )
    config = replace(config, rollouts=replace(config.rollouts, behaviour=BehaviourConfig(1.0, 0.0)))
    for name, students in (("alone", {}), ("among", many)):
        told, code = start(tmp_path / name, replace(config, students=students))
        assert code == 0 and told["updates"] > 50
    alone, among = (learner_of(tmp_path / name) for name in ("alone", "among"))
    assert contents(alone["teacher"]) == contents(among["teacher"])
    assert files(tmp_path / "alone", "rollouts") == files(tmp_path / "among", "rollouts")
    rings = [load_newest(tmp_path / name / "checkpoints").parts["replay"] for name in ("alone", "among")]
    assert contents(rings[0]) == contents(rings[1])


def test_a_run_ended_by_updates_loses_no_priority(tmp_path):
    """Those of the last batches are given back before the run is saved, though nobody asks for more batches."""
    config = replace(config_of(students=("a",)), replay=REPLAY, stop=StopConfig(env_steps=0, updates=61))
    told, code = start(tmp_path / "run", config)
    assert (code, told["updates"]) == (0, 61)
    replay = told["replay"]
    assert replay["prioritised"] + replay["late_priorities"] == replay["sampled"] == 61 * 16
    assert learner_of(tmp_path / "run")["errors"] is None
    later, code = go_on(tmp_path / "run", replace(config, stop=StopConfig(env_steps=700)))
    assert code == 0 and later["updates"] > 61
    assert_priorities_add_up(later, True)
