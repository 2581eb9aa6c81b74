"""A run that joins a Ray cluster of two nodes instead of starting its own."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import DEADLINE, launch, run_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # Both sides need the token before Ray is imported, as on a real cluster.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    script = Path(__file__).with_name("two_nodes.py")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as cluster:
        lines = iter(cluster.stdout.readline, "")
        yield next(line.strip() for line in lines if line[:1].isdigit())
        cluster.stdin.close()
        cluster.wait(DEADLINE)


def test_a_run_joins_a_cluster_and_leaves_it_as_it_was(tmp_path: Path, address: str):
    file = run_file(tmp_path, env_steps=2_000)

    told = launch("doctor", "--address", address, cwd=tmp_path, seconds=120)
    first = launch("train", file, "--address", address, "--out", "first", cwd=tmp_path, seconds=120)
    # All CPUs are free again after the first run, or the second would find none.
    second = launch("train", file, "--address", address, "--out", "second", cwd=tmp_path, seconds=120)

    assert "3 CPU" in told.stdout, told.stdout + told.stderr
    for run, folder in ((first, "first"), (second, "second")):
        assert run.returncode == 0, run.stderr
        summary = json.loads((tmp_path / folder / "summary.json").read_text())
        assert summary["status"] == "finished"
        assert summary["accounting"]["generated"] == summary["accounting"]["accepted"] >= 2_000
        assert summary["invariants"]["I9"] == 0


def test_a_cluster_that_is_too_small_is_told_with_the_flag_that_mends_it(tmp_path: Path, address: str):
    words = ["train", run_file(tmp_path, env_steps=1_000), "--address", address, "--out", "run", "--rollouts.actors"]
    run = launch(*words, 9, cwd=tmp_path, seconds=120)

    assert run.returncode == 5
    assert "need" in run.stderr and "--rollouts.actors to 6" in run.stderr
    assert launch(*words, 1, cwd=tmp_path, seconds=120).returncode == 0, "the same words, mended as it says"


def test_a_wrong_token_is_told(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))

    run = launch("train", run_file(tmp_path), "--address", address, "--out", "run", cwd=tmp_path, seconds=120)

    assert run.returncode == 6
    assert not (tmp_path / "run").exists()
    assert "Traceback" not in run.stderr
    # Ray itself tells of every attempt before it gives up.
    last = run.stderr.splitlines()[-1]
    assert last.startswith(f"error: Ray could not be joined (address={address}): ")
    assert "with the same token (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH)" in last
