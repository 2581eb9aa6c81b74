"""Packages that bring environments, each with the extra that installs it; only what a run plays is imported."""

import importlib
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym

from distributed_kd.config import EnvConfig
from distributed_kd.errors import ConfigurationError, Problem

DIGITS = "distributed_kd/Digits-v0"


@dataclass(frozen=True)
class Package:
    """One package outside Gymnasium that environments need."""

    ids: re.Pattern[str]
    """the ids that it brings, known before it is imported"""
    home: str
    """how the entry points of its environments begin, once they are registered"""
    module: str
    title: str
    """what a person calls it"""
    extra: str
    """of distributed-kd, which installs it"""
    register: Callable[[], None] = lambda: None
    """makes its ids known, where importing it does not"""


def _quiet_ale() -> None:
    import ale_py

    # ALE greets with its name and version on the screen for every game; its errors still come through.
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def _register_minatar() -> None:
    # Its v0 has all actions, its v1 the fewest: neither is the newer one, as Gymnasium thinks.
    warnings.filterwarnings("ignore", r".*MinAtar/\w+-v0 is out of date", DeprecationWarning)
    # Gymnasium no longer reads the entry points by which MinAtar announces itself.
    if not any(name.startswith("MinAtar/") for name in gym.registry):
        importlib.import_module("minatar.gym").register_envs()


PACKAGES = (
    Package(re.compile(r"ALE/.+|\w+NoFrameskip-v[04]"), "ale_py.", "ale_py", "ale-py", "atari", _quiet_ale),
    Package(re.compile(r"MinAtar/.+"), "minatar.", "minatar", "MinAtar", "minatar", _register_minatar),
    Package(
        re.compile(r"(LunarLander|LunarLanderContinuous|BipedalWalker|BipedalWalkerHardcore|CarRacing)-v\d+"),
        "gymnasium.envs.box2d.",
        "Box2D",
        "Box2D",
        "box2d",
    ),
    Package(
        re.compile(
            r"(highway|exit|merge|roundabout|intersection|racetrack|parking|two-way|u-turn|lane-keeping)(-[A-Za-z-]+)?-v\d+"
        ),
        "highway_env.",
        "highway_env",
        "highway-env",
        "driving",
    ),
    Package(re.compile(re.escape(DIGITS)), "distributed_kd.envs.digits:", "sklearn", "scikit-learn", "digits"),
)


def package_of(name: str) -> Package | None:
    """The package that an id without its module comes from, or would come from were it installed."""
    registered = gym.registry.get(name)
    if registered is None:
        return next((package for package in PACKAGES if package.ids.fullmatch(name)), None)
    entry = registered.entry_point
    return next((package for package in PACKAGES if isinstance(entry, str) and entry.startswith(package.home)), None)


def provide(config: EnvConfig) -> None:
    """Import and register what the id needs. Raises ConfigurationError where its package is not installed."""
    name = config.id.rpartition(":")[2]
    package = package_of(name)
    if name == DIGITS:
        if DIGITS not in gym.registry:
            gym.register(DIGITS, entry_point="distributed_kd.envs.digits:Digits")
        if config.kwargs.get("folder"):  # its own files, which no package is needed for
            return
    if package is None:
        return
    # pygame, which draws the environments of two of these, greets whoever imports it.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        importlib.import_module(package.module)
        package.register()
    except ImportError as error:
        raise ConfigurationError(_missing(config, package, error)) from error


def _missing(config: EnvConfig, package: Package, error: ImportError) -> Problem:
    game = config.id.rpartition(":")[2].rpartition("-v")[0]
    why = f"{game} needs {package.title}, which is not installed"
    if (error.name or "").partition(".")[0] != package.module:
        why = f"{game} needs {package.title}, which cannot be imported ({error})"
    return Problem("missing package", "env.id", config.id, why, f'Install it: pip install "distributed-kd[{package.extra}]"')
