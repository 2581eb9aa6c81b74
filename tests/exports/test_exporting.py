"""distributed_kd/exports/exporting.py: what is told before anything is read."""

from pathlib import Path

import pytest

from distributed_kd.config import RunConfig
from distributed_kd.errors import ConfigurationError
from distributed_kd.exports.exporting import POLICY_PY, Asked, _policy_py, check
from distributed_kd.student_config import StudentConfig

CONFIG = RunConfig(students={"tiny": StudentConfig(), "half": StudentConfig()})


def told(tmp_path: Path, policy="tiny", key="student", format="safetensors", out="a.safetensors", **more) -> str:
    with pytest.raises(ConfigurationError) as error:
        check(Asked(policy, key, format, tmp_path / out, **more), CONFIG)
    (line,) = error.value.lines
    return line.replace(f"{tmp_path}/", "")


def test_what_can_be_exported(tmp_path):
    for policy, key in (("tiny", "student"), ("teacher", "policy"), ("half", "policy")):
        check(Asked(policy, key, "torch-export", tmp_path / "a.pt2"), CONFIG)
    (tmp_path / POLICY_PY).write_bytes(_policy_py())  # of an export before
    check(Asked("tiny", "student", "safetensors", tmp_path / "a.safetensors"), CONFIG)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"policy": "tin"}, "unknown student (student=tin): the run has none of this name. Did you mean tiny?"),
        ({"policy": "x"}, "unknown student (student=x): the run has none of this name. The run has tiny, half"),
        ({"policy": "teacher"}, "unknown student (student=teacher): the run has none of this name. Use --policy teacher"),
        ({"policy": "teach", "key": "policy"},
         "unknown policy (policy=teach): the run has none of this name. Did you mean teacher?"),
        ({"out": "a.bin"}, "bad ending (out=a.bin): a file of safetensors ends in .safetensors. Give --out a.safetensors"),
        ({"out": "a"}, "bad ending (out=a): a file of safetensors ends in .safetensors. Give --out a.safetensors"),
        ({"format": "onnx-int8"}, "bad ending (out=a.safetensors): a file of onnx-int8 ends in .onnx. Give --out a.onnx"),
        ({"episodes": 5}, "option without effect (episodes=5): only onnx-int8 plays episodes: all else gives what the "
         "policy gives. Leave it out"),
        ({"episodes": 1, "format": "onnx-int8", "out": "a.onnx"},
         "bad number of episodes (episodes=1): an interval needs at least 2. Set --episodes 20"),
        ({"seed": -1}, "bad seed (seed=-1): it must be at least 0. Set --seed 0"),
    ],
)  # fmt: skip
def test_what_cannot(asked, line, tmp_path):
    assert told(tmp_path, **asked) == line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["a.safetensors", "a.safetensors.json"])
def test_what_would_be_lost(there, tmp_path):
    (tmp_path / there).symlink_to("nowhere")
    assert told(tmp_path) == f"the file is there already (out={there}): it would be lost. Give another --out"


@pytest.mark.parametrize("folder", [False, True])
def test_another_policy_py_would_be_lost(folder, tmp_path):
    (tmp_path / POLICY_PY).mkdir() if folder else (tmp_path / POLICY_PY).write_text("mine")
    why = "another policy.py lies beside it, and would be lost. Give another folder in --out"
    assert told(tmp_path) == f"the file is there already (out=policy.py): {why}"
