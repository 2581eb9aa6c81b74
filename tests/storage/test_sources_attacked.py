"""distributed_kd/storage/sources.py and foreign.py: files that are damaged, or were made to do harm."""

import json
import pickle
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from source_samples import (
    OURS,
    SPEC,
    Crafted,
    as_ours,
    assert_acts_as,
    layers,
    refusal,
    sb3_data,
    sb3_state,
    torch_saved,
    write_sb3,
)

from distributed_kd.errors import CheckpointError
from distributed_kd.storage.sources import METADATA, Source, check_source, read_source

CHAIN = layers(4, 16, 2)
CONVERT = (
    "Where you trust it, read it with torch.load(..., weights_only=True) and write it with "
    'safetensors.torch.save_file(state_dict, "FILE.safetensors")'
)
SAVE_AGAIN = "Save it again with model.save, or bring it back from a copy"
NOT_PLAIN = f"its policy.pth is damaged, or holds more than tensors (%s). {SAVE_AGAIN}"


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.bin", "a.pkl", "a.ckpt", "a"])
def test_a_file_that_may_run_code_is_not_opened(tmp_path: Path, name: str):
    mark = tmp_path / "mark"
    (tmp_path / name).write_bytes(pickle.dumps(Crafted(mark)))
    kind = Path(name).suffix or "file without an ending"
    assert refusal(tmp_path / name) == f"a {kind} may run code when it is read. {CONVERT}"
    assert not mark.exists()
    pickle.loads((tmp_path / name).read_bytes())  # the attack is a real one
    assert mark.exists()


@pytest.mark.parametrize("form", ["bare", "as torch saves it"])
def test_a_crafted_pickle_as_the_policy_has_no_effect(tmp_path: Path, form: str):
    mark = tmp_path / "mark"
    crafted = {**sb3_state(CHAIN), "q_net.q_net.0.bias": Crafted(mark)}
    attack = pickle.dumps(crafted) if form == "bare" else torch_saved(crafted)
    kind = "BadZipFile" if form == "bare" else "UnpicklingError"
    path = write_sb3(tmp_path / "a.zip", {}, members={"policy.pth": attack})
    assert refusal(path) == NOT_PLAIN % kind
    assert not mark.exists()
    pickle.loads(attack) if form == "bare" else torch.load(BytesIO(attack), weights_only=False)  # a real one
    assert mark.exists()


def test_crafted_pickles_elsewhere_in_a_zip_are_passed_over(tmp_path: Path):
    mark = tmp_path / "mark"
    attack = pickle.dumps(Crafted(mark))
    others = {"pytorch_variables.pth": attack, "policy.optimizer.pth": attack}
    path = write_sb3(tmp_path / "a.zip", sb3_state(CHAIN), sb3_data(pickled=attack), others)
    assert_acts_as(read_source(str(path)), CHAIN)
    assert not mark.exists()


def test_a_module_that_a_file_names_is_not_imported(tmp_path: Path, monkeypatch):
    mark = tmp_path / "mark"
    attack = f"from pathlib import Path\nPath({str(mark)!r}).touch()\ndef net(shape, actions):\n    return None\n"
    (tmp_path / "a_crafted_module.py").write_text(attack)
    monkeypatch.syspath_prepend(tmp_path)
    about = OURS | {"network": {"kind": "a_crafted_module:net"}}
    save_file(as_ours(CHAIN), tmp_path / "a.safetensors", {METADATA: json.dumps(about)})
    source = read_source(str(tmp_path / "a.safetensors"))
    (problem,) = check_source(source, SPEC, "teacher.source")
    assert str(problem) == (
        f"a module would be imported (teacher.source={source.origin}): its network is a_crafted_module:net, and "
        "importing a_crafted_module runs its code. If you trust it, set --teacher.network.kind a_crafted_module:net and add "
        "--allow-env-import"
    )
    assert not mark.exists()
    check_source(source, SPEC, "teacher.source", allowed=["a_crafted_module:net"])  # the attack is a real one
    assert mark.exists()


def samples(folder: Path) -> dict[str, bytes]:
    save_file(as_ours(CHAIN), folder / "a.safetensors", {METADATA: json.dumps(OURS)})
    write_sb3(folder / "a.zip", sb3_state(CHAIN))
    return {name: (folder / name).read_bytes() for name in ("a.safetensors", "a.zip")}


def read_or_refused(path: Path, content: bytes) -> Source | None:
    path.write_bytes(content)
    try:
        return read_source(str(path))
    except CheckpointError as error:
        refused = error
    assert len(refused.lines) == 1 and str(path) in refused.lines[0]
    return None


@pytest.mark.parametrize("name", ["a.safetensors", "a.zip"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str):
    whole = samples(tmp_path)[name]
    for length in [*range(0, len(whole), max(1, len(whole) // 60)), len(whole) - 1]:
        assert read_or_refused(tmp_path / name, whole[:length]) is None
    assert read_or_refused(tmp_path / name, whole)


@pytest.mark.parametrize("name", ["a.safetensors", "a.zip"])
def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path, name: str):
    whole = samples(tmp_path)[name]
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        source = read_or_refused(tmp_path / name, bytes(flipped))
        assert source is None or all(np.isfinite(value).all() for value in source.parameters.values())


def flips() -> st.SearchStrategy[list[tuple[float, int]]]:
    return st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips(), st.sampled_from(["a.safetensors", "a.zip"]))
def test_bytes_that_were_written_over_never_end_otherwise(tmp_path: Path, changes: list[tuple[float, int]], name: str):
    content = bytearray(samples(tmp_path)[name])
    for place, byte in changes:
        content[int(place * len(content))] = byte
    read_or_refused(tmp_path / name, bytes(content))


def test_the_samples_are_read_where_they_are_whole(tmp_path: Path):
    for name in samples(tmp_path):
        assert_acts_as(read_source(str(tmp_path / name)), CHAIN)
