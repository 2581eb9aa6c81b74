"""A fixed set of states: drawn from a run, and students distilled on it alone.

The file is a NumPy .npz with `observation` [N, *input_shape], and as texts `env` (its id) and `run` (the folder that it
came from).
"""

import io
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distributed_kd.config import RunConfig
from distributed_kd.envs.spec import make
from distributed_kd.errors import CheckpointError, ConfigurationError, Problem
from distributed_kd.policy_config import LEARN
from distributed_kd.records import EnvSpec, State
from distributed_kd.replay.ring import Ring
from distributed_kd.replay.shards import of_each
from distributed_kd.rollouts.evaluation import play
from distributed_kd.rollouts.policies import Policies
from distributed_kd.storage.checkpoints import load_newest
from distributed_kd.storage.files import make_folder, replace_file, storage_errors
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import saved_normal
from distributed_kd.training.given import parts_of
from distributed_kd.training.parts import Parts
from distributed_kd.training.saved_policies import saved_networks

FEWEST = 10
"""States of a set at least: part of them is held out"""
LARGEST = 2**32
"""Bytes of a set of states that are read at most: it is meant to be small, and a file may lie about its size"""


@dataclass(frozen=True)
class DataSet:
    """States of one environment, and the run that they came from."""

    observation: NDArray
    env: str
    run: str


def draw(folder: RunFolder, config: RunConfig, spec: EnvSpec, states: int, seed: int, origin: str) -> DataSet:
    """So many different states of a run: from its replay, or from episodes that its teacher plays.

    Raises ConfigurationError where there are not so many, CheckpointError where no checkpoint is whole.
    """
    checkpoint = load_newest(folder.checkpoints_at(config.checkpoint.to))
    parts = parts_of(folder, config, spec)
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=parts.seed("dataset").spawn_key))
    if origin == "replay":
        replay = checkpoint.parts.get("replay")
        if replay is None:
            raise ConfigurationError(
                Problem("no replay", "from", origin, "the run learned from a set of states itself", "Use --from teacher")
            )
        there = replayed(replay, spec, states, random)
        if len(there) < states:
            why, fix = f"{len(there)} are there", f"Ask for {len(there)} or fewer"
            raise ConfigurationError(Problem("too few states", "states", states, why, fix))
    else:
        there = _played(parts, config, checkpoint.parts["learner"], states, random)
    return DataSet(np.ascontiguousarray(there), config.env.id, str(folder.path.resolve()))


def _ring(spec: EnvSpec, shard: State) -> Ring:
    """A shard's rows as they were saved."""
    ring = Ring(spec, len(shard["rows"]["is_step"]))
    ring.restore(shard)
    return ring


def replayed(replay: State, spec: EnvSpec, states: int, random: np.random.Generator) -> NDArray:
    """What a network sees in so many different steps of a saved replay, in their order; in all, where there are fewer."""
    rings = [_ring(spec, shard) for shard in of_each(replay)]
    there = np.concatenate([np.flatnonzero(ring.rows["is_step"]) + at for ring, at in _placed(rings)])
    drawn = np.sort(random.choice(there, min(states, len(there)), replace=False))
    return np.concatenate(
        [ring.stacked(drawn[(drawn >= at) & (drawn < at + ring.capacity)] - at) for ring, at in _placed(rings)]
    )


def _placed(rings: Sequence[Ring]) -> list[tuple[Ring, int]]:
    """Each ring with the rows of those before it."""
    ends = np.cumsum([ring.capacity for ring in rings]).tolist()
    return [(ring, end - ring.capacity) for ring, end in zip(rings, ends, strict=True)]


def _played(parts: Parts, config: RunConfig, learner: dict, states: int, random: np.random.Generator) -> NDArray:
    """So many states from greedy episodes of the teacher."""
    policies, seen, count = Policies(saved_networks(parts, learner, ["teacher"]), saved_normal(learner)), [], 0
    envs = [make(config.env, evaluation=True) for _ in range(config.evaluation.episodes)]
    try:
        while count < states:
            seeds = random.integers(0, 2**32, len(envs)).tolist()
            played = play(envs, parts.spec, lambda now: policies.greedy("teacher", now), seeds, keep=states)
            seen.append(played.observations)
            count += len(seen[-1])
    finally:
        for env in envs:
            env.close()
    return np.concatenate(seen)[:states]


def spread(config: RunConfig, spec: EnvSpec, saved: Mapping[str, State]) -> NDArray[np.float64]:
    """Standard deviation [*observation_shape] of each number of an observation, over the states that a run learned from:
    as its normaliser has it, else in the replay, else in its set of states.

    `saved` are the parts of a checkpoint. Raises ConfigurationError where it holds no states yet, and as `read` does.
    """
    normal = saved_normal(saved["learner"])
    if normal is not None:
        return normal[1].astype(np.float64)
    if replay := saved.get("replay"):
        rows = [shard["rows"] for shard in of_each(replay)]
        seen = np.concatenate([np.asarray(one["observation"])[np.asarray(one["is_step"])] for one in rows])
    else:
        seen = read(Path(config.data.file)).observation
        seen = seen[:, -1] if spec.frame_stack > 1 else seen
    if not len(seen):
        why, fix = "the run has seen no states yet that would tell how far observations spread", "Go on with it first"
        raise ConfigurationError(Problem("no states", "states", 0, why, fix))
    return seen.std(axis=0, dtype=np.float64)


def write(data: DataSet, path: Path) -> None:
    """Put the file in place; raises ConfigurationError where there is one, StorageError where it cannot be written."""
    if path.exists():
        raise ConfigurationError(Problem("the file is there already", "out", path, "it would be lost", "Give another --out"))
    with storage_errors("the set of states could not be written", path):
        make_folder(path.parent)
        replace_file(path, _packed(data))


def _packed(data: DataSet) -> bytes:
    packed = io.BytesIO()
    np.savez_compressed(packed, observation=data.observation, env=np.array(data.env), run=np.array(data.run))
    return packed.getvalue()


def read(path: Path) -> DataSet:
    """Read a file as `write` makes it. Raises ConfigurationError for none, CheckpointError where it is no such."""
    if not os.path.isfile(path):
        why, fix = "there is no such file", "Draw one: python launch.py dataset RUN --states 500 --out FILE.npz"
        raise ConfigurationError(Problem("no set of states", "data.file", path, why, fix))
    fix = "Draw it anew with: python launch.py dataset"
    try:
        with zipfile.ZipFile(path) as members:
            if sum(member.file_size for member in members.infolist()) > LARGEST:
                raise ValueError(f"it unpacks to more than {LARGEST} bytes")
        with np.load(path, allow_pickle=False) as file:
            observation, env, run = file["observation"], str(file["env"]), str(file["run"])
    # Others may have made the file, and parsers of zips and arrays fail in many ways: each means that it cannot be used.
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(Problem("the set of states cannot be read", "data.file", path, why, fix)) from error
    if why := _misfit(np.asarray(observation), run):
        raise CheckpointError(Problem("the set of states cannot be used", "data.file", path, why, fix))
    return DataSet(observation, env, run)


def _misfit(observation: NDArray, run: str) -> str:
    """Why these cannot be states of a run; empty where they can."""
    if observation.dtype.kind not in "biuf":
        return f"its observations are {observation.dtype}, no numbers"
    with np.errstate(over="ignore"):
        finite = np.isfinite(observation.astype(np.float32)).all()  # as networks take them
    if observation.ndim < 2 or len(observation) < FEWEST or not finite:
        return f"observations of shape {list(observation.shape)} must be at least {FEWEST}, and finite"
    return "" if os.path.isabs(run) else "it does not name the folder of the run that it came from"


def taught_by_its_run(config: RunConfig, spec: EnvSpec) -> RunConfig:
    """`config` with a teacher for its set of states: the one it names, or else that of the run the states came from.

    Raises CheckpointError where the states are not this environment's, ConfigurationError where the teacher would learn.
    """
    data = read(Path(config.data.file))
    if data.observation.shape[1:] != spec.input_shape:
        here, there = list(spec.input_shape), list(data.observation.shape[1:])
        why, fix = f"its states are {there} of {data.env}, {spec.id} has {here}", f"Set --env.id {data.env}"
        raise CheckpointError(Problem("the set of states does not fit", "data.file", config.data.file, why, fix))
    # Whoever resumes the run may stand in another folder.
    config = replace(config, data=replace(config.data, file=str(Path(config.data.file).resolve())))
    if config.teacher.source == LEARN:
        return replace(config, teacher=replace(config.teacher, source=data.run, frozen=True, teaches="now"))
    if config.teacher.learns:
        why, fix = "a set of states holds no rewards to learn from", "Set --teacher.frozen true"
        raise ConfigurationError(Problem("the teacher cannot learn", "teacher.frozen", "false", why, fix))
    return config
