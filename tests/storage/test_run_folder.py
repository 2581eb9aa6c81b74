"""distributed_kd/storage/run_folder.py: names, what create refuses, the lock between real processes, the summary."""

import json
import math
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from distributed_kd.errors import CheckpointError, ConfigurationError, StorageError
from distributed_kd.storage.run_folder import RunFolder, default_name, unused

HOLDER = """
import sys
from pathlib import Path
from distributed_kd.storage.run_folder import RunFolder

folder = RunFolder.open(Path(sys.argv[1])).lock()
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder():
    """A second driver in a process of its own, which ends with the test."""
    processes = []

    def start(path: Path) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "locked\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate(timeout=30)


def test_names_say_environment_source_seed_and_utc_time():
    # 2026-11-21 02:30:00 UTC is 1_795_228_200 seconds after 1970
    assert default_name("CartPole-v1", "cartpole", 3, 1_795_228_200.9) == "CartPole-v1__cartpole__s3__20261121T023000Z"
    odd = default_name("ALE/Pong v5:ä", "../my\nrun", 0, 0)
    assert odd == "ALE-Pong-v5-----..-my-run__s0__19700101T000000Z".replace("-----", "--__")
    assert len(default_name("x" * 300, "y" * 300, 0, 0)) < 200


def test_two_runs_in_one_second_get_a_folder_each(tmp_path: Path):
    path = tmp_path / "runs" / default_name("CartPole-v1", "cartpole", 0, 0)
    first = RunFolder.create(unused(path), "seed = 0\n")
    second = RunFolder.create(unused(path), "seed = 1\n")
    third = RunFolder.create(unused(path), "seed = 2\n")
    assert [folder.path.name for folder in (first, second, third)] == [path.name, f"{path.name}-2", f"{path.name}-3"]
    assert [folder.config_file.read_text() for folder in (first, second, third)] == [
        "seed = 0\n",
        "seed = 1\n",
        "seed = 2\n",
    ]


def test_unused_never_gives_one_folder_twice(tmp_path: Path):
    with ThreadPoolExecutor(16) as pool:
        paths = list(pool.map(lambda _: unused(tmp_path / "run"), range(64)))
    assert len(set(paths)) == 64


def test_of_many_that_create_one_folder_one_gets_it(tmp_path: Path):
    def create(seed: int) -> bool:
        try:
            RunFolder.create(tmp_path / "run", f"seed = {seed}\n")
        except ConfigurationError:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(create, range(32))) == 1


def test_a_folder_that_holds_anything_is_refused_and_left_alone(tmp_path: Path):
    path = tmp_path / "run"
    RunFolder.create(path, "seed = 0\n")
    with pytest.raises(ConfigurationError) as error:
        RunFolder.create(path, "seed = 1\n")
    assert error.value.exit_code == 2
    assert str(error.value) == (
        f"the folder is in use (out={path}): it holds a run already. "
        f'Go on with "python launch.py resume {path}", or give another --out'
    )
    assert (path / "config.toml").read_text() == "seed = 0\n"
    (tmp_path / "file").write_text("text")
    with pytest.raises(ConfigurationError, match="a file is in its place"):
        RunFolder.create(tmp_path / "file", "")


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path):
    (tmp_path / "file").write_text("text")
    for act in (lambda path: RunFolder.create(path, ""), unused):
        with pytest.raises(
            StorageError,
            match=r"could not be made \(path=.*file/run\): (Not a directory|a file is in the place of a folder)\. ",
        ) as error:
            act(tmp_path / "file" / "run")
        assert error.value.exit_code == 7
    with pytest.raises(StorageError, match="could not be made"):
        RunFolder.create(Path("/proc/run"), "")


def test_open_needs_the_folder_of_a_run_and_changes_nothing(tmp_path: Path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigurationError, match=f"path={path}"):
            RunFolder.open(path)
    RunFolder.create(tmp_path / "run", "seed = 0\n")
    before = sorted(tmp_path.rglob("*"))
    folder = RunFolder.open(tmp_path / "run")
    assert folder.config_file.read_text() == "seed = 0\n"
    assert sorted(tmp_path.rglob("*")) == before
    folder.write_config("seed = 5\n")
    assert RunFolder.open(tmp_path / "run").config_file.read_text() == "seed = 5\n"


def test_everything_has_its_place(tmp_path: Path):
    folder = RunFolder.create(tmp_path / "run", "")
    named = {
        "config.toml": folder.config_file,
        "metrics.jsonl": folder.metrics_file,
        "tb": folder.tb,
        "checkpoints": folder.checkpoints,
        "summary.json": folder.summary_file,
        "commands.txt": folder.commands_file,
        "teachers": folder.teachers,
        "lock": folder.lock_file,
    }
    assert {name: path.name for name, path in named.items()} == {name: name for name in named}
    assert {path.parent for path in named.values()} == {folder.path}
    # What no one has asked for yet is not there.
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoints", "config.toml"]


def test_command_lines_are_noted_one_below_the_other(tmp_path: Path):
    folder = RunFolder.create(tmp_path / "run", "")
    folder.note_command(["train", "my file.toml", "--seed", "3"])
    RunFolder.open(folder.path).note_command(["resume", "run", "--stop.env_steps", "2000"])
    # As a shell takes them again: a blank inside of a word is quoted.
    assert folder.commands_file.read_text() == (
        "python launch.py train 'my file.toml' --seed 3\npython launch.py resume run --stop.env_steps 2000\n"
    )


@pytest.mark.parametrize("word", ["a\nb", "a\r\nb", "a\x1b[2Jb", "a\u2028b"])
def test_a_command_line_stays_one_line_and_cannot_move_the_cursor(tmp_path: Path, word: str):
    folder = RunFolder.create(tmp_path / "run", "")
    folder.note_command(["train", word])
    text = folder.commands_file.read_text()
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


def test_a_command_that_cannot_be_noted_is_a_storage_error(tmp_path: Path):
    folder = RunFolder.create(tmp_path / "run", "")
    folder.commands_file.mkdir()
    with pytest.raises(StorageError, match=r"the command could not be noted \(path=.*commands.txt\)"):
        folder.note_command(["train"])


def test_a_second_driver_is_refused_with_the_name_of_the_first(tmp_path: Path, holder):
    path = RunFolder.create(tmp_path / "run", "").path
    process = holder(path)
    with pytest.raises(ConfigurationError) as error:
        RunFolder.open(path).lock()
    host = json.loads((path / "lock").read_text())["host"]
    assert f"process {process.pid} on {host}" in str(error.value)
    assert len(error.value.lines) == 1
    assert RunFolder.open(path).config_file.read_text() == ""  # reading needs no lock


def test_the_lock_dies_with_its_process(tmp_path: Path, holder):
    path = RunFolder.create(tmp_path / "run", "").path
    process = holder(path)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    with RunFolder.open(path).lock():
        assert json.loads((path / "lock").read_text())["pid"] == os.getpid()


def test_close_frees_the_lock(tmp_path: Path):
    path = RunFolder.create(tmp_path / "run", "").path
    with RunFolder.open(path).lock() as first:
        assert first.lock() is first  # taking it twice is taking it once
        with pytest.raises(ConfigurationError, match=f"process {os.getpid()} on"):
            RunFolder.open(path).lock()
    with RunFolder.open(path).lock() as second:
        first.close()
        with pytest.raises(ConfigurationError):
            RunFolder.open(path).lock()
    second.close()


def test_a_lock_that_says_nothing_is_still_a_lock(tmp_path: Path, holder):
    path = RunFolder.create(tmp_path / "run", "").path
    holder(path)
    for content in (b"", b"\x80\x04", b"[]", b'{"pid": 1}'):
        (path / "lock").write_bytes(content)
        with pytest.raises(ConfigurationError, match="another process is running in it"):
            RunFolder.open(path).lock()


def test_the_summary_is_strict_json_and_comes_back(tmp_path: Path):
    folder = RunFolder.create(tmp_path / "run", "")
    assert folder.read_summary() is None
    folder.write_summary({"old": True})
    folder.write_summary({"a": math.nan, "b": [math.inf, 1.5, np.float64(2)], "c": {"d": -math.inf, "e": "x\x1b[31m"}})

    def refuse(word: str):
        raise AssertionError(f"{word} is not JSON")

    text = folder.summary_file.read_text()
    assert json.loads(text, parse_constant=refuse) == folder.read_summary()
    assert folder.read_summary() == {"a": None, "b": [None, 1.5, 2.0], "c": {"d": None, "e": "x[31m"}}
    assert text.startswith('{\n  "a": null')
    assert not list(folder.path.glob("*.tmp-*"))


def test_a_summary_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch):
    folder = RunFolder.create(tmp_path / "run", "")
    folder.write_summary({"status": "running"})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match="the summary could not be written"):
        folder.write_summary({"status": "finished"})
    assert folder.read_summary() == {"status": "running"}
    assert not list(folder.path.glob("*.tmp-*"))


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, pickle.dumps(print)])
def test_a_damaged_summary_is_one_clear_line(tmp_path: Path, content: bytes):
    folder = RunFolder.create(tmp_path / "run", "")
    folder.summary_file.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        folder.read_summary()
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)
    assert str(folder.summary_file) in str(error.value)
