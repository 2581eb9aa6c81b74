"""A run's folder that somebody else could write into: no file of it runs code, and nothing of a run is open to others."""

import os
import pickle
import shutil
import stat
from pathlib import Path

import pytest
from launching import Started, launch, run_file, summary

from distributed_kd.cli import main

pytestmark = pytest.mark.timeout(150)
STEADY = ["--evaluation.every_seconds", 0, "--checkpoint.every_seconds", 0]
NEVER_READ = ("summary.json", "commands.txt", "lock", "checkpoints/LATEST")
PARTS = ("journal", "learner", "replay", "rollouts")
REFUSED = ["manifest.json", *(f"{part}.{ending}" for part in PARTS for ending in ("json", "safetensors"))]


class Crafted:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.fixture(scope="module")
def over(tmp_path_factory) -> Path:
    """A run that is over, with one checkpoint; made where files are open to everyone unless somebody sees to it."""
    place = tmp_path_factory.mktemp("over")
    words = ["train", run_file(place, 400), "--runner", "inline", "--out", "run", "--checkpoint.keep", 1, *STEADY]
    before = os.umask(0)
    try:
        ended = launch(*words, cwd=place)
    finally:
        os.umask(before)
    assert (ended.returncode, ended.stderr) == (0, "")
    return place / "run"


@pytest.fixture
def attacked(over, tmp_path):
    """Puts a crafted pickle into a slot of a copy of that run, and gives that copy; in the end nothing came of it."""
    run, mark = tmp_path / "run", tmp_path / "mark"
    shutil.copytree(over, run)
    attack = pickle.dumps(Crafted(mark))

    def put(slot: Path) -> Path:
        assert slot.is_file(), "a slot of a run"
        slot.write_bytes(attack)
        return run

    yield put
    assert not mark.exists()
    pickle.loads(attack)  # the attack is a real one
    assert mark.exists()


def commands(run: Path) -> list[list[str]]:
    return [
        ["resume", str(run)],
        ["evaluate", str(run), "--policy", "tiny", "--episodes", "2"],
        ["dataset", str(run), "--states", "10", "--out", str(run.parent / "states.npz")],
    ]


@pytest.mark.parametrize("slot", ["config.toml", *(f"checkpoints/STEP/{name}" for name in REFUSED)])
def test_a_crafted_pickle_in_a_slot_that_is_read_is_refused(slot, over, attacked, tmp_path, capsys):
    (step,) = (over / "checkpoints").glob("step-*")
    run = attacked(tmp_path / "run" / slot.replace("STEP", step.name))
    for words in commands(run):
        assert main(words) == (2 if slot == "config.toml" else 4)
        told = capsys.readouterr().err
        assert "Traceback" not in told and all(line.startswith("error: ") for line in told.splitlines())
        assert slot.rpartition("/")[2] in told, "the file is named"
        assert all(line.isprintable() for line in told.splitlines())


@pytest.mark.parametrize("slot", [*NEVER_READ, "tb"])
def test_a_crafted_pickle_in_a_slot_that_is_never_read_changes_nothing(slot, over, attacked, tmp_path, capsys):
    (events,) = (over / "tb").iterdir()
    run = attacked(tmp_path / "run" / (f"tb/{events.name}" if slot == "tb" else slot))
    for words in commands(run):
        assert main(words) == 0
    assert capsys.readouterr().err == ""
    assert summary(run)["status"] == "finished"


def test_crafted_metrics_are_refused_where_a_run_is_told_of(attacked, tmp_path, capsys):
    run = attacked(tmp_path / "run" / "metrics.jsonl")
    assert main(["resume", str(run)]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the metrics cannot be read (path=") and line.isprintable()
    assert summary(run)["status"] == "finished", "the run itself is well"


def test_a_run_is_nobody_elses_to_write(over):
    others = stat.S_IWGRP | stat.S_IWOTH
    for path in [over, *over.rglob("*")]:
        assert not path.stat().st_mode & others, path


def test_a_ray_of_ones_own_has_a_token_and_leaves_none_at_home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with Started("train", run_file(tmp_path, 10**9), "--out", "run", cwd=tmp_path) as run:
        run.until_checkpoint(tmp_path / "run")
        workers = [pid for pid, command in run.family().items() if "raylet" in command or command.startswith("ray::")]
        assert workers
        tokens = {token_of(pid) for pid in workers}
        assert len(tokens) == 1 and len(tokens.pop()) == 64
        assert not list(home.rglob(".ray")) and not [path for path in home.rglob("*") if "token" in path.name]


def token_of(pid: int) -> str:
    """What a process was given in RAY_AUTH_TOKEN."""
    given = dict(line.partition("=")[::2] for line in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0"))
    return given.get("RAY_AUTH_TOKEN", "")
