"""Observations of any kind of space laid out as one Box of numbers, and the clear word where that cannot be."""

from collections.abc import Iterator

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from gymnasium.wrappers import FlattenObservation, TransformObservation

from distributed_kd.config import EnvConfig
from distributed_kd.errors import Problem

FLAT = (Discrete, MultiBinary, MultiDiscrete)


def name_of(space: gym.Space) -> str:
    """A space as a message tells of it, such as "a Box[3, 4]"."""
    return f"a {type(space).__name__}{list(space.shape) if space.shape else ''}"


def observation_problems(config: EnvConfig, space: gym.Space) -> Iterator[Problem]:
    """Why observations of this space cannot be learned from here."""
    what = "unsupported observations"
    strange = list(_strange_parts(space))
    if strange:
        named = ", ".join(f"{path} is {name_of(part)}" if path else f"they are {name_of(part)}" for path, part in strange)
        fix = "Choose another environment"
        if isinstance(space, Dict | Tuple):
            fix = "Leave that out in a wrapper of your own, given as module:Id-v0"
        yield Problem(what, "env.id", config.id, named, fix)
    elif isinstance(space, Dict | Tuple) and not config.flatten:
        yield Problem(what, "env.id", config.id, f"they are {name_of(space)}", "Set --env.flatten true")
    elif gym.spaces.flatdim(space) == 0 or (isinstance(space, Box) and not space.shape):
        yield Problem(what, "env.id", config.id, f"their shape is {list(space.shape or ())}",
                      "Choose an environment whose observations have at least one number")  # fmt: skip


def _strange_parts(space: gym.Space, path: str = "") -> Iterator[tuple[str, gym.Space]]:
    """The parts, by the way to them, that have no fixed row of numbers: texts, sequences, graphs and what is unknown."""
    if isinstance(space, Dict | Tuple):
        parts = space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)
        for key, part in parts:
            yield from _strange_parts(part, f"{path}.{key}" if path else f"part {key}")
    elif not isinstance(space, (Box, *FLAT)):
        yield path, space


def as_one_box(env: gym.Env) -> gym.Env:
    """Observations as one Box: choices one-hot, several parts in a row, what fits in bytes as uint8.

    A Dict's parts stand in the order of its keys, as in gymnasium.spaces.flatten.
    """
    if not isinstance(env.observation_space, Box):
        env = FlattenObservation(env)
    elif env.observation_space.dtype != np.bool_:
        return env
    space = env.observation_space
    if space.dtype.kind not in "bui" or space.low.min() < 0 or space.high.max() > 255:
        return env
    low, high = space.low.astype(np.uint8), space.high.astype(np.uint8)
    return TransformObservation(env, lambda seen: np.asarray(seen).astype(np.uint8), Box(low, high, space.shape, np.uint8))
