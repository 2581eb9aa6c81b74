"""Policies that were trained elsewhere, and where a run keeps those that it began with.

How the files of other programs are read is in `foreign.py`; what a policy is then used for is the training's business.
"""

import json
import logging
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save

from distributed_kd import run_file
from distributed_kd.config import RunConfig
from distributed_kd.errors import CheckpointError, ConfigurationError, Problem
from distributed_kd.policy_config import NetworkConfig
from distributed_kd.records import EnvSpec, State
from distributed_kd.storage.checkpoints import load_newest
from distributed_kd.storage.files import make_folder, storage_errors, sync_folder, write_synced
from distributed_kd.storage.foreign import (
    CONVERT,
    Parameters,
    Unusable,
    check_size,
    converted,
    matched,
    parsing,
    read_safetensors,
    read_stable_baselines,
)
from distributed_kd.storage.run_folder import RunFolder

TEACHER = "teacher"
METADATA = "distributed_kd.source"
"""Name, in a .safetensors file's metadata, of the JSON that `save_sources` writes"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Source:
    """A policy that was trained elsewhere."""

    origin: str
    """as the user named it"""
    network: NetworkConfig
    dueling: bool
    parameters: Mapping[str, NDArray[np.float32]]
    """named as in the `state_dict()` of `networks.mlp.MLP`, first layer to last"""

    @property
    def inputs(self) -> int:
        """Numbers in one observation."""
        return next(iter(self.parameters.values())).shape[1]

    @property
    def actions(self) -> int:
        return self.parameters["advantage.bias"].shape[0]


def read_source(origin: str) -> Source:
    """The policy in a run's folder (`RUN`: its teacher, `RUN:NAME`: a student), a Stable-Baselines3 DQN .zip or a
    .safetensors file, as `foreign.read_safetensors` takes it. Text that as a whole is a path is that path.

    Raises ConfigurationError where nothing is there or the run has no such policy, CheckpointError where it cannot be read.
    """
    path, name = _place(origin)
    with _refusals("source", origin):
        if path.is_dir():
            return _described(origin, _of_run(path, name, origin))
        check_size(path)
        if path.suffix.lower() == ".zip":
            return _described(origin, read_stable_baselines(path))
        if path.suffix.lower() == ".safetensors":
            return replace(_of_safetensors(path, origin), origin=origin)
        raise Unusable(f"a {path.suffix or 'file without an ending'} may run code when it is read", CONVERT)


def check_source(source: Source, spec: EnvSpec, key: str) -> list[Problem]:
    """What in the sizes of a policy's observations and actions is not as in the environment; `key` names the setting."""
    numbers, what, fix = math.prod(spec.observation_shape), "the policy does not fit", f"Give one trained on {spec.id}"
    problems = []
    if source.inputs != numbers:
        why = f"it sees {source.inputs} numbers, and an observation of {spec.id} has {numbers}"
        problems.append(Problem(what, key, source.origin, why, fix))
    if source.actions != spec.actions:
        why = f"it has {source.actions} actions, and {spec.id} has {spec.actions}"
        problems.append(Problem(what, key, source.origin, why, fix))
    return problems


def save_sources(folder: Path, sources: Sequence[Source]) -> None:
    """Write a new folder with 0.safetensors, 1.safetensors, ...: after a crash it is there with all of them, or not at all.

    Raises StorageError where it cannot be written, or is there already.
    """
    with storage_errors("the teachers could not be kept", folder):
        make_folder(folder.parent)
        temporary = folder.with_name(f"{folder.name}.tmp-{uuid.uuid4().hex}")
        try:
            temporary.mkdir()
            for place, source in enumerate(sources):
                # safetensors takes the memory of an array as it lies
                arrays = {name: np.ascontiguousarray(value) for name, value in source.parameters.items()}
                write_synced(temporary / f"{place}.safetensors", [save(arrays, {METADATA: json.dumps(_about(source))})])
            sync_folder(temporary)
            os.replace(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(folder.parent)


def load_sources(folder: Path) -> tuple[Source, ...]:
    """What `save_sources` wrote, in its order; () where the folder does not exist.

    Raises CheckpointError naming the file that is damaged, missing or none of ours.
    """
    sources = []
    for place in range(len(list(folder.glob("*.safetensors")))):
        path = folder / f"{place}.safetensors"
        with _refusals("path", path):
            sources.append(_of_safetensors(path))
    return tuple(sources)


def policy_parameters(learner: State, name: str) -> State | None:
    """One policy's parameters in the learner's state; None where it holds no such student."""
    owner = learner["teacher"] if name == TEACHER else learner["students"].get(name)
    return owner["trained"]["network"] if owner else None


def _place(origin: str) -> tuple[Path, str]:
    """The path that is meant, and the policy in it. Raises ConfigurationError where there is none."""
    run, _, name = origin.rpartition(":")
    if os.path.exists(origin):
        return Path(origin), TEACHER
    if os.path.isdir(run):
        return Path(run), name
    fix = "Give a run's folder (RUN or RUN:STUDENT), a Stable-Baselines3 DQN .zip or a .safetensors file"
    raise ConfigurationError(_problem("source", origin, "there is nothing at this path", fix))


def _of_run(path: Path, name: str, origin: str) -> Parameters:
    """A policy's parameters in the newest whole checkpoint of a run."""
    folder = RunFolder(path)
    if not folder.config_file.is_file():
        raise Unusable("it is a folder without the config.toml of a run", CONVERT)
    config = _config_of(folder, origin)
    if name not in config.policies:
        close = run_file.nearest(name, config.policies)
        fix = f"Did you mean {path}:{close}?" if close else f"It has {', '.join(config.policies)}"
        raise ConfigurationError(_problem("source", origin, f"this run has no policy {name!r}", fix))
    if name == TEACHER and (config.teacher.is_peers or config.teacher.is_ensemble):
        student = next(iter(config.students))
        raise Unusable("the teacher of this run is made of several policies", f"Name one student, such as {path}:{student}")
    checkpoint = load_newest(folder.checkpoints)
    for line in checkpoint.skipped:
        logger.warning("a damaged checkpoint was passed over (path=%s): %s", folder.checkpoints, line)
    fix = "Go on with that run until its next checkpoint, or name another policy"
    with parsing(f"{checkpoint.path} holds no learner of this version", fix):
        saved = policy_parameters(checkpoint.parts["learner"], name)
        if saved is None:
            raise Unusable(f"{checkpoint.path} does not hold {name}", fix)
        tensors = {key: torch.tensor(value) for key, value in saved.items()}
        return converted(matched({key: tuple(tensor.shape) for key, tensor in tensors.items()}), tensors.__getitem__)


def _config_of(folder: RunFolder, origin: str) -> RunConfig:
    try:
        return run_file.decode(run_file.read_toml(folder.config_file))
    except ConfigurationError as error:
        why, fix = f"{folder.config_file} is no run file of this version", "Mend it there"
        raise CheckpointError(_problem("source", origin, why, fix), *error.lines) from error


def _of_safetensors(path: Path, origin: str | None = None) -> Source:
    """The policy in a .safetensors file; without an `origin` it must be one that `save_sources` wrote."""
    parameters, metadata = read_safetensors(path)
    if origin is not None and METADATA not in metadata:
        return _described(origin, parameters)
    fix = "Bring it back from a copy"
    with parsing("its metadata is none that a run wrote", fix):
        about = json.loads(metadata[METADATA])
        source = _described(str(about["origin"]), parameters)
        if about != _about(source):
            raise Unusable("its metadata tells of another network than its layers", fix)
    return source


def _about(source: Source) -> dict[str, object]:
    network = {"kind": source.network.kind, "hidden": list(source.network.hidden), "dueling": source.dueling}
    return {"origin": source.origin, **network}


def _described(origin: str, parameters: Parameters) -> Source:
    """The parameters with what their shapes say of the network; for a run's teacher that came from elsewhere, its run
    file would not say it."""
    hidden = [value.shape[0] for name, value in parameters.items() if name.startswith("body.") and value.ndim == 1]
    return Source(origin, NetworkConfig(hidden=tuple(hidden)), "value.weight" in parameters, parameters)


@contextmanager
def _refusals(key: str, value: object) -> Iterator[None]:
    try:
        yield
    except Unusable as refusal:
        raise CheckpointError(_problem(key, value, refusal.why, refusal.fix)) from refusal


def _problem(key: str, value: object, why: str, fix: str) -> Problem:
    return Problem("the policy cannot be read", key, value, why, fix)
