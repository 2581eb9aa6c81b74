"""The formats of exported files: how each is written, and how whoever has the file reads it."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from numpy.typing import NDArray
from torch.export import Dim, ExportedProgram

from distributed_kd import networks
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.exports import INT8, ONNX, SAFETENSORS, TORCH, onnx_files, policy
from distributed_kd.exports.parity import Outputs
from distributed_kd.exports.saved import Saved
from distributed_kd.exports.states import States
from distributed_kd.rollouts.policies import Policies
from distributed_kd.storage.files import write_synced
from distributed_kd.storage.policy_files import packed
from distributed_kd.storage.sources import TEACHER, read_source, saved_source


@dataclass(frozen=True)
class Reader:
    """Someone who reads the file."""

    outputs: Outputs
    demand: str
    """what its outputs must be beside the policy's: "exact", "close", or "any" """


def write(format: str, saved: Saved, about: Mapping[str, object], states: States, path: Path) -> dict[str, Reader]:
    """Write the policy's file, which must not be there yet, and give those who read it, by what they are called.

    Raises ConfigurationError where the network cannot be written so.
    """
    return _WRITERS[format](saved, about, states, path)


def in_torch(module: torch.nn.Module) -> Outputs:
    """A module as what gives outputs for observations."""

    @torch.inference_mode()
    def outputs(observations: NDArray) -> NDArray:
        return module(torch.from_numpy(observations)).numpy()

    return outputs


def is_run_by_policy_py(format: str, about: Mapping) -> bool:
    """Whether `policy.py` reads such a file: by ONNX Runtime, or by NumPy where the network is linear layers alone."""
    return format in (ONNX, INT8) or (format == SAFETENSORS and about["network"]["is_plain"])


def _safetensors(saved: Saved, about: Mapping[str, object], states: States, path: Path) -> dict[str, Reader]:
    source = saved_source(saved.checkpoint, saved.config, saved.name, saved.origin)
    write_synced(path, [packed(source, **{policy.ABOUT: json.dumps(about)})])
    read = read_source(str(path))
    network = networks.build(read.network, saved.spec, head=read.head).eval()
    network.load_state_dict({name: torch.tensor(value) for name, value in read.parameters.items()})
    policies = Policies({TEACHER: network}, read.normal)
    readers = {"teacher.source": Reader(lambda observations: policies.outputs(TEACHER, observations), "exact")}
    return {**readers, **_policy_py(path)} if is_run_by_policy_py(SAFETENSORS, about) else readers


def _torch_export(saved: Saved, about: Mapping[str, object], states: States, path: Path) -> dict[str, Reader]:
    program, archive = _program(saved), io.BytesIO()
    program.example_inputs = None  # they alone would be pickled
    torch.export.save(program, archive, extra_files={policy.ABOUT: json.dumps(about)})
    write_synced(path, [archive.getvalue()])
    return {"torch.export": Reader(in_torch(torch.export.load(path).module()), "close")}


def _onnx(saved: Saved, about: Mapping[str, object], states: States, path: Path) -> dict[str, Reader]:
    write_synced(path, [onnx_files.to_onnx(_program(saved), about)])
    return _policy_py(path)


def _int8(saved: Saved, about: Mapping[str, object], states: States, path: Path) -> dict[str, Reader]:
    """The file of floats that the integers are made from is read too, so that theirs is the only difference."""
    floats = path.with_name("floats.onnx")
    readers = _onnx(saved, about, states, floats)
    aside = path.with_name("aside.onnx")
    write_synced(path, [onnx_files.quantised(floats.read_bytes(), about, states, aside)])
    return {"before int8": readers["policy.py"], **_policy_py(path, "any")}


_WRITERS: dict[str, Callable[[Saved, Mapping[str, object], States, Path], dict[str, Reader]]] = {
    SAFETENSORS: _safetensors,
    ONNX: _onnx,
    INT8: _int8,
    TORCH: _torch_export,
}


def _policy_py(path: Path, demand: str = "close") -> dict[str, Reader]:
    return {"policy.py": Reader(policy.Policy(path).outputs, demand)}


def _program(saved: Saved) -> ExportedProgram:
    """The policy with all that stands before its network, for any number of observations at once."""
    spec = saved.spec
    example = torch.zeros((2, *spec.input_shape), dtype=getattr(torch, spec.observation_dtype))
    try:
        with onnx_files.quiet():
            program = torch.export.export(saved.deployed(), (example,), dynamic_shapes=({0: Dim("batch")},))
    except Exception as error:  # a network of the user's own may hold anything
        why = f"PyTorch cannot trace it: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        fix = "Use --format safetensors"
        raise ConfigurationError(Problem("the network cannot be exported", "policy", saved.name, why, fix)) from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # lines of sources on this machine
    return program
