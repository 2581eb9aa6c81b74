"""A disk that refuses while a run trains: code 7, one line, and what was committed before is still there."""

import resource
import subprocess
import sys

import pytest
from launching import DEADLINE, LAUNCH, launch, run_file, summary

from distributed_kd.storage.checkpoints import load_newest

pytestmark = pytest.mark.timeout(150)
SMALL_FILES = 30_000
"""Bytes that a file may have: more than the metrics need, less than a replay of 900 steps does"""


def test_a_checkpoint_that_does_not_fit_ends_the_run_and_leaves_the_one_before(tmp_path):
    words = ["train", run_file(tmp_path, 300), "--runner", "inline", "--out", "run", "--evaluation.every_seconds", 0]
    assert launch(*words, cwd=tmp_path).returncode == 0
    before = load_newest(tmp_path / "run" / "checkpoints").step
    ended = subprocess.run(
        [sys.executable, LAUNCH, "resume", "run", "--stop.env_steps", "2000", "--checkpoint.every_seconds", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_FILES, SMALL_FILES)),
    )
    assert ended.returncode == 7, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: a checkpoint could not be written (path=run/checkpoints): File too large. ")
    assert "ulimit -f" in line
    assert load_newest(tmp_path / "run" / "checkpoints").step == before
    assert summary(tmp_path / "run")["status"] == "failed"
    assert not [path for path in (tmp_path / "run" / "checkpoints").iterdir() if ".tmp-" in path.name]
