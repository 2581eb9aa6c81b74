"""Policies exported from a run, through the command line: as they are run without us, and as they are learned on from."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import launch, run_file, strict, summary
from safetensors.numpy import load_file, save_file

from distributed_kd import run_file as run_files
from distributed_kd.cli import main
from distributed_kd.envs.spec import read_spec
from distributed_kd.exports import ENDINGS, formats
from distributed_kd.exports.saved import Saved
from distributed_kd.networks import build
from distributed_kd.storage.checkpoints import load_newest
from distributed_kd.storage.policy_files import METADATA
from distributed_kd.storage.sources import policy_parameters, read_source, saved_normal

INLINE = ("--runner", "inline", "--evaluation.every_seconds", "0", "--checkpoint.every_seconds", "0")
NORMALISED = ("--env.normalise", "true", "--env.frame_stack", "2")
HEADS = ("--teacher.dueling", "true", "--teacher.distribution", "c51", "--teacher.atoms", "5")
FAILS = "raise ImportError('not on the device')"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """CartPole, stacked and normalised, with a teacher of another kind than its students."""
    place = tmp_path_factory.mktemp("exported")
    words = ["train", str(run_file(place, 700)), *INLINE, *NORMALISED, *HEADS, "--out", str(place / "run")]
    assert main(words) == 0
    return place / "run"


def exported(capsys, run: Path, *words: object, code: int = 0) -> tuple[str, str]:
    assert main(["export", str(run), *map(str, words)]) == code
    return capsys.readouterr()


def weights_of(run: Path, name: str) -> dict[str, bytes]:
    saved = policy_parameters(load_newest(run / "checkpoints").parts["learner"], name)
    return {key: np.asarray(value).tobytes() for key, value in saved.items()}


def on_a_device(place: Path, *words: str, given: str = "") -> subprocess.CompletedProcess:
    """Python with none of PyTorch, Ray and distributed_kd, in the folder of the export."""
    for name in ("torch", "ray", "distributed_kd", "gymnasium", "safetensors"):
        (place / f"{name}.py").write_text(FAILS)
    return subprocess.run(
        [sys.executable, "policy.py", *words], cwd=place, input=given, capture_output=True, text=True, timeout=60
    )


def test_a_student_runs_with_numpy_alone(run, tmp_path, capsys):
    out, err = exported(capsys, run, "--student", "tiny", "--format", "safetensors", "--out", tmp_path / "tiny.safetensors")
    assert err == "" and "10,000: " in out and "perturbed" in out and "NumPy alone" in out
    assert {path.name for path in tmp_path.iterdir()} == {"tiny.safetensors", "tiny.safetensors.json", "policy.py"}
    told = strict((tmp_path / "tiny.safetensors.json").read_text())
    parity = told["parity"]
    assert parity["states"] == 10_000 == parity["seen"] + parity["perturbed"]
    assert parity["seen"] == summary(run)["replay"]["size"] > 500
    assert parity["readers"]["teacher.source"]["largest_difference"] == 0
    assert 0 <= parity["readers"]["policy.py"]["largest_share"] <= 1e-5
    assert told["file"]["bytes"] == (tmp_path / "tiny.safetensors").stat().st_size
    assert all(value > 0 for value in told["decision_microseconds"].values())
    random = np.random.default_rng(0)
    observations = random.normal(size=(40, 2, 4)).astype(np.float32)
    np.save(tmp_path / "seen.npy", observations)
    source = read_source(str(tmp_path / "tiny.safetensors"))
    network = build(source.network, read_spec_of(run), head=source.head)
    network.load_state_dict({name: torch.tensor(value) for name, value in source.parameters.items()})
    mean, deviation = source.normal
    seen = np.clip((observations - mean) / np.maximum(deviation, 0.01), -10, 10).astype(np.float32)
    expected = network(torch.from_numpy(seen)).argmax(1).tolist()
    assert set(expected) == {0, 1}
    ended = on_a_device(tmp_path, "tiny.safetensors", "seen.npy")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == expected
    for one, action in zip(observations[:2], expected, strict=False):
        ended = on_a_device(tmp_path, "tiny.safetensors", given=json.dumps(one.tolist()))
        assert (ended.returncode, json.loads(ended.stdout)) == (0, action)


def read_spec_of(run: Path):
    return read_spec(run_files.decode(run_files.read_toml(run / "config.toml")).env)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("[1, 2]", "int64 of shape [2] is not [N, 2, 4]"),
        ("[[1], [2, 3]]", "inhomogeneous"),
        ("nothing", "Expecting value"),
        ('{"a": 1}', "is not [N, 2, 4]"),
    ],
)
def test_a_device_is_told_what_it_gave(given, why, run, tmp_path, capsys):
    exported(capsys, run, "--student", "tiny", "--format", "safetensors", "--out", tmp_path / "a.safetensors")
    ended = on_a_device(tmp_path, "a.safetensors", given=given)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("error: ") and why in ended.stderr and ended.stderr.count("\n") == 1
    assert on_a_device(tmp_path).returncode == 2
    assert "python policy.py FILE" in on_a_device(tmp_path, "--help").stdout


def test_the_program_prints_what_the_file_says(run, tmp_path):
    words = ("--policy", "teacher", "--format", "safetensors", "--out", "a/teacher.safetensors", "--json")
    ended = launch("export", run, *words, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = strict(ended.stdout)
    assert told == strict((tmp_path / "a" / "teacher.safetensors.json").read_text())
    # NumPy alone runs no distributions: no policy.py lies beside it.
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"teacher.safetensors", "teacher.safetensors.json"}
    assert list(told["parity"]["readers"]) == ["teacher.source"]


def test_a_device_is_told_what_to_install(run, tmp_path, capsys):
    exported(capsys, run, "--student", "tiny", "--format", "safetensors", "--out", tmp_path / "a.safetensors")
    (tmp_path / "a.onnx").touch()
    (tmp_path / "onnxruntime.py").write_text(FAILS)
    ended = on_a_device(tmp_path, "a.onnx", given="[]")
    why = "an .onnx file needs ONNX Runtime (not on the device): pip install onnxruntime"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"error: {why}\n")


def test_onnx_runs_without_us(run, tmp_path, capsys):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    out, err = exported(capsys, run, "--student", "tiny", "--format", "onnx", "--out", tmp_path / "tiny.onnx")
    assert err == "" and "NumPy and onnxruntime alone" in out
    told = strict((tmp_path / "tiny.onnx.json").read_text())
    assert told["parity"]["readers"]["policy.py"]["other_actions"] == 0
    assert told["decision_microseconds"].keys() == {"policy.py", "PyTorch"}
    exported(capsys, run, "--student", "tiny", "--format", "safetensors", "--out", tmp_path / "tiny.safetensors")
    np.save(tmp_path / "seen.npy", np.random.default_rng(0).normal(size=(20, 2, 4)))
    devices = [on_a_device(tmp_path, file, "seen.npy") for file in ("tiny.onnx", "tiny.safetensors")]
    assert [(device.returncode, device.stderr) for device in devices] == [(0, "")] * 2
    assert json.loads(devices[0].stdout) == json.loads(devices[1].stdout)
    before = (tmp_path / "tiny.onnx").read_bytes()
    _, err = exported(capsys, run, "--student", "tiny", "--format", "onnx", "--out", tmp_path / "tiny.onnx", code=2)
    assert err.startswith(f"error: the file is there already (out={tmp_path / 'tiny.onnx'}): it would be lost. ")
    assert (tmp_path / "tiny.onnx").read_bytes() == before


def test_int8_is_told_with_its_score(run, tmp_path, capsys):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    words = ("--policy", "half", "--format", "onnx-int8", "--out", tmp_path / "half.onnx", "--episodes", 3, "--seed", 4)
    out, _ = exported(capsys, run, *words)
    told = strict((tmp_path / "half.onnx.json").read_text())
    score = told["score"]
    assert f"difference {score['difference']['return_mean']:.1f} (" in out and "over 3 episodes" in out
    apart = np.subtract(score["int8"]["returns"], score["policy"]["returns"])
    assert score["difference"]["returns"] == apart.tolist() and len(apart) == 3
    # The policy's are those that `evaluate` gives.
    assert main(["evaluate", str(run), "--policy", "half", "--episodes", "3", "--seed", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["returns"] == score["policy"]["returns"]
    # One hidden layer: its weights are floats, and the output layer's of bytes, so some outputs differ by a little.
    assert told["parity"]["readers"]["policy.py"]["largest_difference"] > 0
    assert told["parity"]["readers"]["before int8"]["largest_share"] <= 1e-5


def test_what_was_exported_teaches_and_begins(run, tmp_path, capsys):
    teacher, tiny = tmp_path / "teacher.safetensors", tmp_path / "tiny.safetensors"
    exported(capsys, run, "--policy", "teacher", "--format", "safetensors", "--out", teacher)
    exported(capsys, run, "--student", "tiny", "--format", "safetensors", "--out", tiny)
    about = strict((tmp_path / "teacher.safetensors.json").read_text())
    assert (about["outputs"]["meaning"], about["network"]["distribution"], about["network"]["dueling"]) == (
        "q_values", "c51", True)  # fmt: skip
    words = ("--teacher.source", teacher, "--students.tiny.start", tiny, "--students.tiny.warmup", 10_000)
    new = tmp_path / "new"
    assert main(["train", str(run_file(tmp_path, 300)), *INLINE, *NORMALISED, *map(str, words), "--out", str(new)]) == 0
    assert weights_of(new, "teacher") == weights_of(run, "teacher")
    assert weights_of(new, "tiny") == weights_of(run, "tiny")  # it has not begun to learn
    old, now = (saved_normal(load_newest(one / "checkpoints").parts["learner"]) for one in (run, new))
    assert old.tobytes() == now.tobytes()


def test_a_file_that_differs_from_its_policy_is_not_put_in_place(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Saved, "deployed", lambda self: torch.nn.Sequential(deployed(self), Larger()))
    deployed_out = tmp_path / "a.pt2"
    _, err = exported(capsys, run, "--student", "tiny", "--format", "torch-export", "--out", deployed_out, code=9)
    assert err.startswith(f"error: the file does not give what the policy gives (out={deployed_out}): read by torch.export")
    assert err.endswith(" of 10000 states. Nothing is written\n") and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


deployed = Saved.deployed


class Larger(torch.nn.Module):
    def forward(self, outputs):
        return outputs * 1.001


def test_parameters_that_are_not_written_as_they_were_are_found(run, tmp_path, monkeypatch, capsys):
    def otherwise(source, **metadata):
        first = next(iter(source.parameters))
        return packed(replace(source, parameters={**source.parameters, first: source.parameters[first] + 1e-7}), **metadata)

    packed = formats.packed
    monkeypatch.setattr(formats, "packed", otherwise)
    out = tmp_path / "a.safetensors"
    _, err = exported(capsys, run, "--student", "tiny", "--format", "safetensors", "--out", out, code=9)
    assert "read by teacher.source, its outputs differ by" in err and "where 0 is allowed" in err
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_changed_is_refused(run, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    exported(capsys, run, "--student", "tiny", "--format", "safetensors", "--out", out)
    whole = out.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    arrays = load_file(out)
    huge = {"origin": "x", "network": {"kind": "mlp", "hidden": [2**62]}, "head": {}}
    for content, why in (
        (bytes(flipped), "sha256 differs"),
        (whole[:-1], "it is damaged, or no safetensors file"),
        (b"\xff" * 8 + whole[8:], "it is damaged, or no safetensors file"),
        ({METADATA: json.dumps(huge)}, "another network than its layers"),
        ({METADATA: "{"}, "its metadata is none that a run wrote"),
    ):
        if isinstance(content, dict):
            save_file(arrays, out, content)
        else:
            out.write_bytes(content)
        words = ["train", str(run_file(tmp_path, 300)), *INLINE, *NORMALISED, "--out", str(tmp_path / "new")]
        assert main([*words, "--teacher.source", str(out)]) == 4
        err = capsys.readouterr().err
        assert why in err and str(out) in err and err.count("\n") == 1
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_what_is_to_be_run_teaches_nobody(ending, tmp_path, capsys):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"whatever it is")
    assert main(["train", str(run_file(tmp_path, 300)), "--teacher.source", str(path)]) == 4
    why = "it is a policy to run, and no one can learn on from it. Export it with --format safetensors"
    assert capsys.readouterr().err == f"error: the policy cannot be read (source={path}): {why}\n"


def test_without_a_checkpoint_there_is_nothing_to_export(run, tmp_path, capsys):
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    (tmp_path / "empty" / "config.toml").write_text((run / "config.toml").read_text())
    out = tmp_path / "a.pt2"
    words = ("--student", "tiny", "--format", "torch-export", "--out", out)
    _, err = exported(capsys, tmp_path / "empty", *words, code=4)
    assert err.startswith("error: no checkpoint to start from (path=") and err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--format onnx --out a.onnx", "one of the arguments --student --policy is required"),
        ("--student a --policy b --format onnx --out a.onnx", "argument --policy: not allowed with argument --student"),
        ("--student a --format onyx --out a.onnx", "argument --format: invalid choice: 'onyx' (choose from 'safetensors', "
         "'onnx', 'onnx-int8', 'torch-export')"),
        ("--student a --format onnx", "the following arguments are required: --out"),
    ],
)  # fmt: skip
def test_words_that_are_missing_or_wrong(words, line, capsys):
    _, err = exported(capsys, Path("run"), *words.split(), code=2)
    assert err == f"error: {line}. See python launch.py export --help\n"


def test_help_names_every_option_and_format(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    page = capsys.readouterr().out
    for word in ("RUN", "--student", "--policy", "--out FILE", "--episodes", "--seed", "--json", *ENDINGS):
        assert word in page
