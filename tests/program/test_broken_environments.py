"""Environments that fail while a run plays them: each time it costs an episode, and once too often the run, with code 3."""

import shutil
from pathlib import Path

import pytest
from launching import assert_accounts_add_up, launch, run_file, summary

from distributed_kd.storage.checkpoints import load_newest

pytestmark = pytest.mark.timeout(150)


def broken_run(place: Path, fault: str, runner: str, fault_at: int, *more: object):
    shutil.copy(Path(__file__).with_name("odd_envs.py"), place)
    # Only the rollouts play long enough to meet the fault: an evaluation plays 20 steps for each policy at the end.
    words = ["--env.id", "odd_envs:Odd-v0", "--allow-env-import", "--env.kwargs.fault", fault]
    words += ["--env.kwargs.fault_at", fault_at, "--runner", runner, "--out", "run", "--evaluation.every_seconds", 0, *more]
    return launch("train", run_file(place), *words, cwd=place, importable=place)


@pytest.mark.parametrize(
    ("runner", "fault", "why"),
    [
        ("ray", "raise", "RuntimeError: the engine stalled"),
        ("inline", "raise", "RuntimeError: the engine stalled"),
        ("inline", "no number", "a reward is not finite"),
        pytest.param("ray", "no number", "a reward is not finite", marks=pytest.mark.slow),
    ],
)
def test_a_fault_too_many_keeps_what_was_learned(runner, fault, why, tmp_path):
    # 16 lanes: at the 60th step of each, 960 steps are through, well behind the warm-up of 200.
    ended = broken_run(tmp_path, fault, runner, 60, "--rollouts.env_faults", 0)
    assert ended.returncode == 3, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: the environment failed (env.id=odd_envs:Odd-v0): ")
    assert why in line
    assert "episode seed" in line and "rollouts.env_faults allows 0" in line
    told = summary(tmp_path / "run")
    assert told["status"] == "failed"
    assert told["updates"] > 0
    kept = load_newest(tmp_path / "run" / "checkpoints")
    assert kept.step == told["updates"]
    assert told["accounting"]["accepted"] == told["replay"]["inserted"] == told["replay"]["size"] + told["replay"]["evicted"]


@pytest.mark.parametrize(
    ("runner", "fault", "reason"),
    [
        ("ray", "raise", "env_error"),
        ("inline", "no number", "env_nan"),
        pytest.param("inline", "raise", "env_error", marks=pytest.mark.slow),
        pytest.param("ray", "no number", "env_nan", marks=pytest.mark.slow),
    ],
)
def test_faults_cost_a_step_each_and_the_run_goes_on(runner, fault, reason, tmp_path):
    # Later than in an evaluation, in which each environment plays 20 steps for each of four policies.
    ended = broken_run(tmp_path, fault, runner, 100)
    assert ended.returncode == 0, ended.stderr
    told = summary(tmp_path / "run")
    account = told["accounting"]
    # Each of the 16 lanes has one environment, which fails once; on Ray one rollout's 8 may not have come so far at the end.
    count = account["env_faults"][reason]
    assert 8 <= count <= 16 if runner == "ray" else count == 16
    assert account["dropped"] == account["env_faults"] == {reason: count}
    assert account["accepted"] >= 2_000
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=32)
    lines = ended.stderr.splitlines()
    assert lines and all(line.startswith("warning: the environment failed (env.id=odd_envs:Odd-v0): ") for line in lines)
    assert f"failed    {count} x {reason}: replaced, and gone on" in ended.stdout


@pytest.mark.parametrize("runner", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_fault_at_the_very_first_reset(runner, tmp_path):
    ended = broken_run(tmp_path, "reset", runner, fault_at=0)
    assert ended.returncode == 3, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: the environment failed (env.id=odd_envs:Odd-v0): ")
    assert "OSError: no such level" in line
