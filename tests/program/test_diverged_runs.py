"""Runs whose numbers stop being finite: they go back to their newest checkpoint once, then end with code 8 and the batch."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from launching import assert_nothing_is_lost, launch, metrics, run_file, summary
from safetensors.numpy import load_file

from distributed_kd.storage.checkpoints import load_newest

pytestmark = pytest.mark.timeout(250)
RUNNERS = ["inline", pytest.param("ray", marks=pytest.mark.slow)]
STEADY = ["--evaluation.every_seconds", 0, "--checkpoint.every_seconds", 1000]


def before_the_storm(place: Path, runner: str) -> None:
    """A finished run of an environment that is still well."""
    shutil.copy(Path(__file__).with_name("odd_envs.py"), place)
    words = ["--env.id", "odd_envs:Odd-v0", "--allow-env-import", "--env.kwargs.fault", "huge", "--runner", runner]
    ended = launch("train", run_file(place, 800), *words, *STEADY, "--out", "run", cwd=place, importable=place)
    assert ended.returncode == 0, ended.stderr
    assert summary(place / "run")["accounting"]["skipped_updates"] == {}
    (place / "odd_envs.huge").touch()


def gone_on(place: Path):
    return launch("resume", "run", "--stop.env_steps", 3000, *STEADY, "--allow-env-import", cwd=place, importable=place)


def batch_kept(line: str, place: Path) -> dict[str, np.ndarray]:
    """The batch that a message names, as it was saved."""
    path = place / line.partition("the last batch lies in ")[2].partition(". Lower")[0]
    about = json.loads(path.with_suffix(".json").read_text())
    assert path.name == f"{about['network']}-{about['update']}.safetensors"
    assert about["skipped_in_a_row"] >= 10
    return load_file(path)


@pytest.mark.parametrize("runner", RUNNERS)
def test_it_goes_back_to_its_newest_checkpoint_and_on(runner, tmp_path):
    before_the_storm(tmp_path, runner)
    ended = gone_on(tmp_path)
    assert ended.returncode == 0, ended.stderr
    diverged, *others = ended.stderr.splitlines()
    assert diverged.startswith("warning: the run diverged (teacher.loss=inf): ")
    assert batch_kept(diverged, tmp_path)["n_step_return"].max() > 1e38
    assert others[-1].startswith("warning: replay and learner go back to step-")
    told = summary(tmp_path / "run")
    assert told["accounting"]["rollbacks"]["count"] == 1
    assert told["accounting"]["skipped_updates"]["teacher"] >= 10
    assert set(told["accounting"]["skipped_updates"]) == {"teacher"}
    assert_nothing_is_lost(told, batch_size=32)
    assert told["env_steps"] >= 3000
    assert "x an update of teacher (skipped)" in ended.stdout
    assert any(line.get("charts", {}).get("skipped_updates") for line in metrics(tmp_path / "run"))
    weights = load_newest(tmp_path / "run" / "checkpoints").parts["learner"]["teacher"]["trained"]["network"]
    assert all(np.isfinite(value).all() for value in weights.values())


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_second_time_it_ends(runner, tmp_path):
    before_the_storm(tmp_path, runner)
    (tmp_path / "odd_envs.forever").touch()
    ended = gone_on(tmp_path)
    assert ended.returncode == 8, ended.stderr
    first, *_, last = ended.stderr.splitlines()
    assert first.startswith("warning: the run diverged (teacher.loss=inf): ")
    assert last.startswith("error: the run diverged (teacher.loss=inf): ") and "Lower the learning rate of teacher" in last
    assert batch_kept(last, tmp_path)["n_step_return"].max() > 1e38
    told = summary(tmp_path / "run")
    assert told["status"] == "failed"
    assert told["accounting"]["rollbacks"]["count"] == 1
    # What was committed before stays, and goes on where the environment is well again.
    (tmp_path / "odd_envs.huge").unlink()
    assert gone_on(tmp_path).returncode == 0


@pytest.mark.parametrize("runner", RUNNERS)
def test_before_there_is_a_checkpoint_it_ends_at_once(runner, tmp_path):
    words = ["--students.tiny.learning_rate", "1e30", "--runner", runner, "--out", "run", *STEADY]
    ended = launch("train", run_file(tmp_path), *words, cwd=tmp_path)
    assert ended.returncode == 8
    # NumPy may warn before it that the rollouts' own copy of such weights overflows.
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: the run diverged (tiny.loss=")
    assert "Lower the learning rate of tiny" in line
    assert np.isfinite(batch_kept(line, tmp_path)["observation"]).all()
    told = summary(tmp_path / "run")
    assert told["accounting"]["skipped_updates"]["tiny"] >= 10
    assert told["accounting"]["rollbacks"]["count"] == 0
