"""A run's newest checkpoint, as far as a report looks into it: the networks, and states that they met while training."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distributed_kd import run_file
from distributed_kd.config import RunConfig
from distributed_kd.errors import CheckpointError, ConfigurationError, Problem
from distributed_kd.networks import parameter_count
from distributed_kd.records import EnvSpec
from distributed_kd.reports.sizes import BYTES
from distributed_kd.rollouts.policies import Policies
from distributed_kd.storage.checkpoints import Checkpoint, load_newest
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import saved_normal
from distributed_kd.training import data_set
from distributed_kd.training.fitting import check_fits
from distributed_kd.training.given import parts_of
from distributed_kd.training.parts import Parts
from distributed_kd.training.preflight import check_run
from distributed_kd.training.saved_policies import saved_networks

STATES, IMAGES = 1000, 300
"""States that are looked at, and images: a network takes longer for one"""
LARGEST = 2**30
"""Bytes of a checkpoint that is opened: a larger one would take longer than the rest of the report"""


@dataclass(frozen=True, eq=False)
class Opened:
    """Networks as they were saved, and states [N, *input_shape]."""

    spec: EnvSpec
    networks: dict[str, nn.Module]
    policies: Policies
    normal: NDArray[np.float32] | None
    """as in `records.Weights`"""
    states: NDArray


def open_run(folder: RunFolder) -> Opened:
    """The newest checkpoint in a run's folder. Raises RunError where none can be read, or it takes too long.

    Modules that the run file names are not imported, and nothing is fetched from elsewhere.
    """
    config = run_file.decode(run_file.read_toml(folder.config_file))
    _check_here(folder, config)
    spec = check_run(config, allow_env_import=False)
    parts = parts_of(folder, config, spec)
    _check_size(parts)
    checkpoint = load_newest(folder.checkpoints)
    check_fits(checkpoint, parts)
    learner = checkpoint.parts["learner"]
    networks = saved_networks(parts, learner, config.policies)
    for network in networks.values():
        network.eval().requires_grad_(False)
    normal = saved_normal(learner)
    states = _states(checkpoint, config, spec, parts.seed("report"))
    return Opened(spec, networks, Policies(networks, normal), normal, states)


def _check_here(folder: RunFolder, config: RunConfig) -> None:
    what, key, fix = "the networks are not looked into", "checkpoint.to", "Look at them with evaluate"
    if config.checkpoint.to:
        raise ConfigurationError(Problem(what, key, config.checkpoint.to, "a report fetches nothing from elsewhere", fix))
    sizes = [sum(file.stat().st_size for file in step.iterdir()) for step in folder.checkpoints.glob("step-*")]
    if sizes and max(sizes) > LARGEST:
        why = f"it has {max(sizes) / 1e9:.1f} GB, and up to {LARGEST / 1e9:.1f} are read for a report"
        raise CheckpointError(Problem(what, "path", folder.checkpoints, why, fix))


def _check_size(parts: Parts) -> None:
    """No memory is taken for networks that cannot be in a checkpoint that is opened: a run file may tell of any."""
    with torch.device("meta"):
        numbers = sum(parameter_count(network) for network in parts.networks().values())
    if numbers * BYTES > LARGEST:
        fix = "Look at them with evaluate"
        raise ConfigurationError(
            Problem("the networks are not looked into", "parameters", numbers, "that is more than a report opens", fix)
        )


def _states(checkpoint: Checkpoint, config: RunConfig, spec: EnvSpec, seed: np.random.SeedSequence) -> NDArray:
    """From the replay or, where the run learned from a set of states, from that."""
    random, most = np.random.default_rng(seed), IMAGES if len(spec.input_shape) > 1 else STATES
    replay = checkpoint.parts.get("replay")
    if replay is not None:
        return data_set.replayed(replay, spec, most, random)
    there = data_set.read(Path(config.data.file)).observation
    return there[np.sort(random.choice(len(there), min(most, len(there)), replace=False))]
