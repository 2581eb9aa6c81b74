"""One environment made by its Gymnasium id and checked: what a run can play, and the clear word where it cannot."""

import difflib
import importlib

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

from distributed_kd.config import EnvConfig
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.records import EnvSpec


def import_module(config: EnvConfig) -> None:
    """Import what stands before the colon of "module:Id-v0", so that it can register its environments.

    The caller answers for the import having been allowed. Raises ConfigurationError where the module cannot be imported.
    """
    module, colon, _ = config.id.rpartition(":")
    if not colon:
        return
    try:
        importlib.import_module(module)
    except Exception as error:  # the user's own module may raise anything; it is reported, whatever it is
        why = f"importing {module} failed with {type(error).__name__}: {error}"
        raise ConfigurationError(Problem("bad environment", "env.id", config.id, why, "Mend the module")) from error


def make(config: EnvConfig, **extra: object) -> gym.Env:
    """One environment. Raises ConfigurationError where the id is unknown or its arguments do not fit."""
    import_module(config)
    name = config.id.rpartition(":")[2]
    try:
        return gym.make(name, **{**config.kwargs, **extra})
    except Exception as error:  # an environment's constructor may raise anything, and each means that it cannot be had
        raise ConfigurationError(_why_not(config, error)) from error


def _why_not(config: EnvConfig, error: Exception) -> Problem:
    name = config.id.rpartition(":")[2]
    if name not in gym.registry:
        near = difflib.get_close_matches(name, gym.registry, n=1)
        fix = f"Did you mean {near[0]}?" if near else 'Give a Gymnasium id; for your own, "module:Id-v0"'
        return Problem("unknown environment", "env.id", config.id, "Gymnasium has no such id", fix)
    why = " ".join(str(error).split())
    return Problem("environment cannot be made", "env.id", config.id, f"{type(error).__name__}: {why}",
                   "Mend --env.kwargs, or install what it needs")  # fmt: skip


def read_spec(config: EnvConfig) -> EnvSpec:
    """Make the environment once and read its shapes. Raises ConfigurationError where it cannot be played here."""
    env = make(config)
    try:
        observation, action = env.observation_space, env.action_space
    finally:
        env.close()
    problems = []
    if not isinstance(action, Discrete):
        problems.append(Problem("unsupported actions", "env.id", config.id, f"its actions are {_name(action)}",
                                "Choose an environment with Discrete actions"))  # fmt: skip
    elif action.n < 2:
        problems.append(Problem("unsupported actions", "env.id", config.id, "it has a single action", "Choose another"))
    if not isinstance(observation, Box):
        problems.append(Problem("unsupported observations", "env.id", config.id, f"they are {_name(observation)}",
                                "Choose an environment whose observations are one Box"))  # fmt: skip
    elif not observation.shape or 0 in observation.shape:
        problems.append(Problem("unsupported observations", "env.id", config.id, f"their shape is {list(observation.shape)}",
                                "Choose an environment whose observations have at least one number"))  # fmt: skip
    if problems:
        raise ConfigurationError.of(problems)
    dtype = "uint8" if observation.dtype == np.uint8 else "float32"
    return EnvSpec(config.id, tuple(observation.shape), dtype, int(action.n), int(action.start))


def _name(space: gym.Space) -> str:
    return f"a {type(space).__name__}{list(space.shape) if space.shape else ''}"
