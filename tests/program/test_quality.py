"""Whole trainings of the presets, held against what they promise."""

import json
from pathlib import Path

import pytest
from launching import launch

from distributed_kd import presets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


# Of Acrobot's episodes a few go on to the end, even of good policies: one in 20 costs a policy 0.05 of its normalised score.
@pytest.mark.parametrize(
    ("preset", "least_return", "episodes"),
    [("cartpole", 475.0, 20), ("acrobot", -100.0, 100), ("mountaincar", -110.0, 20), ("lunarlander", 150.0, 20)],
)
def test_teacher_and_larger_students_of_a_preset_are_good(tmp_path: Path, preset: str, least_return: float, episodes: int):
    run = launch("train", preset, "--evaluation.episodes", episodes, "--out", "run", cwd=tmp_path, seconds=900)

    assert run.returncode == 0, run.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["teacher"]["episodes"] == episodes
    assert summary["teacher"]["return_mean"] >= least_return
    for name in ("quarter", "fifteenth"):
        assert summary["students"][name]["normalised_score"] >= 0.95, name
    asked = presets.read(preset)["replay"]["samples_per_insert"]
    assert summary["replay"]["samples_per_insert"] == pytest.approx(asked, rel=0.01)


def test_a_teacher_whose_learner_and_replay_were_killed_is_as_good(tmp_path: Path):
    faults = ["--checkpoint.every_seconds", 10, "--chaos", "kill=learner:25s,replay:40s,rollout:20s"]
    run = launch("train", "cartpole", "--out", "run", *faults, cwd=tmp_path, seconds=900)

    assert run.returncode == 0, run.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    struck = summary["accounting"]["on_purpose"]
    assert struck["kill learner"] > 0 and struck["kill replay"] > 0
    assert summary["accounting"]["rollbacks"]["count"] > 0
    assert set(summary["invariants"].values()) == {0}
    assert summary["teacher"]["return_mean"] >= 475.0
    for name in ("quarter", "fifteenth"):
        assert summary["students"][name]["normalised_score"] >= 0.95, name


def test_the_comparison_of_losses_ranks_students_that_learned(tmp_path: Path):
    run = launch("train", "losses", "--out", "run", cwd=tmp_path, seconds=900)

    assert run.returncode == 0, run.stderr
    assert "best first" in run.stdout
    students = json.loads((tmp_path / "run" / "summary.json").read_text())["students"]
    assert len(students) == 17
    learned = [name for name, student in students.items() if student["normalised_score"] >= 0.9]
    assert len(learned) >= 15
    assert "kl" in learned
