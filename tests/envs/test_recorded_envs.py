"""Films of episodes: pictures that can be seen, and one line where there can be none."""

import builtins
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import small_environments  # noqa: F401 registers Walk-v0

from distributed_kd.config import EnvConfig
from distributed_kd.envs.recorded import Pictures, check_recordable, recorded, recording
from distributed_kd.errors import ConfigurationError, StorageError

FOLDER = Path("films")


class Drawn(gym.Env):
    def __init__(self, picture):
        self.picture = picture

    def render(self):
        return self.picture


def test_pictures_of_shares_become_bytes_and_small_ones_large():
    picture = np.zeros((10, 5, 3))
    picture[9, 4] = 0.5
    shown = Pictures(Drawn(picture)).render()
    assert (shown.shape, shown.dtype) == ((160, 80, 3), np.uint8)
    assert (shown[144:, 64:] == 128).all() and shown.sum() == 16 * 16 * 3 * 128


def test_large_pictures_of_bytes_are_as_they_are():
    picture = np.random.default_rng(0).integers(0, 256, (210, 160, 3), np.uint8)
    assert np.array_equal(Pictures(Drawn(picture)).render(), picture)


def test_an_environment_without_pictures_is_told():
    with pytest.raises(ConfigurationError) as told:
        check_recordable(EnvConfig("Walk-v0"), FOLDER)
    assert str(told.value) == (
        "nothing can be recorded (video=films): Walk-v0 draws no pictures, its render modes are none. Leave --video out"
    )


@pytest.mark.parametrize("missing", ["moviepy", "pygame"])
def test_a_missing_package_is_told(missing, monkeypatch):
    found = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setitem(sys.modules, "moviepy", None if missing == "moviepy" else gym)
    monkeypatch.delitem(sys.modules, "pygame", raising=False)
    with pytest.raises(ConfigurationError) as told:
        check_recordable(EnvConfig("CartPole-v1"), FOLDER)
    assert str(told.value).startswith("nothing can be recorded (video=films): ")
    assert missing in str(told.value)
    assert str(told.value).endswith('. Install it: pip install "distributed-kd[video]"')


def test_a_folder_that_cannot_be_is_told(tmp_path):
    pytest.importorskip("moviepy")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="nothing can be recorded"), recording(tmp_path / "file"):
        recorded(EnvConfig("CartPole-v1"), tmp_path / "file", "a")


def test_an_episode_becomes_a_film_and_no_warning(tmp_path, recwarn):
    pytest.importorskip("moviepy")
    pytest.importorskip("pygame")
    check_recordable(EnvConfig("CartPole-v1"), tmp_path)
    for name in ("a", "b"):
        with recording(tmp_path):
            env = recorded(EnvConfig("CartPole-v1"), tmp_path, name)
            env.reset(seed=0)
            for _ in range(3):
                env.step(0)
            env.close()
    assert sorted(film.name for film in tmp_path.iterdir()) == ["a-episode-0.mp4", "b-episode-0.mp4"]
    assert all(film.read_bytes()[4:8] == b"ftyp" for film in tmp_path.iterdir())
    assert not [str(one.message) for one in recwarn if "WARN" in str(one.message)]
