"""A checkpoint on Ray is written while learning goes on: on a disk that is slow, and on one that is full."""

import resource
import signal
from pathlib import Path

import pytest
from launching import Started, assert_nothing_is_lost, launch, metrics, run_file, summary
from test_recovery import goes_on, kill, newest, stopped

from distributed_kd.storage.checkpoints import load_newest

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
ENDLESS = 1_000_000_000

SLOW_DISK = """
import os, time
from pathlib import Path

fsync = os.fsync

def slow(descriptor):
    file = os.readlink(f"/proc/self/fd/{descriptor}")
    if "/step-" in file and os.path.exists("HOLD"):
        Path("HELD").write_text(file)
        while os.path.exists("HOLD"):
            time.sleep(0.01)
    fsync(descriptor)

os.fsync = slow
"""


def committed(folder: Path) -> set[str]:
    return {path.name for path in (folder / "checkpoints").glob("step-*") if ".tmp-" not in path.name}


def evaluations(folder: Path) -> int:
    return len([line for line in metrics(folder) if "evaluation" in line])


def test_a_run_goes_on_while_the_disk_stands_still(tmp_path):
    """It generates, learns and evaluates; where the learner dies it goes back to the one that was being written."""
    folder, hold, held = tmp_path / "run", tmp_path / "hold", tmp_path / "held"
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK.replace("HOLD", str(hold)).replace("HELD", str(held)))
    with Started("train", run_file(tmp_path, ENDLESS), "--out", "run", cwd=tmp_path, importable=tmp_path) as run:
        run.until_checkpoint(folder)
        hold.touch()
        run.until(held.exists, "a checkpoint is being written")
        before, evaluated = committed(folder), evaluations(folder)
        goes_on(run, folder)
        run.until(lambda: evaluations(folder) > evaluated, "it evaluates")
        assert committed(folder) == before
        kill(run, "LearnerActor")
        run.until(lambda: newest(folder, "restarts").get("learner") == 1, "it was noticed")
        hold.unlink()
        run.until(lambda: newest(folder, "rollbacks").get("count") == 1, "it went back")
        written = Path(held.read_text()).parent.name.partition(".tmp-")[0]
        assert f"replay and learner go back to {written}; " in run.err
        goes_on(run, folder)
        told = stopped(run, folder)
    assert_nothing_is_lost(told, batch_size=32)
    assert told["checkpoints"]["last_step"] == told["updates"]
    lines = [line for line in metrics(folder) if "checkpoint_step" in line]
    assert told["checkpoints"]["count"] == len(lines) > 2
    assert max(line["checkpoint_seconds"] for line in lines) > 2.0, "that which was held"
    assert told["checkpoints"]["largest_stall_seconds"] == max(line["checkpoint_stall_seconds"] for line in lines)


def test_a_disk_that_becomes_full_ends_the_run_with_code_7(tmp_path):
    folder = tmp_path / "run"
    words = ["--replay.capacity", 20_000, "--evaluation.every_seconds", 0, "--out", "run"]

    def size() -> int:
        return max((file.stat().st_size for file in folder.glob("checkpoints/step-*/replay.safetensors")), default=0)

    with Started("train", run_file(tmp_path, ENDLESS), *words, cwd=tmp_path) as run:
        run.until(lambda: size() > 600_000, "a large checkpoint was committed")
        resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
        assert run.ended() == 7
    (line,) = run.err.splitlines()
    assert line.startswith("error: a checkpoint could not be written (path=run/checkpoints): File too large. ")
    kept = load_newest(folder / "checkpoints")
    assert not kept.skipped
    assert summary(folder)["status"] == "failed"
    ended = launch("resume", "run", "--stop.updates", kept.step + 500, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert summary(folder)["updates"] == kept.step + 500


def test_a_signal_waits_for_the_one_being_written_and_for_its_own(tmp_path):
    folder, hold, held = tmp_path / "run", tmp_path / "hold", tmp_path / "held"
    (tmp_path / "sitecustomize.py").write_text(SLOW_DISK.replace("HOLD", str(hold)).replace("HELD", str(held)))
    with Started("train", run_file(tmp_path, ENDLESS), "--out", "run", cwd=tmp_path, importable=tmp_path) as run:
        run.until_checkpoint(folder)
        hold.touch()
        run.until(held.exists, "a checkpoint is being written")
        written = Path(held.read_text()).parent.name.partition(".tmp-")[0]
        run.signal(signal.SIGTERM)
        hold.unlink()
        assert run.ended() == 75
        assert run.err == ""
    told = summary(folder)
    assert (folder / "checkpoints" / "LATEST").read_text().startswith(f"step-{told['updates']}")
    assert written in committed(folder)
    assert load_newest(folder / "checkpoints").step == told["updates"]
