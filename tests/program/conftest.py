"""One finished run on Ray, which many tests then look at, and a folder full of what can be wrong."""

import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from launching import launch, run_file
from nodes import Nodes

from distributed_kd.training import plan

FILES = {
    "broken.toml": "seed = 1\nreplay = {\n",
    "typo.toml": "[replay]\ncapcity = 5\n[students.tiny]\n",
    "none.toml": "seed = 1\n",
    "twins.toml": "[students.Tiny]\n[students.tiny]\n",
    "names.toml": '[students."a b"]\n[students.teacher]\n[students."-rf"]\n',
    "sizes.toml": "[students.tiny]\n[teacher]\nlearning_rate = nan\n[rollouts]\nactors = true\n[replay]\ncapacity = -5\n",
    "many.toml": 'sead = 1\n[students.Tiny]\nlos = "kl"\n[students.tiny]\n[checkpoint]\nkeep = 0\n',
    "own.toml": "[students.tiny]\n",
    "two_widths.toml": '[teacher.network]\nkind = "minatar"\nchannels = [4, 4]\n[students.tiny]\n',
    "evil.toml": '[students."x\\u001b[31m\\nerror: y"]\n',
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole programs run one after the other, on one worker: each takes the cores of a small machine for itself."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("programs"))


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end, and what it printed."""

    folder: Path
    run_file: Path
    out: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    """Long enough for checkpoints and evaluations on the way, with a replay small enough to evict."""
    place = tmp_path_factory.mktemp("finished")
    source = run_file(place, env_steps=16_000)
    ended = launch("train", source, "--seed", 3, "--out", "run", cwd=place)
    assert (ended.returncode, ended.stderr) == (0, "")
    return Finished(place / "run", source, ended.stdout)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with all the bad files, where the program is started; a small machine without a GPU."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    shutil.copy(Path(__file__).with_name("odd_envs.py"), tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    (tmp_path / "started" / "checkpoints").mkdir(parents=True)
    (tmp_path / "started" / "config.toml").write_text("[students.tiny]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd_envs", raising=False)
    monkeypatch.setattr(plan, "cores", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    yield tmp_path
    sys.modules.pop("odd_envs", None)
    for name in [name for name in gym.registry if name.startswith("Odd")]:
        del gym.registry[name]


@pytest.fixture
def cluster(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    # Both sides need the token before Ray is imported, as on a real cluster.
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    nodes = Nodes(head_cpus=request.param)
    yield nodes
    nodes.end()
