"""Environments that fail while a run plays them: code 3, one line, and what was learned until then is kept."""

import shutil
from pathlib import Path

import pytest
from launching import launch, run_file, summary

from distributed_kd.storage.checkpoints import load_newest

pytestmark = pytest.mark.timeout(150)


def broken_run(place: Path, fault: str, runner: str, fault_at: int):
    shutil.copy(Path(__file__).with_name("odd_envs.py"), place)
    # Only the rollouts play long enough to meet the fault: an evaluation plays 20 steps for each policy at the end.
    words = ["--env.id", "odd_envs:Odd-v0", "--allow-env-import", "--env.kwargs.fault", fault]
    words += ["--env.kwargs.fault_at", fault_at, "--runner", runner, "--out", "run", "--evaluation.every_seconds", 0]
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
def test_a_fault_while_training_keeps_what_was_learned(runner, fault, why, tmp_path):
    # 16 lanes: at the 60th step of each, 960 steps are through, well behind the warm-up of 200.
    ended = broken_run(tmp_path, fault, runner, fault_at=60)
    assert ended.returncode == 3, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: the environment failed (env.id=odd_envs:Odd-v0): ")
    assert why in line
    told = summary(tmp_path / "run")
    assert told["status"] == "failed"
    assert told["updates"] > 0
    kept = load_newest(tmp_path / "run" / "checkpoints")
    assert kept.step == told["updates"]
    assert told["accounting"]["accepted"] == told["replay"]["inserted"] == told["replay"]["size"] + told["replay"]["evicted"]


@pytest.mark.parametrize("runner", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_fault_at_the_very_first_reset(runner, tmp_path):
    ended = broken_run(tmp_path, "reset", runner, fault_at=0)
    assert ended.returncode == 3, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: the environment failed (env.id=odd_envs:Odd-v0): ")
    assert "OSError: no such level" in line
