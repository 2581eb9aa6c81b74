"""Policies that were trained elsewhere, and where a run keeps those that it began with.

How the files of other programs are read is in `foreign.py`; what a policy is then used for is the training's business.
"""

import logging
import math
import os
import shutil
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from distributed_kd import run_file
from distributed_kd.config import RunConfig
from distributed_kd.errors import CheckpointError, ConfigurationError, Problem
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import build
from distributed_kd.records import EnvSpec, State
from distributed_kd.storage.checkpoints import Checkpoint, load_newest
from distributed_kd.storage.files import make_folder, storage_errors, sync_folder, write_synced
from distributed_kd.storage.foreign import (
    CONVERT,
    Parameters,
    Unusable,
    check_size,
    converted,
    parsing,
    read_safetensors,
    read_stable_baselines,
)
from distributed_kd.storage.policy_files import METADATA, Source, packed, unpacked
from distributed_kd.storage.run_folder import RunFolder

TEACHER = "teacher"
SEVERAL = "the teacher of this run is made of several policies"
TO_RUN = (".onnx", ".pt2")
"""Endings of files that `export` writes for devices"""

logger = logging.getLogger(__name__)


def read_source(origin: str) -> Source:
    """The policy in a run's folder (`RUN`: its teacher, `RUN:NAME`: a student), a Stable-Baselines3 DQN .zip or a
    .safetensors file, as `foreign.read_safetensors` takes it. Text that as a whole is a path is that path.

    Raises ConfigurationError where nothing is there or the run has no such policy, CheckpointError where it cannot be read.
    """
    path, name = _place(origin)
    with _refusals("source", origin):
        if path.is_dir():
            return _of_run(path, name, origin)
        check_size(path)
        if path.suffix.lower() == ".zip":
            return _described(origin, read_stable_baselines(path))
        if path.suffix.lower() == ".safetensors":
            return replace(_of_safetensors(path, origin), origin=origin)
        if path.suffix.lower() in TO_RUN:
            raise Unusable("it is a policy to run, and no one can learn on from it", "Export it with --format safetensors")
        raise Unusable(f"a {path.suffix or 'file without an ending'} may run code when it is read", CONVERT)


def check_source(source: Source, spec: EnvSpec, key: str, allowed: Collection[str] = ()) -> list[Problem]:
    """What in a policy does not fit the environment; `key` names the setting.

    A network of the user's own is imported only where it is among the `allowed`: whoever made the file may have named any.
    """
    what, fix = "the policy does not fit", f"Give one trained on {spec.id}"
    kind = source.network.kind
    if source.network.is_foreign and kind not in allowed:
        why = f"its network is {kind}, and importing {kind.rpartition(':')[0]} runs its code"
        fix = f"If you trust it, set --teacher.network.kind {kind} and add --allow-env-import"
        return [Problem("a module would be imported", key, source.origin, why, fix)]
    try:
        wanted = _shapes(source, spec)
    except ConfigurationError as error:
        return [Problem(what, key, source.origin, line, fix) for line in error.lines]
    found = {name: value.shape for name, value in source.parameters.items()}
    if wanted == found:
        shape = (2, *spec.observation_shape)
        if source.normal is None or source.normal.shape == shape:
            return []
        why = f"it knows mean and deviation of observations of {list(source.normal.shape[1:])}, they are {list(shape[1:])}"
        return [Problem(what, key, source.origin, why, fix)]
    return [Problem(what, key, source.origin, why, fix) for why in _differences(source, spec, wanted)]


def _shapes(source: Source, spec: EnvSpec) -> dict[str, tuple[int, ...]]:
    """Of every parameter that its network has here, by name."""
    # Of our own networks no memory is taken for the widths that a file tells of; those of others may not allow that.
    with torch.device("cpu" if source.network.is_foreign else "meta"):
        network = build(source.network, spec, head=source.head)
    return {name: tuple(one.shape) for name, one in network.state_dict().items()}


def _differences(source: Source, spec: EnvSpec, wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    """In the words of environments where the sizes of input and output are all that differs, else of parameters."""
    inputs, outputs = next(iter(wanted)), "advantage.weight"
    found = {name: value.shape for name, value in source.parameters.items()}
    differ = [name for name in (wanted | found) if wanted.get(name) != found.get(name)]
    told = []
    alike = wanted.keys() == found.keys() and all(len(found[name]) == len(wanted[name]) for name in wanted)
    if source.network.kind == "mlp" and alike:
        sees, numbers = found[inputs][1], math.prod(spec.input_shape)
        if sees != numbers:
            told.append(f"it sees {sees} numbers, and an observation of {spec.id} has {numbers}")
        actions = found[outputs][0] // source.head.outputs
        if actions != spec.actions:
            told.append(f"it has {actions} actions, and {spec.id} has {spec.actions}")
    if told:
        return told
    return [f"its {name} is {found.get(name, 'missing')}, and {wanted.get(name, 'none')} is needed" for name in differ[:3]]


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
                write_synced(temporary / f"{place}.safetensors", [packed(source)])
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


def saved_normal(learner: State) -> NDArray[np.float32] | None:
    """Mean and standard deviation that a learner's networks see observations by; None where they see them as they are."""
    saved = learner.get("normaliser")
    return np.asarray(torch.as_tensor(saved["normal"]).cpu(), np.float32) if saved else None


def _of_run(path: Path, name: str, origin: str) -> Source:
    """A policy in the newest whole checkpoint of a run."""
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
        raise Unusable(SEVERAL, f"Name one student, such as {path}:{student}")
    where = folder.checkpoints_at(config.checkpoint.to)
    checkpoint = load_newest(where)
    for line in checkpoint.skipped:
        logger.warning("a damaged checkpoint was passed over (path=%s): %s", where, line)
    return _in_checkpoint(checkpoint, config, name, origin)


def saved_source(checkpoint: Checkpoint, config: RunConfig, name: str, origin: str) -> Source:
    """The policy of that name in a checkpoint of a run.

    Raises CheckpointError where it is not in it, not finite or, as a teacher can be, made of several.
    """
    with _refusals("policy", name):
        if name == TEACHER and (config.teacher.is_peers or config.teacher.is_ensemble):
            raise Unusable(SEVERAL, f"Name one student, such as {next(iter(config.students))}")
        return _in_checkpoint(checkpoint, config, name, origin)


def _in_checkpoint(checkpoint: Checkpoint, config: RunConfig, name: str, origin: str) -> Source:
    fix = "Go on with that run until its next checkpoint, or name another policy"
    with parsing(f"{checkpoint.path} holds no learner of this version", fix):
        learner = checkpoint.parts["learner"]
        saved = policy_parameters(learner, name)
        if saved is None:
            raise Unusable(f"{checkpoint.path} does not hold {name}", fix)
        tensors = {key: torch.tensor(value) for key, value in saved.items()}
        parameters = converted({key: key for key in tensors}, tensors.__getitem__)
        network = config.teacher.network if name == TEACHER else config.students[name].network
        head = config.teacher.head if name == TEACHER else HeadConfig()
        return Source(origin, network, head, parameters, saved_normal(learner))


def _config_of(folder: RunFolder, origin: str) -> RunConfig:
    try:
        return run_file.decode(run_file.read_toml(folder.config_file))
    except ConfigurationError as error:
        why, fix = f"{folder.config_file} is no run file of this version", "Mend it there"
        raise CheckpointError(_problem("source", origin, why, fix), *error.lines) from error


def _of_safetensors(path: Path, origin: str | None = None) -> Source:
    """The policy in a .safetensors file; without an `origin` it must be one that `save_sources` wrote."""
    parameters, metadata = read_safetensors(path, METADATA)
    if origin is not None and METADATA not in metadata:
        return _described(origin, parameters)
    return unpacked(parameters, metadata)


def _described(origin: str, parameters: Parameters) -> Source:
    """The parameters of a chain of linear layers, with what their shapes say of the network."""
    hidden = [value.shape[0] for name, value in parameters.items() if name.startswith("body.") and value.ndim == 1]
    return Source(origin, NetworkConfig(hidden=tuple(hidden)), HeadConfig("value.weight" in parameters), parameters)


@contextmanager
def _refusals(key: str, value: object) -> Iterator[None]:
    try:
        yield
    except Unusable as refusal:
        raise CheckpointError(_problem(key, value, refusal.why, refusal.fix)) from refusal


def _problem(key: str, value: object, why: str, fix: str) -> Problem:
    return Problem("the policy cannot be read", key, value, why, fix)
