"""distributed_kd/storage/checkpoints.py: damaged and crafted files, a crash at every stage of a save, a full disk."""

import builtins
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from distributed_kd.errors import CheckpointError, StorageError
from distributed_kd.storage import checkpoints, files
from distributed_kd.storage.checkpoints import load_newest, newest_step, save

FILES = ("learner.json", "learner.safetensors", "replay.json", "replay.safetensors", "manifest.json")


def parts(step: int) -> dict:
    return {
        "learner": {"weights": np.full((8, 8), step, np.float32), "updates": step},
        "replay": {"action": np.arange(step), "rng": {"state": 2**100 + step}},
    }


def saved(folder: Path, *steps: int) -> Path:
    for step in steps:
        save(folder, step, parts(step), {"policies": ["teacher"]}, 3)
    return folder


def assert_is(folder: Path, step: int, *skipped: str) -> None:
    """The newest whole checkpoint is that of `step`, complete, and `skipped` are the beginnings of the lines on others."""
    loaded = load_newest(folder)
    assert loaded.step == step
    expected = parts(step)
    np.testing.assert_array_equal(loaded.parts["learner"]["weights"], expected["learner"]["weights"])
    np.testing.assert_array_equal(loaded.parts["replay"]["action"], expected["replay"]["action"])
    assert loaded.parts["learner"]["updates"] == step
    assert loaded.parts["replay"]["rng"] == expected["replay"]["rng"]
    assert len(loaded.skipped) == len(skipped)
    assert all(line.startswith(start) for line, start in zip(loaded.skipped, skipped, strict=True))


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_named_and_the_checkpoint_before_used(tmp_path: Path, file: str, share: float):
    path = saved(tmp_path, 100, 200) / "step-200" / file
    os.truncate(path, min(int(path.stat().st_size * share), path.stat().st_size - 1))
    assert_is(tmp_path, 100, f"step-200: {file}: ")
    assert newest_step(tmp_path) == 200


@pytest.mark.parametrize("file", FILES)
def test_any_flipped_bit_is_found(tmp_path: Path, file: str):
    path = saved(tmp_path, 100, 200) / "step-200" / file
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        assert_is(tmp_path, 100, f"step-200: {file}: ")
    path.write_bytes(whole)
    assert_is(tmp_path, 200)


def test_a_flip_is_told_as_a_hash_that_differs(tmp_path: Path):
    path = saved(tmp_path, 100, 200) / "step-200" / "learner.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert load_newest(tmp_path).skipped == ["step-200: learner.safetensors: sha256 differs"]


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_missing_or_no_file_is_named(tmp_path: Path, file: str):
    path = saved(tmp_path, 100, 200) / "step-200" / file
    path.unlink()
    assert_is(tmp_path, 100, f"step-200: {file}: No such file")
    os.mkfifo(path)
    assert_is(tmp_path, 100, f"step-200: {file}: it is no regular file")


def test_with_none_whole_every_candidate_is_named(tmp_path: Path):
    saved(tmp_path, 100, 200)
    (tmp_path / "step-200" / "manifest.json").unlink()
    (tmp_path / "step-100" / "replay.json").write_text("{}")
    (tmp_path / "step-300").write_text("a file")
    with pytest.raises(CheckpointError) as error:
        load_newest(tmp_path)
    lines = error.value.lines
    assert len(lines) == 4
    assert "none of the 3" in lines[0]
    assert lines[1] == "step-300: manifest.json: Not a directory"
    assert lines[2] == "step-200: manifest.json: No such file or directory"
    assert lines[3].startswith("step-100: replay.json: 2 bytes, not ")


def test_a_damaged_latest_costs_nothing(tmp_path: Path):
    saved(tmp_path, 100, 200)
    (tmp_path / "LATEST").write_bytes(b"\xff../../etc")
    assert_is(tmp_path, 200)
    saved(tmp_path, 300)
    assert (tmp_path / "LATEST").read_text() == "step-300\n"


def test_a_step_reached_again_after_damage_is_saved_beside_it(tmp_path: Path):
    saved(tmp_path, 100, 200)
    (tmp_path / "step-200" / "learner.json").write_text("{}")
    saved(tmp_path, 200)
    assert_is(tmp_path, 200)
    assert load_newest(tmp_path).path.name == "step-200-2"


class Crafted:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def resealed(manifest: dict) -> bytes:
    return checkpoints._seal({key: value for key, value in manifest.items() if key != "manifest_sha256"})


@pytest.mark.parametrize("file", [*FILES, "extra.pt", "LATEST"])
@pytest.mark.parametrize("hashed", [False, True], ids=["as it is", "with its hash in the manifest"])
def test_a_crafted_pickle_in_any_slot_has_no_effect(tmp_path: Path, file: str, hashed: bool):
    folder = saved(tmp_path / "checkpoints", 100, 200)
    mark = tmp_path / "mark"
    attack = pickle.dumps(Crafted(mark))
    slot = folder / file if file == "LATEST" else folder / "step-200" / file
    slot.write_bytes(attack)
    if hashed and file in FILES[:-1]:
        manifest = json.loads((folder / "step-200" / "manifest.json").read_text())
        manifest["files"][file] = {"bytes": len(attack), "sha256": hashlib.sha256(attack).hexdigest()}
        (folder / "step-200" / "manifest.json").write_bytes(resealed(manifest))
    if file in FILES:
        assert_is(folder, 100, f"step-200: {file}: ")
        shutil.rmtree(folder / "step-100")
        with pytest.raises(CheckpointError, match=f"step-200: {file}: "):
            load_newest(folder)
    else:
        assert_is(folder, 200)
    assert not mark.exists()
    pickle.loads(attack)  # the attack is a real one
    assert mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"step": 100},
        {"parts": ["learner"]},
        {"parts": None},
        {"parts": [["learner"]], "files": {"['learner'].json": 1, "['learner'].safetensors": 1}},
        {"parts": ["../x"], "files": {"../x.json": {}, "../x.safetensors": {}}},
        {"files": {}},
        {"files": None},
        {"files": dict.fromkeys(FILES[:-1], 3)},
        {"about": None},
    ],
)
def test_a_manifest_that_others_made_is_skipped(tmp_path: Path, change: dict):
    path = saved(tmp_path, 100, 200) / "step-200" / "manifest.json"
    path.write_bytes(resealed(json.loads(path.read_text()) | change))
    assert_is(tmp_path, 100, "step-200: manifest.json: ")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("learner.json", b'{"weights": {"__array__": "/other"}}'),
        ("learner.json", b'{"weights": {"__array__": [1]}}'),
        ("learner.json", b"[1]"),
        ("learner.json", b"[" * 100_000),
        ("learner.json", b'{"a": 1' + b"0" * 5000 + b"}"),
        # a header that claims 2**60 floats in a file of a few bytes: refused before anything is allocated
        (
            "learner.safetensors",
            b'{"/w":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4611686018427387904]}}',
        ),
        ("learner.safetensors", b'{"/w":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}    '),
    ],
)
def test_a_part_that_others_made_is_skipped(tmp_path: Path, file: str, content: bytes):
    folder = saved(tmp_path, 100, 200) / "step-200"
    if file.endswith("safetensors"):
        content = len(content).to_bytes(8, "little") + content
    (folder / file).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_bytes(resealed(manifest))
    assert_is(tmp_path, 100, f"step-200: {file}: ")


class Stop(BaseException):
    """Stands for Ctrl-C, or for the end of the process: nothing may catch it."""


class FailingDisk:
    """Counts every step of a save that touches the disk, and raises at the k-th; a write gets half its bytes through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, k: int, error: BaseException):
        self.left, self.error = k, error
        for module, name in ((os, "fsync"), (os, "replace"), (os, "mkdir"), (os, "open")):
            monkeypatch.setattr(module, name, self.counted(getattr(module, name)))
        monkeypatch.setattr(files, "open", self.open, raising=False)

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error

    def counted(self, function):
        def call(*arguments, **options):
            self.tick()
            return function(*arguments, **options)

        return call

    def open(self, *arguments, **options):
        self.tick()
        file = builtins.open(*arguments, **options)
        write = file.write
        disk = self

        class Wrapped:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                file.close()

            def __getattr__(self, name):
                return getattr(file, name)

            def write(self, data):
                try:
                    disk.tick()
                except BaseException:
                    write(data[: len(data) // 2])
                    raise
                return write(data)

        return Wrapped()


@pytest.mark.parametrize("cleanup", [True, False], ids=["tidied", "killed"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), Stop()], ids=repr)
def test_a_crash_at_any_stage_leaves_the_one_before_or_the_new_one(tmp_path: Path, error: BaseException, cleanup: bool):
    k, passed, seen = 0, False, set()
    while not passed:
        k += 1
        folder = saved(tmp_path / str(k), 100)
        with pytest.MonkeyPatch.context() as monkeypatch:
            if not cleanup:  # as after kill -9: nothing runs any more
                monkeypatch.setattr(checkpoints.shutil, "rmtree", lambda *_, **__: None)
                monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
            FailingDisk(monkeypatch, k, error)
            try:
                saved(folder, 200)
                passed = True
            except (StorageError, KeyboardInterrupt, Stop) as raised:
                if isinstance(error, OSError):
                    assert isinstance(raised, StorageError)
                    assert "No space left on device" in str(raised)
                else:
                    assert raised is error
        step = load_newest(folder).step
        seen.add(step)
        assert_is(folder, step)
        assert step == 200 or not passed
        if cleanup:
            assert not [path for path in folder.iterdir() if ".tmp-" in path.name]
        saved(folder, 300)
        assert_is(folder, 300)
        assert not [path for path in folder.iterdir() if ".tmp-" in path.name]
    assert seen == {100, 200}
    assert k > 25  # 5 files opened, written and synced, the folders, LATEST


def test_an_old_checkpoint_that_stays_does_not_end_the_run(tmp_path: Path, monkeypatch, caplog):
    saved(tmp_path, 100)
    replace = os.replace

    def stubborn(source, target):
        if Path(source).name == "step-100":
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", stubborn)
    save(tmp_path, 200, parts(200), {}, 1)
    assert "an old checkpoint could not be removed" in caplog.text
    monkeypatch.undo()
    save(tmp_path, 300, parts(300), {}, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", "step-300"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from distributed_kd.errors import StorageError
from distributed_kd.storage.checkpoints import save

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save(Path(sys.argv[1]), 200, {"learner": {"weights": np.ones(1_000_000)}}, {}, 3)
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_full_disk_is_one_line_and_costs_no_checkpoint(tmp_path: Path):
    folder = saved(tmp_path / "checkpoints", 100)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    run = subprocess.run([sys.executable, "-c", FULL_DISK, folder], capture_output=True, text=True, timeout=60)
    assert run.returncode == 7, run.stderr
    assert run.stderr == ""
    assert run.stdout.count("\n") == 1
    assert run.stdout.startswith(f"a checkpoint could not be written (path={folder}): File too large. ")
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    assert_is(folder, 100)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_device_without_space_is_a_storage_error(tmp_path: Path, monkeypatch):
    folder = saved(tmp_path, 100)
    monkeypatch.setattr(files, "open", lambda *_: builtins.open("/dev/full", "wb"), raising=False)
    with pytest.raises(StorageError, match="No space left on device. Free some space"):
        saved(folder, 200)
    assert_is(folder, 100)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a checkpoint could not be written"):
        saved(tmp_path / "file" / "checkpoints", 1)
