"""A run's policy as a file to deploy: written aside, compared with the policy, and only then put in place."""

import hashlib
import inspect
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from distributed_kd.config import RunConfig
from distributed_kd.envs.spec import make
from distributed_kd.errors import ConfigurationError, InternalError, Problem
from distributed_kd.exports import ENDINGS, INT8, ONNX, onnx_files, policy
from distributed_kd.exports.contract import about
from distributed_kd.exports.formats import Reader, in_torch, is_run_by_policy_py, write
from distributed_kd.exports.parity import TOLERANCE, Outputs, Parity, compare, outputs_of
from distributed_kd.exports.saved import Saved, read_saved
from distributed_kd.exports.states import States, draw_states
from distributed_kd.maths.statistics import bootstrap_ci95
from distributed_kd.records import EnvSpec
from distributed_kd.rollouts.evaluation import decision_times, play
from distributed_kd.run_file import nearest
from distributed_kd.storage.files import make_folder, storage_errors, strict_json, sync_folder, write_synced
from distributed_kd.storage.run_folder import RunFolder

POLICY_PY = "policy.py"
EPISODES = 20
ALLOWED = {"exact": 0.0, "close": TOLERANCE, "any": np.inf}
"""The largest difference of outputs, as a share of the state's scale, that each demand allows"""


@dataclass(frozen=True)
class Asked:
    """What is to be exported, and where to."""

    policy: str
    key: str
    """the flag that named it: `student` or `policy`"""
    format: str
    out: Path
    episodes: int | None = None
    """that onnx-int8 plays, EPISODES where it is not said; no other format plays any"""
    seed: int = 0


def check(asked: Asked, config: RunConfig) -> None:
    """Raise ConfigurationError for everything wrong with what is asked that can be told before the run is read."""
    problems = []
    names = list(config.students) if asked.key == "student" else config.policies
    if asked.policy not in names:
        close = nearest(asked.policy, names)
        fix = f"Did you mean {close}?" if close else f"The run has {', '.join(names)}"
        if asked.key == "student" and asked.policy == "teacher":
            fix = "Use --policy teacher"
        problems.append(Problem(f"unknown {asked.key}", asked.key, asked.policy, "the run has none of this name", fix))
    ending, out = ENDINGS[asked.format], asked.out
    if out.suffix != ending:
        fix = f"Give --out {out.with_suffix(ending) if out.name else f'FILE{ending}'}"
        problems.append(Problem("bad ending", "out", out, f"a file of {asked.format} ends in {ending}", fix))
    for path in (out, sidecar(out)):
        if os.path.lexists(path):
            problems.append(Problem("the file is there already", "out", path, "it would be lost", "Give another --out"))
    script = out.with_name(POLICY_PY)
    if os.path.lexists(script) and not (script.is_file() and script.read_bytes() == _policy_py()):
        why, fix = f"another {POLICY_PY} lies beside it, and would be lost", "Give another folder in --out"
        problems.append(Problem("the file is there already", "out", script, why, fix))
    if asked.episodes is not None and asked.format != INT8:
        why = f"only {INT8} plays episodes: all else gives what the policy gives"
        problems.append(Problem("option without effect", "episodes", asked.episodes, why, "Leave it out"))
    elif asked.episodes is not None and asked.episodes < 2:
        why, fix = "an interval needs at least 2", f"Set --episodes {EPISODES}"
        problems.append(Problem("bad number of episodes", "episodes", asked.episodes, why, fix))
    if asked.seed < 0:
        problems.append(Problem("bad seed", "seed", asked.seed, "it must be at least 0", "Set --seed 0"))
    if problems:
        raise ConfigurationError.of(problems)
    if asked.format in (ONNX, INT8):
        onnx_files.check_installed(asked.format)


def export(folder: RunFolder, config: RunConfig, spec: EnvSpec, asked: Asked) -> dict[str, object]:
    """Write the policy's file, FILE.json beside it and, where that runs it, policy.py; gives what FILE.json says.

    `asked` is what `check` let pass. Raises CheckpointError where no checkpoint is whole, InternalError where the file
    does not give what the policy gives, StorageError where it cannot be written: then nothing is put in place.
    """
    saved = read_saved(folder, config, spec, asked.policy)
    states, told = draw_states(saved), about(saved)
    with storage_errors("the policy could not be exported", asked.out):
        make_folder(asked.out.parent)
        aside = asked.out.with_name(f"{asked.out.name}.tmp-{uuid.uuid4().hex}")
        aside.mkdir()
        try:
            file = aside / asked.out.name
            readers = write(asked.format, saved, told, states, file)
            told |= {"file": _file(asked, file), **_measured(saved, states, readers, asked)}
            names = [sidecar(file).name, *([POLICY_PY] if is_run_by_policy_py(asked.format, told) else []), file.name]
            write_synced(sidecar(file), [f"{strict_json(told, indent=2)}\n".encode()])
            write_synced(aside / POLICY_PY, [_policy_py()])
            for name in names:  # the policy itself last: where it lies, all that belongs to it does
                os.replace(aside / name, asked.out.with_name(name))
            sync_folder(asked.out.parent)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return told


def sidecar(path: Path) -> Path:
    """The JSON beside an exported file."""
    return path.with_name(f"{path.name}.json")


def _policy_py() -> bytes:
    return inspect.getsource(policy).encode()


def _file(asked: Asked, path: Path) -> dict[str, object]:
    data = path.read_bytes()
    return {
        "name": path.name, "format": asked.format, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()
    }  # fmt: skip


def _measured(saved: Saved, states: States, readers: Mapping[str, Reader], asked: Asked) -> dict[str, object]:
    """How near the file comes to the policy and how long it takes. Raises InternalError where it is too far from it."""
    original, observations = saved.outputs(), states.observations
    outputs = outputs_of(original, observations)
    parity = {name: compare(outputs, outputs_of(reader.outputs, observations)) for name, reader in readers.items()}
    for name, found in parity.items():
        _check_parity(name, found, readers[name].demand, asked)
    deciding = {name: reader.outputs for name, reader in readers.items() if name != "teacher.source"}
    told: dict[str, object] = {
        "parity": {
            "states": len(observations),
            "seen": states.seen,
            "perturbed": len(observations) - states.seen,
            "tolerance": TOLERANCE,
            "readers": {name: asdict(found) for name, found in parity.items()},
        },
        "decision_microseconds": decision_times({**deciding, "PyTorch": in_torch(saved.deployed())}, observations),
    }
    if asked.format == INT8:
        told["score"] = _score(saved, {"int8": readers[POLICY_PY].outputs, "policy": original}, asked)
    return told


def _check_parity(name: str, found: Parity, demand: str, asked: Asked) -> None:
    allowed = ALLOWED[demand]
    is_near = found.largest_share <= allowed  # NaN is not
    if is_near and (demand == "any" or not found.other_actions):
        return
    why = (
        f"read by {name}, its outputs differ by {found.largest_share:.2g} of their scale, where {allowed:g} is allowed, and "
        f"its action in {found.other_actions} of {found.states} states"
    )
    raise InternalError(Problem("the file does not give what the policy gives", "out", asked.out, why, "Nothing is written"))


def _score(saved: Saved, acting: Mapping[str, Outputs], asked: Asked) -> dict[str, object]:
    """Full greedy episodes of each, on the seeds that `evaluate` plays with --seed."""
    episodes = EPISODES if asked.episodes is None else asked.episodes
    stream = np.random.SeedSequence(asked.seed, spawn_key=saved.parts.seed("evaluate").spawn_key)
    seeds = stream.generate_state(episodes)
    envs = [make(saved.config.env, evaluation=True) for _ in seeds]
    try:
        returns = {
            name: np.array(play(envs, saved.spec, lambda seen, act=act: act(seen).argmax(1), seeds).returns)
            for name, act in acting.items()
        }
    finally:
        for env in envs:
            env.close()
    told: dict[str, object] = {"episodes": episodes, "seed": asked.seed}
    for name, one in {**returns, "difference": returns["int8"] - returns["policy"]}.items():
        told[name] = {"return_mean": float(one.mean()), "return_ci95": list(bootstrap_ci95(one)), "returns": one.tolist()}
    return told
