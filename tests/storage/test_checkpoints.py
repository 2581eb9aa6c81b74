"""distributed_kd/storage/checkpoints.py: round trips, names, pruning. Damage and crashes are in the files beside it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distributed_kd.errors import CheckpointError
from distributed_kd.storage.checkpoints import has_some, load_newest, save
from distributed_kd.storage.state_format import decode, encode, safetensors_chunks

DTYPES = st.sampled_from(["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"])
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
SCALARS = st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text()
KEYS = st.text().filter(lambda key: key != "__array__") | st.sampled_from(["a/b", "a", "b", "~1", "/", "0"])
VALUES = st.recursive(SCALARS | ARRAYS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def same(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray)
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):  # repr tells -0.0 from 0.0 and finds nan equal to itself
        return repr(left) == repr(right)
    return left == right


@given(st.dictionaries(KEYS, VALUES, max_size=4))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_every_state_comes_back_as_it_was(state):
    text, arrays = encode(state, "part")
    stored = safetensors.numpy.load(b"".join(safetensors_chunks(arrays)))
    assert same(decode(text, stored), state)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path):
    generator = np.random.default_rng(7)
    parts = {
        "learner": {"weights": torch.arange(6.0, requires_grad=True).reshape(2, 3), "updates": 2**70, "rate": math.inf},
        "rollout-0": {
            "rng": generator.bit_generator.state,
            "lanes": (1, [np.bool_(True)], None),
            "empty": np.zeros((0, 4)),
        },
        "nothing": {},
    }
    about = {"policies": ["teacher", "tiny"], "parameters": 12}
    path, size = save(tmp_path / "deep" / "checkpoints", 100, parts, about, 3)
    loaded = load_newest(tmp_path / "deep" / "checkpoints")
    assert (loaded.step, loaded.path, loaded.skipped) == (100, path, [])
    assert loaded.about == about
    assert size == sum(file.stat().st_size for file in path.iterdir() if file.name != "manifest.json")
    assert list(loaded.parts) == ["learner", "rollout-0", "nothing"]
    expected = {"weights": np.arange(6, dtype=np.float32).reshape(2, 3), "updates": 2**70, "rate": math.inf}
    assert same(loaded.parts["learner"], expected)
    rollout = loaded.parts["rollout-0"]
    assert same(rollout["lanes"], [1, [True], None])
    assert same(rollout["empty"], np.zeros((0, 4)))
    assert loaded.parts["nothing"] == {}
    again = np.random.default_rng(0)
    again.bit_generator.state = rollout["rng"]  # 128-bit words and all
    assert again.random() == generator.random()
    loaded.parts["learner"]["weights"][0] = 5  # arrays are the caller's own, and can be written


def test_arrays_that_lie_scattered_are_stored_by_value(tmp_path: Path):
    array = np.arange(24.0).reshape(4, 6)
    save(tmp_path, 1, {"p": {"t": array.T, "s": array[::2, ::3], "r": array[::-1]}}, {}, 1)
    state = load_newest(tmp_path).parts["p"]
    assert same(state, {"t": array.T.copy(), "s": array[::2, ::3].copy(), "r": array[::-1].copy()})


def test_numpy_scalars_become_plain_numbers(tmp_path: Path):
    save(tmp_path, 1, {"p": {"i": np.int64(3), "f": np.float32(0.1), "b": np.bool_(False)}}, {}, 1)
    assert same(load_newest(tmp_path).parts["p"], {"i": 3, "f": float(np.float32(0.1)), "b": False})


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ({"a": {1: 2}}, "p/a: the key 1"),
        ({"a": [{"__array__": "x"}]}, "p/a/0: the key '__array__'"),
        ({"\ud800": 1}, "p: the key"),
        ({"a": {"b": [0, {1, 2}]}}, "p/a/b/1: set"),
        ({"a": b"bytes"}, "p/a: bytes"),
        ({"a": np.array([object()])}, "p/a: arrays of object"),
        ({"a": np.zeros(2, ">f4")}, "p/a: arrays of >f4"),
        ({"a": np.zeros(2, complex)}, "p/a: arrays of complex128"),
        ({"a": torch.zeros(2, dtype=torch.bfloat16)}, "p/a: a tensor that NumPy cannot hold"),
        ([], "p: a state is a dict"),
    ],
)
def test_what_cannot_be_stored_is_named_and_nothing_is_written(tmp_path: Path, state, path: str):
    with pytest.raises(TypeError, match=path):
        save(tmp_path, 1, {"p": state}, {}, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_place_has_some_once_one_is_committed(tmp_path: Path):
    for where in (tmp_path / "folder", f"file://{tmp_path}/url"):
        assert not has_some(where)
        save(where, 1, {"learner": {}}, {}, keep=1)
        assert has_some(where)
    (tmp_path / "torn" / "step-3.tmp-0").mkdir(parents=True)
    assert not has_some(tmp_path / "torn")


def test_bad_arguments_are_refused(tmp_path: Path):
    for name in ("../out", "", "a/b", "manifest", "a\n"):
        with pytest.raises(ValueError, match="cannot name a part"):
            save(tmp_path, 1, {name: {}}, {}, 1)
    with pytest.raises(ValueError, match="step"):
        save(tmp_path, -1, {}, {}, 1)
    with pytest.raises(ValueError, match="keep"):
        save(tmp_path, 1, {}, {}, 0)
    with pytest.raises(TypeError, match="about/x"):
        save(tmp_path, 1, {}, {"x": np.zeros(2)}, 1)
    assert list(tmp_path.iterdir()) == []


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_are_kept_and_stale_folders_removed(tmp_path: Path):
    (tmp_path / "step-7.tmp-0123abcd").mkdir()
    (tmp_path / "step-7.tmp-0123abcd" / "learner.json").write_text("{")
    (tmp_path / "LATEST.tmp-0123abcd").write_text("step")
    (tmp_path / "notes.txt").write_text("the user's own")
    for step in (8, 9, 10, 100):  # as text, 100 would stand before 8
        save(tmp_path, step, {"p": {"step": step}}, {}, 2)
    assert names(tmp_path) == ["LATEST", "notes.txt", "step-10", "step-100"]
    assert (tmp_path / "LATEST").read_text() == "step-100\n"
    assert load_newest(tmp_path).parts == {"p": {"step": 100}}


def test_a_step_saved_twice_is_never_written_over(tmp_path: Path):
    first = save(tmp_path, 5, {"p": {"x": 1}}, {}, 2).path
    before = {path: path.read_bytes() for path in first.iterdir()}
    assert save(tmp_path, 5, {"p": {"x": 2}}, {}, 2).path.name == "step-5-2"
    assert {path: path.read_bytes() for path in first.iterdir()} == before
    assert load_newest(tmp_path).parts["p"] == {"x": 2}
    assert save(tmp_path, 5, {"p": {"x": 3}}, {}, 2).path.name == "step-5-3"
    assert names(tmp_path) == ["LATEST", "step-5-2", "step-5-3"]
    assert (load_newest(tmp_path).step, load_newest(tmp_path).parts["p"]) == (5, {"x": 3})


def test_after_a_rollback_the_course_given_up_is_removed(tmp_path: Path):
    for step in (100, 200, 300):
        save(tmp_path, step, {"p": {"x": step}}, {}, 3)
    save(tmp_path, 250, {"p": {"x": 250}}, {}, 3)
    assert names(tmp_path) == ["LATEST", "step-100", "step-200", "step-250"]
    assert load_newest(tmp_path).step == 250


def test_no_checkpoint_is_one_clear_line(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointError) as error:
            load_newest(folder)
        assert len(error.value.lines) == 1
        assert str(folder) in error.value.lines[0]
        assert "there is none" in error.value.lines[0]


def test_the_manifest_can_be_read_by_others(tmp_path: Path):
    path = save(tmp_path, 3, {"p": {"w": np.zeros(2, np.float32)}}, {"config_hash": "ab"}, 1).path
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["schema"], manifest["step"], manifest["parts"]) == (3, 3, ["p"])
    assert manifest["about"] == {"config_hash": "ab"}
    assert manifest["files"]["p.json"]["bytes"] == (path / "p.json").stat().st_size
    assert safetensors.numpy.load_file(path / "p.safetensors")["/w"].tolist() == [0, 0]
