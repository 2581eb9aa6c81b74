"""Real signals to real runs on Ray: what they end with, what they leave, and that they go on from there.

Each run here starts Ray, which takes its time, so each is made to show more than one thing.
"""

import os
import signal
from pathlib import Path

import pytest
from launching import (
    DEADLINE,
    Started,
    assert_accounts_add_up,
    assert_nothing_is_lost,
    launch,
    metrics,
    never_fall,
    run_file,
    summary,
    wait_for,
)

from distributed_kd.cli import main
from distributed_kd.leftovers import MARK

pytestmark = pytest.mark.timeout(300)
ENDLESS, SEGMENT = 1_000_000_000, 64


def assert_nobody_is_left(run: Started, seconds: float = DEADLINE) -> None:
    wait_for(lambda: not run.left(), "every process of the run is gone", seconds)


def until_ray_is_there(run: Started) -> None:
    """Or nothing is shown by nobody being left. One that failed on a busy machine may be about to come again."""
    for name in ("raylet", "gcs_server", "RolloutActor", "LearnerActor", "ReplayActor"):
        run.until(lambda name=name: name in " ".join(run.family().values()), f"{name} is there")


def assert_the_watcher_finds_them(run: Started) -> None:
    """Ray's agents too, by what they inherited: a title that a process gives itself may lie over that."""
    for pid, command in run.family().items():
        if "Agent" in command or "Actor" in command:
            assert MARK.encode() in Path(f"/proc/{pid}/environ").read_bytes(), command


def stopped(run: Started, folder, number: signal.Signals, group: bool = False) -> int:
    """Let a run commit a checkpoint, send it a signal, and give its exit code; nobody of it is left then."""
    run.until_checkpoint(folder)
    until_ray_is_there(run)
    run.signal(number, group)
    code = run.ended()
    assert_nobody_is_left(run)
    return code


def assert_stopped_well(folder, status: str) -> dict:
    told = summary(folder)
    assert told["status"] == status
    assert_nothing_is_lost(told, batch_size=32)
    # The last thing it did was to commit all that it had learned.
    assert (folder / "checkpoints" / "LATEST").read_text().strip().startswith(f"step-{told['updates']}")
    return told


def assert_went_on(before: dict, told: dict) -> None:
    for key in ("env_steps", "updates", "wall_seconds"):
        assert told[key] > before[key]
    assert told["replay"]["inserted"] > before["replay"]["inserted"]
    assert told["replay"]["evicted"] > before["replay"]["evicted"]
    assert_nothing_is_lost(told, batch_size=32)
    assert told["replay"]["samples_per_insert"] == pytest.approx(4.0, rel=0.01)
    assert told["accounting"]["unknown"] == before["accounting"]["unknown"]


def newest(folder) -> tuple[int, str]:
    """The updates and the name of the newest checkpoint; one saved twice is called step-N-2."""
    name = (folder / "checkpoints" / "LATEST").read_text().strip()
    return int(name.split("-")[1]), name


def test_a_run_goes_on_however_it_was_stopped(tmp_path):
    """Preempted, broken by a rollout that was killed and may not be, interrupted, and done: four drivers, one run."""
    folder = tmp_path / "run"
    with Started("train", run_file(tmp_path, ENDLESS), "--out", "run", cwd=tmp_path) as run:
        assert stopped(run, folder, signal.SIGTERM) == 75
        assert run.err == ""
        assert run.out.splitlines()[-2:] == ["go on     python launch.py resume run", "run       run"]
    preempted = assert_stopped_well(folder, "preempted")

    updates, name = newest(folder)
    with Started("resume", "run", "--supervision.restarts", 0, cwd=tmp_path) as run:
        run.until(lambda: newest(folder)[0] > updates, "it went on and saved that")
        assert f"resuming from run/checkpoints/{name}" in run.out
        victim = next(pid for pid, command in run.family().items() if "RolloutActor" in command)
        os.kill(victim, signal.SIGKILL)
        assert run.ended() == 9
        (line,) = run.err.splitlines()
        assert line.startswith("error: too much has failed (supervision.restarts=0): rollout ")
        assert " died (ActorDiedError): " in line
        assert "resume" in line
        assert_nobody_is_left(run)
    failed = summary(folder)
    assert failed["status"] == "failed"
    assert 0 < failed["accounting"]["unknown"] <= 2 * SEGMENT, "two calls at most were under way at the one that was killed"
    assert failed["updates"] > preempted["updates"]

    updates, name = newest(folder)
    with Started("resume", "run", cwd=tmp_path) as run:
        run.until(lambda: newest(folder)[0] > updates, "it went on and saved that")
        # A terminal sends SIGINT to the whole group: Ray's processes must not die of it before the checkpoint stands.
        assert stopped(run, folder, signal.SIGINT, group=True) == 130
        assert run.err == ""
    interrupted = assert_stopped_well(folder, "interrupted")
    assert interrupted["updates"] > updates > preempted["updates"]

    lines = len(metrics(folder))
    updates = interrupted["updates"] + 1_000
    ended = launch("resume", "run", "--stop.updates", updates, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    done = summary(folder)
    assert (done["status"], done["updates"]) == ("finished", updates)
    assert_went_on(interrupted, done)
    assert never_fall(metrics(folder)[lines - 1 :], "time", "env_steps", "updates")
    assert never_fall(metrics(folder), "time")


def test_a_second_driver_is_refused_and_a_second_signal_ends_at_once(tmp_path, capsys):
    folder = tmp_path / "run"
    with Started("train", run_file(tmp_path, ENDLESS), "--out", "run", cwd=tmp_path) as run:
        run.until_checkpoint(folder)
        assert main(["resume", str(folder), "--stop.updates", "1"]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"error: the folder is in use (path={folder}): process {run.pid} on ")
        assert told.endswith(". Wait for its end, or stop it\n")
        assert told.count("\n") == 1
        until_ray_is_there(run)
        assert_the_watcher_finds_them(run)
        run.signal(signal.SIGTERM)
        run.signal(signal.SIGINT)
        assert run.ended() in (75, 130)  # the kernel may hand them over in either order
        assert_nobody_is_left(run, seconds=10)
    assert "Traceback" not in run.err
    assert not (folder / "summary.json").exists(), "it took the time to come to an end in order"


@pytest.mark.slow
def test_a_killed_driver_takes_everything_with_it(tmp_path):
    folder = tmp_path / "run"
    with Started("train", run_file(tmp_path, ENDLESS), "--out", "run", cwd=tmp_path) as run:
        run.until_checkpoint(folder)
        until_ray_is_there(run)
        run.signal(signal.SIGKILL)
        assert run.ended() == -signal.SIGKILL
        assert_nobody_is_left(run, seconds=10)
    updates = newest(folder)[0] + 500
    assert launch("resume", "run", "--stop.updates", updates, cwd=tmp_path).returncode == 0
    assert_accounts_add_up(summary(folder), samples_per_insert=4.0, batch_size=32)


@pytest.mark.slow
def test_a_bound_on_time_ends_a_run_in_order(tmp_path):
    words = ["--stop.minutes", 0.5, "--out", "run"]
    ended = launch("train", run_file(tmp_path, ENDLESS), *words, cwd=tmp_path, seconds=150)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = summary(tmp_path / "run")
    assert told["status"] == "finished"
    assert told["wall_seconds"] >= 30
    assert told["updates"] > 0
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=32)
