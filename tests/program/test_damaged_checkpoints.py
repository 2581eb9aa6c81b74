"""Damage to a run's newest checkpoint, and a disk that is full: what `resume` says, and what it goes on from."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import DEADLINE, LAUNCH, launch, summary
from test_inline_runs import EVERYTHING, config_of, files, go_on, start

from distributed_kd.cli import main
from distributed_kd.storage.checkpoints import load_newest

pytestmark = pytest.mark.timeout(120)

PARTS = ("journal", "learner", "replay", "rollouts")
FILES = (*(f"{part}.{ending}" for part in PARTS for ending in ("json", "safetensors")), "manifest.json")
DAMAGES = ("0 %", "10 %", "50 %", "99.9 %", "one bit")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that was stopped half way and went on to its end, and so has two checkpoints."""
    path = tmp_path_factory.mktemp("whole") / "run"
    assert start(path, config_of(), stop_after=16)[1] == 75
    assert go_on(path, config_of())[1] == 0
    return path


def damage(file: Path, how: str) -> str:
    """Cut a file, or flip a bit in its middle; gives what is to be said of it."""
    size = file.stat().st_size
    if how == "one bit":
        content = bytearray(file.read_bytes())
        content[size // 2] ^= 1
        file.write_bytes(content)
        return "it is no manifest, or sha256 differs" if file.name == "manifest.json" else "sha256 differs"
    left = min(int(size * float(how.removesuffix(" %")) / 100), size - 1)
    os.truncate(file, left)
    return "it is no manifest" if file.name == "manifest.json" else f"{left} bytes, not {size}"


def damaged(whole: Path, folder: Path, file: str, how: str) -> tuple[Path, str]:
    """A copy of the run with its newest checkpoint damaged: the one before, and what is said of the newest."""
    shutil.copytree(whole, folder)
    before, newest = sorted((folder / "checkpoints").glob("step-*"), key=lambda path: int(path.name.split("-")[1]))
    why = damage(newest / file, how)
    return before, f"warning: a damaged checkpoint was passed over: {newest.name}: {file}: {why}\n"


@pytest.mark.parametrize(("file", "how"), [("replay.safetensors", "50 %"), ("learner.safetensors", "one bit")])
def test_a_run_goes_on_from_the_one_before_to_the_same_end(file, how, whole, tmp_path):
    """What was lost is learned again, to the bit."""
    before, warning = damaged(whole, tmp_path / "run", file, how)
    ended = launch("resume", "run", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, warning)
    assert f"resuming from run/checkpoints/{before.name}\n" in ended.stdout
    assert files(tmp_path / "run", *EVERYTHING) == files(whole, *EVERYTHING)


@pytest.mark.slow
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_every_file_and_every_damage(file, how, whole, tmp_path, capsys):
    before, warning = damaged(whole, tmp_path / "run", file, how)
    assert main(["resume", str(tmp_path / "run"), "--stop.updates", "1"]) == 0
    told = capsys.readouterr()
    assert f"resuming from {before}\n" in told.out
    if file == "manifest.json" and how == "one bit":
        start, _, reasons = warning.removesuffix("\n").rpartition(": ")
        assert told.err.removesuffix("\n") in {f"{start}: {reason}" for reason in reasons.split(", or ")}
    else:
        assert told.err == warning


def test_a_full_disk_is_code_7_and_the_run_goes_on_once_there_is_room(whole, tmp_path):
    """A bound on the size of files lets metrics be written, and no checkpoint."""
    shutil.copytree(whole, tmp_path / "run")
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    words = [sys.executable, str(LAUNCH), "resume", "run", "--stop.env_steps", "1600"]
    ended = subprocess.run(
        ["bash", "-c", f"ulimit -f 20; exec {shlex.join(words)}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert ended.returncode == 7, ended.stderr
    (line,) = ended.stderr.splitlines()
    why = "File too large. Raise the limit on the size of files (ulimit -f), or give another --out"
    assert line == f"error: a checkpoint could not be written (path=run/checkpoints): {why}"
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == names
    assert load_newest(tmp_path / "run" / "checkpoints").step == summary(whole)["updates"]
    assert summary(tmp_path / "run")["status"] == "failed"

    ended = launch("resume", "run", cwd=tmp_path)  # its run file has the new bound by now
    assert (ended.returncode, ended.stderr) == (0, "")
    assert summary(tmp_path / "run")["env_steps"] >= 1_600
