"""One environment made by its Gymnasium id and checked: what a run can play, and the clear word where it cannot."""

import difflib
import importlib
from collections.abc import Iterator
from typing import Literal

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete

from distributed_kd.config import EnvConfig
from distributed_kd.envs.atari import follows_protocol, make_atari
from distributed_kd.envs.minatar import NoActionBefore
from distributed_kd.envs.observations import as_one_box, name_of, observation_problems
from distributed_kd.envs.packages import package_of, provide
from distributed_kd.envs.progress import begin
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


def make(config: EnvConfig, evaluation: bool = False, **extra: object) -> gym.Env:
    """One environment whose observations are one Box, uint8 where they are bytes, yes or no, or one of several choices.

    `evaluation` lays env.evaluation_kwargs over env.kwargs, and a lost life ends no episode; `extra` goes before both.
    Raises ConfigurationError where the id is unknown, its package missing, its arguments do not fit or its observations
    cannot be laid out.
    """
    begin()
    env = _made(config, evaluation, extra)
    if problems := list(observation_problems(config, env.observation_space)):
        env.close()
        raise ConfigurationError.of(problems)
    return as_one_box(env)


def _made(config: EnvConfig, evaluation: bool, extra: dict[str, object]) -> gym.Env:
    """The environment with its observations as it gives them."""
    import_module(config)
    provide(config)
    name = config.id.rpartition(":")[2]
    kwargs = {**config.kwargs, **(config.evaluation_kwargs if evaluation else {}), **extra}
    try:
        if follows_protocol(config):
            return make_atari(config, kwargs, evaluation)
        env = gym.make(name, **kwargs)
    except ConfigurationError:
        raise
    except Exception as error:  # an environment's constructor may raise anything, and each means that it cannot be had
        raise ConfigurationError(_why_not(config, error)) from error
    package = package_of(name)
    return NoActionBefore(env) if package and package.extra == "minatar" else env


def _why_not(config: EnvConfig, error: Exception) -> Problem:
    name = config.id.rpartition(":")[2]
    if name not in gym.registry:
        near = difflib.get_close_matches(name, gym.registry, n=1)
        fix = f"Did you mean {near[0]}?" if near else 'Give a Gymnasium id; for your own, "module:Id-v0"'
        return Problem("unknown environment", "env.id", config.id, "Gymnasium has no such id", fix)
    why = " ".join(str(error).split())
    return Problem("environment cannot be made", "env.id", config.id, f"{type(error).__name__}: {why}",
                   "Mend --env.kwargs or --env.evaluation_kwargs, or install what it needs")  # fmt: skip


def read_spec(config: EnvConfig) -> EnvSpec:
    """Make the environment once and read its shapes. Raises ConfigurationError where it cannot be played here.

    Where evaluations have arguments of their own, the environment is made with them too, and must look the same.
    """
    spec = _read(config, evaluation=False)
    if config.evaluation_kwargs:
        other = _read(config, evaluation=True)
        if other != spec:
            why = f"evaluation has {_looks(other)}, training {_looks(spec)}"
            raise ConfigurationError(Problem("evaluation differs", "env.evaluation_kwargs", config.evaluation_kwargs, why,
                                             "Give both the same observations and actions"))  # fmt: skip
    return spec


def _read(config: EnvConfig, evaluation: bool) -> EnvSpec:
    env = _made(config, evaluation, {})
    try:
        action = env.action_space
        problems = [*_action_problems(config, action), *observation_problems(config, env.observation_space)]
        if problems:
            raise ConfigurationError.of(problems)
        observation = as_one_box(env).observation_space
    finally:
        env.close()
    is_bytes = observation.dtype == np.uint8
    return EnvSpec(
        config.id,
        tuple(observation.shape),
        "uint8" if is_bytes else "float32",
        int(action.n),
        int(action.start),
        frame_stack=config.frame_stack,
        channels=_channels(config, observation.shape),
        scale=_scale(observation) if is_bytes else 1.0,
    )


def _action_problems(config: EnvConfig, action: gym.Space) -> Iterator[Problem]:
    if not isinstance(action, Discrete):
        yield Problem("unsupported actions", "env.id", config.id, f"its actions are {name_of(action)}",
                      "Choose an environment with Discrete actions")  # fmt: skip
    elif action.n < 2:
        yield Problem("unsupported actions", "env.id", config.id, "it has a single action", "Choose another")


def _channels(config: EnvConfig, shape: tuple[int, ...]) -> Literal["none", "first", "last"]:
    if len(shape) != 3:
        return "none"
    if config.channels != "auto":
        return config.channels
    return "first" if shape[0] < shape[2] else "last"


def _scale(observation: Box) -> float:
    """1 / the highest value that any of the bytes can have; 1 where they are yes or no."""
    return 1.0 / max(1, int(observation.high.max()))


def _looks(spec: EnvSpec) -> str:
    first = f" from {spec.action_start}" if spec.action_start else ""
    scale = f" up to {round(1 / spec.scale)}" if spec.observation_dtype == "uint8" else ""
    shape = list(spec.observation_shape)
    return f"observations {shape} {spec.observation_dtype}{scale} and {spec.actions} actions{first}"
