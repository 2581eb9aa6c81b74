"""Films of episodes: whether an environment can be recorded, and one that records itself."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import RecordVideo
from numpy.typing import NDArray

from distributed_kd.config import EnvConfig
from distributed_kd.envs.spec import make
from distributed_kd.errors import ConfigurationError, Problem, StorageError

WHAT = "nothing can be recorded"
LEAST_SIZE = 160
"""Pixels that the longer side of a picture has at least: MinAtar draws ten"""
HARMLESS = ".*(Overwriting existing videos|No render fps was declared|RGB-array rendering should return)"
"""Of Gymnasium's warnings: each episode but the first finds the folder there, and the other two are seen to here"""


class Pictures(gym.Wrapper):
    """An environment that draws every picture in bytes, and none too small to be looked at."""

    def render(self) -> NDArray[np.uint8]:
        picture = np.asarray(self.env.render())
        if picture.dtype.kind == "f":  # from 0 to 1
            picture = np.rint(picture * 255.0)
        factor = -(-LEAST_SIZE // max(picture.shape[:2]))
        return picture.astype(np.uint8).repeat(factor, axis=0).repeat(factor, axis=1)


def check_recordable(env: EnvConfig, folder: Path) -> None:
    """Raise ConfigurationError where the environment draws no pictures, or what makes a film of them is not installed."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # no window is opened, and SDL complains where there is no screen
    single = make(env, evaluation=True)
    modes = single.metadata.get("render_modes") or []
    single.close()
    if "rgb_array" not in modes:
        why = f"{env.id} draws no pictures, its render modes are {', '.join(map(str, modes)) or 'none'}"
        raise ConfigurationError(Problem(WHAT, "video", folder, why, "Leave --video out"))
    drawn = make(env, evaluation=True, render_mode="rgb_array")
    try:
        import_module("moviepy")
        with _without_harmless_warnings():
            drawn.reset(seed=0)
            drawn.render()
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        why, fix = str(error).partition(", run")[0], 'Install it: pip install "distributed-kd[video]"'
        raise ConfigurationError(Problem(WHAT, "video", folder, why, fix)) from error
    finally:
        drawn.close()


@contextmanager
def recording(folder: Path) -> Iterator[None]:
    """While episodes are recorded into the folder. Raises StorageError where it cannot be written."""
    try:
        with _without_harmless_warnings():
            yield
    except OSError as error:
        why = error.strerror or str(error)[:200]
        raise StorageError(Problem(WHAT, "video", folder, why, "Give another --video, or check the disk")) from error


@contextmanager
def _without_harmless_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=HARMLESS)
        yield


def recorded(env: EnvConfig, folder: Path, name: str) -> gym.Env:
    """An environment whose episode becomes an mp4 of that name once it is closed."""
    drawn = Pictures(make(env, evaluation=True, render_mode="rgb_array"))
    return RecordVideo(drawn, str(folder), episode_trigger=lambda _: True, name_prefix=name)
