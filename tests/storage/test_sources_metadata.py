"""distributed_kd/storage/sources.py: files of ours whose metadata or shapes are not what a run wrote."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from source_samples import OURS, SPEC, as_ours, assert_acts_as, layers, refusal

from distributed_kd.storage.sources import METADATA, check_source, read_source

CHAIN = layers(4, 16, 2)
FROM_A_COPY = "Bring it back from a copy"


def as_if(path: Path, **changes: dict) -> Path:
    """A file of ours whose metadata was changed, table by table."""
    about = {name: value | changes.get(name, {}) if isinstance(value, dict) else value for name, value in OURS.items()}
    save_file(as_ours(CHAIN), path, {METADATA: json.dumps(about)})
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"kind": "cnn"}},
        {"network": {"more": 1}},
        {"network": {"hidden": [0]}},
        {"network": {"hidden": "many"}},
        {"network": {"width": -1.0}},
        {"network": {"kind": "nature", "channels": [1]}},
        {"network": {"kind": "mine:net", "hidden": "auto"}, "head": {"dueling": True}},
        {"head": {"more": 1}},
        {"head": {"distribution": "normal"}},
        {"head": {"distribution": "c51", "atoms": 1}},
        {"head": {"distribution": "c51", "v_min": 1.0, "v_max": 1.0}},
        {"head": {"distribution": "c51", "v_max": float("inf")}},
    ],
)
def test_metadata_that_tells_of_no_network(tmp_path: Path, changes: dict):
    assert_acts_as(read_source(str(as_if(tmp_path / "a.safetensors"))), CHAIN)
    path = as_if(tmp_path / "a.safetensors", **changes)
    assert refusal(path) == f"its metadata tells of no network of this version. {FROM_A_COPY}"


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"hidden": [2**62, 2**62]}},
        {"network": {"hidden": [1] * 5_000}},
        {"network": {"kind": "impala", "hidden": [16], "channels": [2**40]}},
        {"network": {"hidden": "auto", "width": 1e9}},
        {"head": {"distribution": "quantile", "atoms": 2**40}},
    ],
)
def test_metadata_that_tells_of_a_network_that_no_machine_holds(tmp_path: Path, changes: dict):
    path = as_if(tmp_path / "a.safetensors", **changes)
    assert refusal(path) == f"its metadata tells of another network than its layers. {FROM_A_COPY}"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"network": {"hidden": [8]}}, "its body.0.weight is (16, 4), and (8, 4) is needed"),
        ({"head": {"dueling": True}}, "its value.weight is missing, and (1, 16) is needed"),
        ({"network": {"layer_norm": True}}, "its body.1.weight is missing, and (16,) is needed"),
        ({"network": {"kind": "minatar"}}, "observations of shape [4] are no images"),
        # Large, and still no memory is taken for it: 2**40 numbers in one layer.
        ({"network": {"hidden": [2**20, 2**20]}}, "its body.0.weight is (16, 4), and (1048576, 4) is needed"),
    ],
)
def test_metadata_that_tells_of_another_network(tmp_path: Path, changes: dict, why: str):
    path = as_if(tmp_path / "a.safetensors", **changes)
    assert why in str(check_source(read_source(str(path)), SPEC, "teacher.source")[0])


@pytest.mark.parametrize("shape", [(), (16,), (16, 4, 1)])
@pytest.mark.parametrize("name", ["body.0.weight", "advantage.weight"])
def test_layers_of_odd_shapes_are_told(tmp_path: Path, name: str, shape: tuple[int, ...]):
    save_file(as_ours(CHAIN) | {name: torch.zeros(shape)}, tmp_path / "a.safetensors", {METADATA: json.dumps(OURS)})
    (problem,) = check_source(read_source(str(tmp_path / "a.safetensors")), SPEC, "teacher.source")
    assert f"its {name} is {shape}, and " in str(problem)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000])
def test_metadata_that_is_none(tmp_path: Path, text: str):
    save_file(as_ours(CHAIN), tmp_path / "a.safetensors", {METADATA: text})
    assert refusal(tmp_path / "a.safetensors").startswith("its metadata is none that a run wrote (")
