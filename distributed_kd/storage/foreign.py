"""Files with the networks of other programs, read as the parameters of our `mlp`. Nothing in them is ever run.

A zip's JSON is read and its base64 pickles are passed over; what PyTorch wrote is read with weights_only=True, which makes
tensors and nothing else. Which path is read as what, and runs of our own, are in `sources.py`.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

LARGEST_FILE = 1 << 30
"""Bytes of a file, of a zip's member unpacked and of a network's parameters, above which none is read"""
LARGEST_TABLE = 1 << 26
"""The same for JSON, which takes many times its bytes once it is parsed"""
CONVERT = (
    "Where you trust it, read it with torch.load(..., weights_only=True) and write it with "
    'safetensors.torch.save_file(state_dict, "FILE.safetensors")'
)
CHAIN_NEEDED = "Give linear layers with ReLU between them, such as one torch.nn.Sequential"

Shapes = Mapping[str, tuple[int, ...]]
Parameters = dict[str, NDArray[np.float32]]

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NUMBERED = re.compile(r"(.+\.|)([0-9]{1,9})\.(?:weight|bias)")
_RELU = "<class 'torch.nn.modules.activation.ReLU'>"
_MLP_NEEDED = "Give a DQN that was trained with MlpPolicy and its default arguments, but for net_arch"


class Unusable(Exception):
    """Why a file gives no policy, and what to do about it."""

    def __init__(self, why: str, fix: str):
        super().__init__(why)
        self.why, self.fix = why, fix


@contextmanager
def parsing(why: str, fix: str) -> Iterator[None]:
    """Turn whatever a parser raises inside into Unusable.

    Of its words only the kind of error is shown: PyTorch's advise to load the file in the unsafe way.
    """
    try:
        yield
    except Unusable:
        raise
    # Others made the file, and parsers of zips, tensors and JSON fail in many ways: each means that it cannot be used.
    except Exception as error:
        if isinstance(error, PermissionError):
            raise Unusable("it may not be read", "Make it readable") from error
        raise Unusable(f"{why} ({type(error).__name__})", fix) from error


def read_safetensors(path: Path, ours: str) -> tuple[Parameters, dict[str, str]]:
    """The parameters in a .safetensors file, and its metadata. Raises Unusable.

    Where `ours` is in its metadata they are taken as they are named. Else it must be a plain state dict: named as ours, or
    one chain of linear layers `<prefix>.<number>.weight` and `.bias`, as of torch.nn.Sequential, in the order of their
    numbers. Which functions stand between them is not in such a file: ReLU is assumed, and nothing behind the last. Target
    networks beside it are left out.
    """
    check_size(path)
    with (
        parsing("it is damaged, or no safetensors file", "Bring it back from a copy"),
        safe_open(path, framework="pt") as file,
    ):
        metadata = file.metadata() or {}
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        names = {name: name for name in shapes} if ours in metadata else matched(shapes)
        return converted(names, file.get_tensor), metadata


def read_stable_baselines(path: Path) -> Parameters:
    """The Q-network in the .zip of a Stable-Baselines3 DQN with MlpPolicy. Raises Unusable.

    What its environment's wrappers did to observations (VecNormalize) is in no such file: it must be done here too.
    """
    check_size(path)
    damaged = "Save it again with model.save, or bring it back from a copy"
    with parsing("it is damaged, or no zip", damaged), ZipFile(path) as archive:
        table = _member(archive, "data", LARGEST_TABLE)
        weights = _member(archive, "policy.pth", LARGEST_FILE)
    with parsing("its policy.pth is damaged, or holds more than tensors", damaged):
        with ZipFile(BytesIO(weights)) as inner:
            if sum(record.file_size for record in inner.infolist()) > len(weights):  # PyTorch never compresses
                raise Unusable("its policy.pth would unpack to more than it is", damaged)
        state = torch.load(BytesIO(weights), map_location="cpu", weights_only=True)
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if not name.startswith("q_net_target.")}
    _check_is_dqn(shapes)
    with parsing("its data is damaged, or none of Stable-Baselines3", damaged):
        _check_is_plain(json.loads(table))
    with parsing("its policy.pth holds tensors of another kind", damaged):
        return converted(matched(shapes), state.__getitem__)


def matched(shapes: Shapes) -> dict[str, str]:
    """The parameters of an `mlp`, first layer to last, and what each is called in a file that holds these shapes.

    Raises Unusable where they are not one network of linear layers, each taking what the one before it gives.
    """
    own = {name: shape for name, shape in shapes.items() if "target" not in name} or shapes
    layers = _layers(own)
    names = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in layers.items() for kind in ("weight", "bias")}
    for name in names.values():
        if name not in own:
            raise Unusable(f"{name} is missing", CHAIN_NEEDED)
    if others := own.keys() - names.values():
        raise Unusable(f"{min(others)} is in no chain of linear layers", CHAIN_NEEDED)
    width = 0
    for ours, theirs in layers.items():
        weight, bias = own[f"{theirs}.weight"], own[f"{theirs}.bias"]
        if len(weight) != 2 or 0 in weight:
            why = f"{theirs}.weight has the shape {weight}, and a linear layer's is (outputs, inputs)"
            raise Unusable(why, CHAIN_NEEDED)
        if width and weight[1] != width:
            raise Unusable(f"{theirs}.weight takes {weight[1]} numbers, and the layer before it gives {width}", CHAIN_NEEDED)
        outputs = 1 if ours == "value" else weight[0]
        if weight[0] != outputs or bias != (outputs,):
            why = f"{theirs} has a weight of the shape {weight} and a bias of {bias}, where it gives {outputs}"
            raise Unusable(why, CHAIN_NEEDED)
        width = weight[0] if ours.startswith("body.") else weight[1]
    size = 4 * sum(math.prod(own[name]) for name in names.values())
    if size > LARGEST_FILE:
        raise Unusable(f"its parameters would take {size} bytes", f"At most {LARGEST_FILE} are read")
    return names


def converted(names: Mapping[str, str], tensor_of: Callable[[str], Tensor]) -> Parameters:
    """Copies, as float32 and named as ours, of the tensors that `names` matches. Raises Unusable."""
    parameters = {}
    for ours, theirs in names.items():
        tensor = tensor_of(theirs)
        if tensor.dtype not in _FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise Unusable(f"{theirs} is {kind}", "Give float16, bfloat16, float32 or float64")
        array = np.array(tensor.detach().to(torch.float32).numpy())
        if not np.isfinite(array).all():
            raise Unusable(f"{theirs} is not finite as float32", "Give the policy as it was before it diverged")
        parameters[ours] = array
    return parameters


def check_size(path: Path) -> None:
    """Raise Unusable where a file is too large to be a policy, missing, or none: reading a pipe would wait for ever."""
    if not path.exists():
        raise Unusable("it is missing", "Bring it back from a copy")
    if not path.is_file():
        raise Unusable("it is no regular file", "Give a file or the folder of a run")
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise Unusable(f"it has {size} bytes", f"At most {LARGEST_FILE} are read")


def _layers(names: Iterable[str]) -> dict[str, str]:
    """What the linear layers are called in our `mlp`, and what in the file, first to last."""
    chains: dict[str, set[int]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            chains.setdefault(match[1], set()).add(int(match[2]))
    if "advantage.weight" in names:
        heads = [head for head in ("advantage", "value") if f"{head}.weight" in names]
        bodies = [f"body.{number}" for number in sorted(chains.get("body.", ()))]
    elif len(chains) == 1:
        ((prefix, numbers),) = chains.items()
        *bodies, last = [f"{prefix}{number}" for number in sorted(numbers)]
        return {**{f"body.{2 * place}": theirs for place, theirs in enumerate(bodies)}, "advantage": last}
    else:
        found = ", ".join(sorted(prefix.removesuffix(".") or "(no prefix)" for prefix in chains))
        why = f"it holds several networks: {found}" if chains else "it holds no layers named <prefix>.<number>.weight"
        raise Unusable(why, "Save the state dict of one network alone" if chains else CHAIN_NEEDED)
    return {**{f"body.{2 * place}": theirs for place, theirs in enumerate(bodies)}, **{head: head for head in heads}}


def _member(archive: ZipFile, name: str, largest: int) -> bytes:
    """One member of a zip; its size is checked before, and its checksum after it is unpacked."""
    if name not in archive.namelist():
        raise Unusable(f"{name} is missing in it", "Give a .zip that model.save of a Stable-Baselines3 DQN wrote")
    member = archive.getinfo(name)
    if member.file_size > largest:
        raise Unusable(f"its {name} unpacks to {member.file_size} bytes", f"At most {largest} are read")
    return archive.read(member)


def _check_is_dqn(shapes: Shapes) -> None:
    if not any(name.startswith("q_net.q_net.") for name in shapes):
        why, fix = "its algorithm is no DQN: there are no q_net.q_net layers", "Give one that DQN of Stable-Baselines3 made"
        raise Unusable(why, fix)
    for name in shapes:
        if name.startswith("q_net.features_extractor."):
            raise Unusable(f"it has a features extractor of its own ({name})", _MLP_NEEDED)


def _check_is_plain(data: Mapping[str, Mapping[str, object]]) -> None:
    """Raise Unusable where the words of a Stable-Baselines3 `data` tell of a network or of inputs that ours are not."""
    policy, arguments, observations = data["policy_class"], data["policy_kwargs"], data["observation_space"]
    if policy["__module__"] != "stable_baselines3.dqn.policies":
        raise Unusable(f"its policy is a class of {policy['__module__']}", _MLP_NEEDED)
    if arguments.get("activation_fn", _RELU) != _RELU:
        raise Unusable(f"its activation is {_class_name(arguments['activation_fn'])}, and only ReLU is read", _MLP_NEEDED)
    extractor = _class_name(arguments.get("features_extractor_class", "FlattenExtractor"))
    if extractor != "FlattenExtractor":
        raise Unusable(f"its features extractor is {extractor}", _MLP_NEEDED)
    space = _class_name(observations[":type:"])
    if space != "Box":
        raise Unusable(f"its observations are {space}", "Give one whose observations are one Box")
    if observations["dtype"] == "uint8" and len(observations["_shape"]) == 3:
        raise Unusable("it saw images, which Stable-Baselines3 transposes and scales", "Give one trained on numbers")


def _class_name(text: object) -> str:
    """`<class 'package.module.Name'>` -> `Name`."""
    return str(text).rpartition(".")[2].removesuffix("'>")
