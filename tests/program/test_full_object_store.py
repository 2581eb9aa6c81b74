"""A run on a cluster whose object store others have filled: it goes on by way of the disk, or stops in one line."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from launching import DEADLINE, Started, assert_accounts_add_up, assert_nothing_is_lost, launch, metrics, run_file, summary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
LARGE = """\
[teacher]
network.hidden = [512, 512]
[rollouts]
envs_per_actor = 64
steps_per_segment = 64
[replay]
capacity = 20_000
warmup = 4096
batch_size = 32
samples_per_insert = 0.25
"""
"""Segments and weights so large that they go through the object store"""


@contextmanager
def cluster(monkeypatch: pytest.MonkeyPatch, *words: str) -> Iterator[tuple[str, Callable[[str], int]]]:
    """Its address, and who fills it: called with `fill` or `empty`, gives the megabytes that are held."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    script = Path(__file__).with_name("filled_store.py")
    with subprocess.Popen(
        [sys.executable, script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        lines = iter(process.stdout.readline, "")

        def order(word: str) -> int:
            print(word, file=process.stdin, flush=True)
            return int(next(line.split()[1] for line in lines if line.startswith("answer")))

        try:
            yield next(line.strip() for line in lines if line[:1].isdigit()), order
        finally:
            process.stdin.close()
            process.wait(DEADLINE)


def large(folder: Path, env_steps: int) -> Path:
    path = run_file(folder, env_steps)
    kept = [table for table in path.read_text().split("\n[") if not table.startswith(("teacher", "rollouts", "replay"))]
    path.write_text("\n[".join(kept) + LARGE)
    return path


def test_with_a_disk_behind_it_a_full_store_costs_time_and_nothing_else(tmp_path, monkeypatch):
    with cluster(monkeypatch) as (address, order):
        assert order("fill") >= 60
        words = ["--address", address, "--out", "run"]
        ended = launch("train", large(tmp_path, 40_000), *words, cwd=tmp_path, seconds=250)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert_accounts_add_up(summary(tmp_path / "run"), samples_per_insert=0.25, batch_size=32)


def test_without_one_the_run_says_so_in_a_line_and_goes_on_when_there_is_room(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with cluster(monkeypatch, "no-disk") as (address, order):
        with Started("train", large(tmp_path, 10**9), "--address", address, "--out", "run", cwd=tmp_path) as run:
            run.until_checkpoint(folder)
            order("fill")
            assert run.ended() == 5, run.err
            line = run.err.splitlines()[-1]
            assert line.startswith(f"error: the object store is full, and the disk behind it too (address={address}): ")
            assert line.endswith("and resume the run")
        assert order("empty") == 0
        updates = summary(folder)["updates"] + 500
        words = ["--stop.updates", updates, "--address", address]
        ended = launch("resume", "run", *words, cwd=tmp_path, seconds=250)
        assert (ended.returncode, ended.stderr) == (0, "")
    assert summary(folder)["updates"] == updates == metrics(folder)[-1]["updates"]
    assert_nothing_is_lost(summary(folder), batch_size=32)
