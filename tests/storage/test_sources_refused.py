"""distributed_kd/storage/sources.py and foreign.py: what is no policy, is damaged, or was made to do harm."""

import json
import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from source_samples import (
    as_ours,
    assert_acts_as,
    layers,
    named,
    refusal,
    sb3_data,
    sb3_state,
    torch_saved,
    write_run,
    write_sb3,
)

from distributed_kd.errors import CheckpointError, ConfigurationError
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.storage import foreign
from distributed_kd.storage.sources import read_source

CHAIN = layers(4, 16, 2)
CONVERT = (
    "Where you trust it, read it with torch.load(..., weights_only=True) and write it with "
    'safetensors.torch.save_file(state_dict, "FILE.safetensors")'
)
CHAIN_NEEDED = "Give linear layers with ReLU between them, such as one torch.nn.Sequential"
MLP_NEEDED = "Give a DQN that was trained with MlpPolicy and its default arguments, but for net_arch"
SAVE_AGAIN = "Save it again with model.save, or bring it back from a copy"
FROM_A_COPY = "Bring it back from a copy"
NOT_PLAIN = f"its policy.pth is damaged, or holds more than tensors (%s). {SAVE_AGAIN}"


def test_a_path_where_nothing_is(tmp_path: Path):
    fix = "Give a run's folder (RUN or RUN:STUDENT), a Stable-Baselines3 DQN .zip or a .safetensors file"
    write_sb3(tmp_path / "dqn.zip", sb3_state(CHAIN))
    for origin in (tmp_path / "no", tmp_path / "no.pt", "", ":tiny", tmp_path / "dqn.zip:tiny", "a\0b", "x" * 5000):
        with pytest.raises(ConfigurationError) as error:
            read_source(str(origin))
        assert error.value.exit_code == 2
        (line,) = error.value.lines
        assert line.endswith(f"): there is nothing at this path. {fix}")


def test_a_folder_that_is_no_run_and_a_pipe(tmp_path: Path):
    assert refusal(tmp_path) == f"it is a folder without the config.toml of a run. {CONVERT}"
    os.mkfifo(tmp_path / "a.safetensors")
    assert refusal(tmp_path / "a.safetensors") == "it is no regular file. Give a file or the folder of a run"


def test_a_policy_that_a_run_does_not_have(tmp_path: Path):
    state = as_ours(CHAIN)
    path = write_run(tmp_path / "run", TeacherConfig(), {"teacher": state, "tiny": state}, ("tiny", "small"))
    meant = f"this run has no policy 'tinny'. Did you mean {path}:tiny?"
    assert refusal(f"{path}:tinny", ConfigurationError) == meant
    meant = "this run has no policy 'qqq'. It has teacher, tiny, small"
    assert refusal(f"{path}:qqq", ConfigurationError) == meant
    assert refusal(f"{path}:", ConfigurationError) == "this run has no policy ''. It has teacher, tiny, small"
    why = f"{path / 'checkpoints' / 'step-100'} does not hold small"
    assert refusal(f"{path}:small") == f"{why}. Go on with that run until its next checkpoint, or name another policy"


@pytest.mark.parametrize("source", ["peers", ("a.zip", "b.zip")])
def test_a_teacher_that_is_made_of_several(tmp_path: Path, source: str | tuple[str, ...]):
    chain = layers(4, 8, 2)  # as the run file says of its students
    state = as_ours(chain)
    path = write_run(tmp_path / "run", TeacherConfig(source=source), {"teacher": state, "tiny": state}, ("tiny", "small"))
    line = f"the teacher of this run is made of several policies. Name one student, such as {path}:tiny"
    assert refusal(path) == line
    assert refusal(f"{path}:teacher") == line
    assert_acts_as(read_source(f"{path}:tiny"), chain)


def test_a_run_whose_files_are_not_of_this_version(tmp_path: Path):
    path = write_run(tmp_path / "run", TeacherConfig(), {"teacher": as_ours(CHAIN)})
    text = (path / "config.toml").read_text()
    (path / "config.toml").write_text(text.replace("gamma", "gama"))
    with pytest.raises(CheckpointError) as error:
        read_source(str(path))
    first, second = error.value.lines
    why = f"{path / 'config.toml'} is no run file of this version. Mend it there"
    assert first == f"the policy cannot be read (source={path}): {why}"
    assert "teacher.gama" in second and "Did you mean gamma?" in second
    (path / "config.toml").write_text("gamma = ")
    with pytest.raises(CheckpointError, match=f"{path / 'config.toml'}.*broken TOML"):
        read_source(str(path))


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ({"body.0.weight": "text"}, "{path} holds no learner of this version (TypeError). {fix}"),
        (None, "{path} does not hold teacher. {fix}"),
        (
            as_ours(CHAIN) | {"body.0.bias": np.full(16, np.nan, np.float32)},
            "body.0.bias is not finite as float32. {diverged}",
        ),
    ],
)
def test_a_checkpoint_without_a_policy_in_it(tmp_path: Path, state: dict | None, line: str):
    path = write_run(tmp_path / "run", TeacherConfig(), {"teacher": state})
    fixes = {
        "path": path / "checkpoints" / "step-100",
        "fix": "Go on with that run until its next checkpoint, or name another policy",
        "diverged": "Give the policy as it was before it diverged",
    }
    assert refusal(path) == line.format(**fixes)


def test_a_run_without_a_whole_checkpoint(tmp_path: Path):
    path = write_run(tmp_path / "run", TeacherConfig(), {"teacher": as_ours(CHAIN)})
    (path / "checkpoints" / "step-100" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"no checkpoint to start from \(path=.*none of the 1 there is whole"):
        read_source(str(path))


def changed(**tensors: object) -> dict:
    """The Q-network of a DQN with other tensors; `_0w` stands for q_net.q_net.0.weight, None leaves it out."""
    kinds = {"w": "weight", "b": "bias"}
    named_so = {f"q_net.q_net.{name[1]}.{kinds[name[2]]}": value for name, value in tensors.items()}
    return {name: value for name, value in (sb3_state(CHAIN) | named_so).items() if value is not None}


IMAGE = {"dtype": "uint8", "_shape": [3, 36, 36]}
TANH = {":type:": "<class 'dict'>", "activation_fn": "<class 'torch.nn.modules.activation.Tanh'>"}
OWN = {":type:": "<class 'dict'>", "features_extractor_class": "<class '__main__.Scaled'>"}
BARE = {"policy_class": {"__module__": "mine"}, "policy_kwargs": {}, "observation_space": {}}
DISCRETE = {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>"}
DAMAGED_DATA = f"its data is damaged, or none of Stable-Baselines3 (%s). {SAVE_AGAIN}"


@pytest.mark.parametrize(
    ("state", "data", "line"),
    [
        (named(CHAIN, "mlp_extractor.policy_net."), None,
         "its algorithm is no DQN: there are no q_net.q_net layers. Give one that DQN of Stable-Baselines3 made"),
        (sb3_state(CHAIN) | {"q_net.features_extractor.cnn.0.weight": torch.zeros(32, 3, 8, 8)}, None,
         f"it has a features extractor of its own (q_net.features_extractor.cnn.0.weight). {MLP_NEEDED}"),
        (changed(), sb3_data(TANH), f"its activation is Tanh, and only ReLU is read. {MLP_NEEDED}"),
        (changed(), sb3_data(OWN), f"its features extractor is Scaled. {MLP_NEEDED}"),
        (changed(), BARE, f"its policy is a class of mine. {MLP_NEEDED}"),
        (changed(), sb3_data(observations=IMAGE),
         "it saw images, which Stable-Baselines3 transposes and scales. Give one trained on numbers"),
        (changed(), sb3_data(observations=DISCRETE),
         "its observations are Discrete. Give one whose observations are one Box"),
        (changed(), [], DAMAGED_DATA % "TypeError"),
        (changed(), {}, DAMAGED_DATA % "KeyError"),
        (changed(_0b=None), None, f"q_net.q_net.0.bias is missing. {CHAIN_NEEDED}"),
        (changed(_0w=torch.zeros(16, 4, 1, 1)), None,
         f"q_net.q_net.0.weight has the shape (16, 4, 1, 1), and a linear layer's is (outputs, inputs). {CHAIN_NEEDED}"),
        (changed(_2w=torch.zeros(2, 15)), None,
         f"q_net.q_net.2.weight takes 15 numbers, and the layer before it gives 16. {CHAIN_NEEDED}"),
        (changed(_2b=torch.zeros(3)), None,
         f"q_net.q_net.2 has a weight of the shape (2, 16) and a bias of (3,), where it gives 2. {CHAIN_NEEDED}"),
        (changed(_2b=torch.tensor([1.0, np.inf])), None,
         "q_net.q_net.2.bias is not finite as float32. Give the policy as it was before it diverged"),
        (changed(_2b=torch.tensor([1.0, 1e300], dtype=torch.float64)), None,
         "q_net.q_net.2.bias is not finite as float32. Give the policy as it was before it diverged"),
        (changed(_2b=torch.tensor([1, 2])), None,
         "q_net.q_net.2.bias is int64. Give float16, bfloat16, float32 or float64"),
        (changed(_2b=torch.zeros(2).to_sparse()), None,
         f"its policy.pth holds tensors of another kind (TypeError). {SAVE_AGAIN}"),
        (changed(_2b=torch.zeros(2, device="meta")), None,
         f"its policy.pth holds tensors of another kind (TypeError). {SAVE_AGAIN}"),
        # one stored number that claims to be 2**40 wide costs 4 bytes in the file, and 4 TiB once it is copied
        (changed(_0w=torch.zeros(1, 1).expand(16, 2**40)), None,
         f"its parameters would take {4 * (16 * 2**40 + 16 + 32 + 2)} bytes. At most 1073741824 are read"),
        ([1, 2], None, NOT_PLAIN % "AttributeError"),
        ({"q_net.q_net.0.weight": 1}, None, NOT_PLAIN % "AttributeError"),
    ],
)  # fmt: skip
def test_a_zip_that_is_none_of_a_dqn_we_can_be(tmp_path: Path, state: object, data: object, line: str):
    assert refusal(write_sb3(tmp_path / "a.zip", state, data)) == line


def packed(members: dict[str, bytes], compression: int) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def squeezed(saved: bytes) -> bytes:
    """What torch.save wrote, with its tensors compressed, as torch.save never does."""
    with zipfile.ZipFile(BytesIO(saved)) as archive:
        return packed({name: archive.read(name) for name in archive.namelist()}, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"policy.pth": None},
         "policy.pth is missing in it. Give a .zip that model.save of a Stable-Baselines3 DQN wrote"),
        ({"data": None}, "data is missing in it. Give a .zip that model.save of a Stable-Baselines3 DQN wrote"),
        ({"data": b"[" * 100_000}, DAMAGED_DATA % "RecursionError"),
        ({"data": b"\x80"}, DAMAGED_DATA % "UnicodeDecodeError"),
        ({"policy.pth": b""}, NOT_PLAIN % "BadZipFile"),
        ({"policy.pth": torch_saved(sb3_state(CHAIN))[:-100]}, NOT_PLAIN % "BadZipFile"),
        ({"policy.pth": squeezed(torch_saved(changed(_0w=torch.zeros(1000, 1000))))},
         f"its policy.pth would unpack to more than it is. {SAVE_AGAIN}"),
    ],
)  # fmt: skip
def test_a_zip_with_other_members(tmp_path: Path, members: dict, line: str):
    assert refusal(write_sb3(tmp_path / "a.zip", sb3_state(CHAIN), members=members)) == line


@pytest.mark.parametrize(("member", "largest"), [("policy.pth", "LARGEST_FILE"), ("data", "LARGEST_TABLE")])
def test_a_zip_that_would_unpack_to_too_much(tmp_path: Path, monkeypatch, member: str, largest: str):
    # 5 MB of zeros take 5 kB in the zip; the bounds are lowered here so that the bomb need not be of gigabytes
    monkeypatch.setattr(foreign, largest, 1_000_000)
    bomb = {"data": json.dumps(sb3_data()).encode(), "policy.pth": b"", member: bytes(5_000_000)}
    (tmp_path / "a.zip").write_bytes(packed(bomb, zipfile.ZIP_DEFLATED))
    assert (tmp_path / "a.zip").stat().st_size < 10_000
    assert refusal(tmp_path / "a.zip") == f"its {member} unpacks to 5000000 bytes. At most 1000000 are read"


@pytest.mark.parametrize("name", ["a.zip", "a.safetensors"])
def test_a_file_of_absurd_size(tmp_path: Path, name: str):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**40)  # it takes no room on the disk
    assert refusal(tmp_path / name) == "it has 1099511627776 bytes. At most 1073741824 are read"


@pytest.mark.parametrize(("name", "opener"), [("a.zip", "ZipFile"), ("a.safetensors", "safe_open")])
def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch, name: str, opener: str):
    def denied(*_: object, **__: object):
        raise PermissionError(13, "Permission denied")

    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(foreign, opener, denied)  # the owner of a machine, who may run this, is denied nothing
    assert refusal(tmp_path / name) == "it may not be read. Make it readable"


def safetensors_of(header: dict, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


BROKEN = f"it is damaged, or no safetensors file (SafetensorError). {FROM_A_COPY}"
CHAIN_OF = named(CHAIN, "net.")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", BROKEN),
        (b"\xff" * 100, BROKEN),
        # a header that claims 2**60 floats in a file of a few bytes
        (safetensors_of({"net.0.weight": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 2**62]}}), BROKEN),
        (safetensors_of({}), f"it holds no layers named <prefix>.<number>.weight. {CHAIN_NEEDED}"),
        (CHAIN_OF | named(CHAIN, "other."),
         "it holds several networks: net, other. Save the state dict of one network alone"),
        (CHAIN_OF | {"norm": torch.zeros(4)}, f"norm is in no chain of linear layers. {CHAIN_NEEDED}"),
        (CHAIN_OF | {"net.1.weight": torch.ones(16), "net.1.bias": torch.zeros(16)},
         f"net.1.weight has the shape (16,), and a linear layer's is (outputs, inputs). {CHAIN_NEEDED}"),
        (as_ours(CHAIN) | {"value.weight": torch.zeros(2, 16), "value.bias": torch.zeros(2)},
         f"value has a weight of the shape (2, 16) and a bias of (2,), where it gives 1. {CHAIN_NEEDED}"),
        (as_ours(CHAIN) | {"value.weight": torch.zeros(2, 16), "value.bias": torch.zeros(1)},
         f"value has a weight of the shape (2, 16) and a bias of (1,), where it gives 1. {CHAIN_NEEDED}"),
        (as_ours(CHAIN) | {"extra.0.weight": torch.zeros(2, 2)},
         f"extra.0.weight is in no chain of linear layers. {CHAIN_NEEDED}"),
        (CHAIN_OF | {"net.2.bias": torch.tensor([1.0, torch.nan])},
         "net.2.bias is not finite as float32. Give the policy as it was before it diverged"),
        (CHAIN_OF | {"net.2.bias": torch.zeros(2).to(torch.float8_e5m2)},
         "net.2.bias is float8_e5m2. Give float16, bfloat16, float32 or float64"),
    ],
)  # fmt: skip
def test_a_safetensors_file_that_is_no_policy(tmp_path: Path, content: bytes | dict, line: str):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content) if isinstance(content, bytes) else save_file(content, path)
    assert refusal(path) == line
