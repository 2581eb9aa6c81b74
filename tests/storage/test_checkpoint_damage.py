"""distributed_kd/storage/checkpoints.py: damaged files, and files that somebody made to look right."""

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from checkpoint_samples import assert_is, saved

from distributed_kd.errors import CheckpointError
from distributed_kd.storage import checkpoints
from distributed_kd.storage.checkpoints import load_newest

FILES = ("learner.json", "learner.safetensors", "replay.json", "replay.safetensors", "manifest.json")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_named_and_the_checkpoint_before_used(tmp_path: Path, file: str, share: float):
    path = saved(tmp_path, 100, 200) / "step-200" / file
    os.truncate(path, min(int(path.stat().st_size * share), path.stat().st_size - 1))
    assert_is(tmp_path, 100, f"step-200: {file}: ")


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
        {"schema": 1},
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
