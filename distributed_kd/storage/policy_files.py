"""One policy as a .safetensors file of our own: its parameters, and in the file's metadata what network they are of."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from distributed_kd import run_file
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.storage.foreign import Parameters, Unusable, parsing

LARGEST_WIDTH = 2**20
"""Units, channels or atoms above which no file's word is taken: far beyond every network that is meant"""
METADATA = "distributed_kd.source"
"""Name, in a file's metadata, of the JSON that `packed` writes"""
NORMAL = "observation.normal"
"""Name, in such a file, of what the policy sees observations by"""


@dataclass(frozen=True, eq=False)
class Source:
    """A policy that was trained elsewhere."""

    origin: str
    """as the user named it"""
    network: NetworkConfig
    head: HeadConfig
    parameters: Mapping[str, NDArray[np.float32]]
    """named as in the `state_dict()` of the network that `networks.build` makes"""
    normal: NDArray[np.float32] | None = None
    """mean and standard deviation [2, *observation_shape] that it sees observations by; None: as they are"""


def packed(source: Source, **metadata: str) -> bytes:
    """The file of a policy, which `unpacked` gives back as it was; `metadata` stands in it beside our own."""
    # safetensors takes the memory of an array as it lies
    arrays = {name: np.ascontiguousarray(value) for name, value in source.parameters.items()}
    if source.normal is not None:
        arrays[NORMAL] = np.ascontiguousarray(source.normal)
    about = {
        "origin": source.origin,
        "network": asdict(source.network),
        "head": asdict(source.head),
        "sha256": _hash(arrays),
    }
    return save(arrays, {METADATA: json.dumps(about), **metadata})


def unpacked(parameters: Parameters, metadata: Mapping[str, str]) -> Source:
    """The policy of what stands in a file of ours. Raises Unusable where it is damaged, or written by something else."""
    fix = "Bring it back from a copy"
    with parsing("its metadata is none that a run wrote", fix):
        about = json.loads(metadata[METADATA])
        network, wrong = run_file.read_table(NetworkConfig(), about["network"])
        head, also = run_file.read_table(HeadConfig(), about["head"])
        if wrong or also or list(TeacherConfig(network=network, **asdict(head)).problems()):
            raise Unusable("its metadata tells of no network of this version", fix)
        layers = (*network.units, *network.filters)
        if not network.is_foreign and (len(layers) > len(parameters) or max((*layers, head.outputs)) > LARGEST_WIDTH):
            raise Unusable("its metadata tells of another network than its layers", fix)
        if "sha256" in about and about["sha256"] != _hash(parameters):  # files of earlier versions have none
            raise Unusable("its numbers are not those that were written: sha256 differs", fix)
        return Source(str(about["origin"]), network, head, parameters, parameters.pop(NORMAL, None))


def _hash(arrays: Mapping[str, NDArray]) -> str:
    """Of all numbers with their names and shapes, whatever order they come in."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{list(arrays[name].shape)}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()
