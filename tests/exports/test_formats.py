"""distributed_kd/exports/formats.py, policy.py and saved.py: what each file gives is what its policy gives."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from export_samples import IMAGES, KINDS, NUMBERS, OWN, STACKED, saved_of, states_of, torch_outputs
from safetensors import safe_open

from distributed_kd.errors import CheckpointError, ConfigurationError
from distributed_kd.exports import ENDINGS, INT8, ONNX, SAFETENSORS, TORCH, policy
from distributed_kd.exports.contract import about
from distributed_kd.exports.formats import write
from distributed_kd.exports.parity import TOLERANCE, compare
from distributed_kd.exports.policy import Policy
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.storage.sources import check_source, read_source

EVERYDAY = ("minatar, quantile", "nature, dueling, normalised")
"""PyTorch's exporters take seconds for each, so the other kinds are left to `make test-slow`"""
PLAIN = ("mlp", "mlp, dueling, stacked, normalised", "mlp of bytes", "linear")
"""What NumPy alone runs"""
TRACED = [kind if kind in EVERYDAY else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


def written(tmp_path, format, kind, name="teacher"):
    saved = saved_of(*KINDS[kind], name)
    told, states, path = about(saved), states_of(saved.spec), tmp_path / f"a{ENDINGS[format]}"
    return saved, states, path, write(format, saved, told, states, path)


def as_json(told):
    return json.loads(json.dumps(told))


@pytest.mark.parametrize("kind", KINDS)
def test_safetensors_come_back_to_the_bit(kind, tmp_path):
    saved, states, path, readers = written(tmp_path, SAFETENSORS, kind)
    outputs = saved.outputs()(states.observations)
    assert np.ptp(outputs, 0).min() > 0.01, "the states are not told apart, and all would be equal"
    assert readers["teacher.source"].demand == "exact"
    assert readers["teacher.source"].outputs(states.observations).tobytes() == outputs.tobytes()
    assert ("policy.py" in readers) == (kind in PLAIN)
    if "policy.py" in readers:
        found = compare(outputs, readers["policy.py"].outputs(states.observations))
        assert found.largest_share <= TOLERANCE and found.other_actions == 0
    # The file as a teacher or start is read by its own words, whatever is beside it.
    source = read_source(str(path))
    assert check_source(source, saved.spec, "teacher.source", allowed=[OWN]) == []
    assert (source.network, source.head) == (saved.config.teacher.network, saved.config.teacher.head)
    for name, value in saved.network.state_dict().items():
        assert source.parameters[name].tobytes() == value.numpy().tobytes()
    assert (source.normal is None) == (saved.normal is None)


@pytest.mark.parametrize("kind", TRACED)
def test_torch_export_gives_the_same_for_any_number_of_states(kind, tmp_path):
    saved, states, path, readers = written(tmp_path, TORCH, kind)
    found = compare(saved.outputs()(states.observations), readers["torch.export"].outputs(states.observations))
    assert found.largest_share <= TOLERANCE and found.other_actions == 0
    one = states.observations[:1]
    np.testing.assert_allclose(readers["torch.export"].outputs(one), torch_outputs(saved, one), rtol=1e-5, atol=1e-5)
    extra = {policy.ABOUT: ""}
    torch.export.load(path, extra_files=extra)
    assert json.loads(extra[policy.ABOUT]) == as_json(about(saved))
    assert b"stack_trace" not in path.read_bytes()
    with zipfile.ZipFile(path) as archive:  # tensors as they are, and nothing pickled
        assert not [one.filename for one in archive.infolist() if one.filename.endswith((".pt", ".pkl")) and one.file_size]


@pytest.mark.parametrize("kind", TRACED)
def test_onnx_takes_observations_as_the_environment_gives_them(kind, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    saved, states, path, readers = written(tmp_path, ONNX, kind)
    outputs = saved.outputs()(states.observations)
    assert readers["policy.py"].demand == "close"
    found = compare(outputs, readers["policy.py"].outputs(states.observations))
    assert found.largest_share <= TOLERANCE and found.other_actions == 0
    one = states.observations[:1]
    np.testing.assert_allclose(readers["policy.py"].outputs(one), outputs[:1], rtol=1e-5, atol=1e-5)
    model = onnx.load(path)
    (given,), (gives,) = model.graph.input, model.graph.output
    assert (given.name, gives.name) == ("observation", "outputs")
    dims = [dim.dim_param or dim.dim_value for dim in given.type.tensor_type.shape.dim]
    assert dims == ["batch", *saved.spec.input_shape]
    kinds = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}
    assert given.type.tensor_type.elem_type == kinds[saved.spec.observation_dtype]
    assert b"distributed_kd/" not in path.read_bytes(), "where its sources lay on this machine is nobody's business"
    assert Policy(path).about == as_json(about(saved))


@pytest.mark.parametrize("combine", ["mean", "logsumexp"])
def test_several_teachers_are_one_file(combine, tmp_path):
    several = TeacherConfig(source=("a", "b"), combine=combine, weights=(1.0, 3.0))
    one, other = (saved_of(*KINDS["mlp"]).network for _ in range(2))
    other.advantage.bias.add_(torch.tensor([1.0, -2.0, 0.5]))
    saved = saved_of(*KINDS["mlp"])
    network = Ensemble([one, other], combine, [1.0, 3.0]).requires_grad_(False)
    saved = replace(saved, config=replace(saved.config, teacher=several), network=network)
    states, told = states_of(NUMBERS), about(saved)
    assert told["network"]["label"] == f"{combine} of 2" and not told["network"]["is_plain"]
    readers = write(TORCH, saved, told, states, tmp_path / "a.pt2")
    outputs = readers["torch.export"].outputs(states.observations)
    found = compare(saved.outputs()(states.observations), outputs)
    assert found.largest_share <= TOLERANCE and found.other_actions == 0
    with pytest.raises(CheckpointError, match=r"made of several policies\. Name one student, such as tiny"):
        write(SAFETENSORS, saved, told, states, tmp_path / "a.safetensors")


def test_int8_keeps_weights_of_the_middle_in_bytes(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    saved, states, path, readers = written(tmp_path, INT8, "mlp")
    outputs = saved.outputs()(states.observations)
    assert {name: reader.demand for name, reader in readers.items()} == {"before int8": "close", "policy.py": "any"}
    assert compare(outputs, readers["before int8"].outputs(states.observations)).largest_share <= TOLERANCE
    found = compare(outputs, readers["policy.py"].outputs(states.observations))
    assert found.largest_difference > 0 and found.agreement > 0.95
    shapes = {(one.data_type, tuple(one.dims)) for one in onnx.load(path).graph.initializer}
    int8, floats = onnx.TensorProto.INT8, onnx.TensorProto.FLOAT
    # 4 -> 16 -> 8 -> 3: the middle layer alone is of bytes.
    assert any(kind == int8 and sorted(shape) == [8, 16] for kind, shape in shapes)
    assert {tuple(sorted(shape)) for kind, shape in shapes if kind == floats and len(shape) == 2} == {(4, 16), (3, 8)}
    assert Policy(path).about == as_json(about(saved))


def test_a_files_own_words(tmp_path):
    saved = saved_of(STACKED, NetworkConfig(hidden=(16, 8)), {}, True, "tiny")
    told = about(saved)
    assert told["run"] == "a-run" and told["policy"] == "tiny" and (told["updates"], told["env_steps"]) == (5, 80)
    assert told["observation"] == {"shape": [3, 2], "dtype": "float32", "frame_stack": 3, "channels": "none"}
    assert told["actions"] == {"count": 3, "start": 0, "names": None}
    assert told["outputs"]["meaning"] == "logits"
    normal = {"by": "observation.normal", "least_deviation": 0.01, "largest": 10.0}
    assert told["network"]["normalised"] == normal
    assert told["network"]["hidden"] == (16, 8) and told["network"]["parameters"] == 6 * 16 + 16 + 16 * 8 + 8 + 9 * 3
    path = tmp_path / "a.safetensors"
    write(SAFETENSORS, saved, told, states_of(STACKED), path)
    with safe_open(path, "np") as file:
        assert json.loads(file.metadata()[policy.ABOUT]) == as_json(told)


def test_the_hash_is_that_of_the_weights():
    saved = saved_of(*KINDS["linear"])
    before = about(saved)["weights_sha256"]
    assert before == about(saved_of(*KINDS["linear"], "tiny"))["weights_sha256"]
    saved.normal[0, 0] += 1
    assert about(saved)["weights_sha256"] != before
    saved.normal[0, 0] -= 1
    saved.network.advantage.bias[0] += 1
    assert about(saved)["weights_sha256"] != before


def test_actions_are_numbered_as_the_environment_numbers_them(tmp_path):
    saved, states, path, _ = written(tmp_path, SAFETENSORS, "mlp")  # its actions begin with 2
    acting = Policy(path).act(states.observations)
    assert acting.tolist() == (saved.outputs()(states.observations).argmax(1) + 2).tolist()
    assert set(acting.tolist()) == {2, 3, 4}


def test_policy_py_takes_what_can_be_an_observation(tmp_path):
    _, states, path, _ = written(tmp_path, SAFETENSORS, "mlp of bytes")
    acting, whole = Policy(path), states.observations[:5]
    assert acting.act(whole.astype(np.float64)).tolist() == acting.act(whole).tolist() == acting.act(whole.tolist()).tolist()
    for wrong in (whole + 0.5, whole.astype(int) - 256, whole[0], whole[..., :2], whole.astype(str)):
        with pytest.raises(ValueError, match=r"0 to 255|is not \[N, 10, 12, 3\]"):
            acting.act(wrong)


def test_policy_py_reads_no_other_files(tmp_path):
    _, _, path, _ = written(tmp_path, SAFETENSORS, "minatar, quantile")
    with pytest.raises(ValueError, match="this is a minatar 3, 8: export it as onnx"):
        Policy(path)
    other = tmp_path / "other.safetensors"
    other.write_bytes((2).to_bytes(8, "little") + b"{}")
    for content in (other.read_bytes(), b"", b"\xff" * 30, path.read_bytes()[:50]):
        other.write_bytes(content)
        with pytest.raises(ValueError):  # noqa: PT011 whichever part of it is found wrong first
            Policy(other)


def test_policy_py_reads_no_other_onnx(tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="it is no ONNX file"):
        Policy(tmp_path / "a.onnx")


def test_a_network_that_cannot_be_traced_is_told(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, observation):
            return observation[:, :3] if observation.sum().item() > 0 else -observation[:, :3]

    saved = saved_of(*KINDS["mlp"])
    saved.network.input = Odd()
    with pytest.raises(ConfigurationError, match=r"the network cannot be exported \(policy=teacher\): PyTorch cannot trace"):
        write(TORCH, saved, about(saved), states_of(NUMBERS), tmp_path / "a.pt2")
    assert not list(tmp_path.iterdir())


def test_bytes_are_scaled_or_normalised_and_never_both():
    """200 as a byte is 200/255 to the network; normalised it is (200 - mean) / deviation, without the scale."""
    network = NetworkConfig(hidden=())
    as_is = saved_of(IMAGES, network, {}, False)
    whole = np.full((1, *IMAGES.input_shape), 200, np.uint8)
    weight, bias = (one.numpy().astype(np.float64) for one in as_is.network.advantage.parameters())
    np.testing.assert_allclose(torch_outputs(as_is, whole), [weight.sum(1) * 200 / 255 + bias], rtol=1e-4, atol=1e-4)
    normalised = saved_of(IMAGES, network, {}, True)
    seen = (
        ((200 - normalised.normal[0]) / np.maximum(normalised.normal[1], 0.01)).clip(-10, 10).reshape(-1).astype(np.float64)
    )
    weight, bias = (one.numpy().astype(np.float64) for one in normalised.network.advantage.parameters())
    np.testing.assert_allclose(torch_outputs(normalised, whole), [weight @ seen + bias], rtol=1e-4, atol=1e-4)
