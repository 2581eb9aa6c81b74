"""What is checked before Ray starts: environment, device, memory, the cluster's address. Sizes are held in `plan.py`."""

import importlib
import os
import socket
from collections.abc import Iterator
from dataclasses import replace

import torch

from distributed_kd.config import RunConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.errors import ConfigurationError, Problem, RayError, ResourceError
from distributed_kd.learning.objective import misfits
from distributed_kd.learning.trainable import selected
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import layer_shapes
from distributed_kd.records import EnvSpec
from distributed_kd.replay.ring import Ring
from distributed_kd.training.parts import Parts
from distributed_kd.training.plan import no_gpu

CONNECT_SECONDS = 5.0
"""How long a cluster's address may take to answer"""


def check_device(config: RunConfig) -> None:
    """Raise ResourceError where this process is to learn on a GPU and has none."""
    if config.learner.needs_gpu and not torch.cuda.is_available():
        raise ResourceError(no_gpu(config))


def check_memory(config: RunConfig, spec: EnvSpec) -> None:
    """Raise ResourceError where this machine has less memory than the replay's rows take."""
    capacity, needed, there = config.replay.capacity, replay_bytes(config, spec), memory_here()
    if needed > there:
        why = f"its rows take {needed / 1e9:,.0f} GB, and this machine has {there / 1e9:,.0f}"
        fix = f"Set --replay.capacity {there * capacity // (2 * needed)}, half of the machine, or less"
        raise ResourceError(Problem("too little memory", "replay.capacity", capacity, why, fix))


def replay_bytes(config: RunConfig, spec: EnvSpec) -> int:
    """Bytes that the replay's rows take once all are there."""
    return Ring(spec, 1).nbytes * config.replay.capacity


def memory_here() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_address(address: str) -> None:
    """Raise RayError where nothing listens at a cluster's address: Ray itself would try for many minutes."""
    if address in ("auto", "local"):
        return
    host, _, port = address.rpartition(":")
    fix = "Give the address of a running cluster, as ray start --head prints it, or leave --address out"
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise RayError(Problem("bad address", "address", address, "it must be auto or HOST:PORT", fix))
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RayError(Problem("no Ray cluster there", "address", address, why[:1].lower() + why[1:], fix)) from error


def check_networks(parts: Parts) -> None:
    """Raise ConfigurationError for every student whose losses or settings its network, or its lanes, cannot serve."""
    networks, config, spec = parts.networks(), parts.config, parts.spec
    teacher_shapes = layer_shapes(networks["teacher"], spec)
    problems = list(_tree_problems(config))
    driven = {int(number) for plan in parts.plans for number in plan.policy}
    for number, (name, student) in enumerate(config.students.items(), start=1):
        key = f"students.{name}"
        shapes = layer_shapes(networks[name], spec)
        problems += misfits(f"{key}.losses", student.terms, shapes, teacher_shapes, spec.actions)
        if not selected(networks[name], student.trainable):
            names = ", ".join(dict(networks[name].named_parameters()))
            why, fix = "no parameter has such a name", f"Use all, head, or a pattern of: {names}"
            problems.append(Problem("nothing to train", f"{key}.trainable", repr(student.trainable), why, fix))
        if student.learns_from_own_lanes and number not in driven:
            why = f"{name} learns from its own lanes, and {config.rollouts.lanes} lanes are too few for every student"
            fix = "Raise --rollouts.envs_per_actor or --rollouts.behaviour.students"
            problems.append(
                Problem("no lanes of its own", "rollouts.envs_per_actor", config.rollouts.envs_per_actor, why, fix)
            )
    if problems:
        raise ConfigurationError.of(problems)


def _tree_problems(config: RunConfig) -> Iterator[Problem]:
    """Trees are fitted by a package that not everybody has."""
    trees = [name for name, student in config.students.items() if student.network.is_tree]
    if not trees:
        return
    try:
        importlib.import_module("sklearn.tree")
    except ImportError:
        why, fix = (
            "a tree is fitted by scikit-learn, which is not installed",
            'Install it: pip install "distributed-kd[tree]"',
        )
        yield Problem("missing package", f"students.{trees[0]}.network.kind", "tree", why, fix)


def check_run(config: RunConfig, allow_env_import: bool) -> EnvSpec:
    """Make the environment once and read its spaces. Raises ConfigurationError where it cannot be played.

    Whatever module would be imported must have been allowed.
    """
    named = {"env.id": config.env.id, **{f"{key}.kind": one.kind for key, one in _networks(config)}}
    what, fix = "a module would be imported", "If you trust it, add --allow-env-import"
    problems = [
        Problem(what, key, name, f"importing {name.rpartition(':')[0]} runs its code", fix)
        for key, name in named.items()
        if ":" in name and not allow_env_import
    ]
    if problems:
        raise ConfigurationError.of(problems)
    spec = read_spec(config.env)
    # What is normalised is on the scale of 1 already.
    return replace(spec, scale=1.0) if config.env.normalise else spec


def _networks(config: RunConfig) -> Iterator[tuple[str, NetworkConfig]]:
    """Every network of the run file, with the key of its table."""
    yield "teacher.network", config.teacher.network
    for name, student in config.students.items():
        yield f"students.{name}.network", student.network
