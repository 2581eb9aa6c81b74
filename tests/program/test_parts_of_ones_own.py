"""Environments by their id alone and networks by their factory, from a module that nobody here has seen before."""

import json
import shutil
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from launching import assert_accounts_add_up, launch, run_file, summary

from distributed_kd.cli import main
from distributed_kd.storage.checkpoints import load_newest

INLINE = ("--runner", "inline", "--evaluation.every_seconds", "0", "--checkpoint.every_seconds", "0")
LAMPS = ("--env.id", "own_parts:Lamps-v0", "--env.flatten", "true")
BITS = ("--env.id", "own_parts:Bits-v0")
FACTORY = "own_parts:make_network"
OWN_NETWORKS = ("--teacher.network.kind", FACTORY, "--students.half.network.kind", FACTORY)


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with a small run file and the user's module, where the program is started."""
    shutil.copy(Path(__file__).with_name("own_parts.py"), tmp_path)
    # The networks of a factory have widths of their own: none stand in the file.
    text = run_file(tmp_path, 1_000).read_text()
    (tmp_path / "own.toml").write_text(text.replace("network.hidden = [32]\n", "").replace("network.hidden = [16]\n", ""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_parts", raising=False)
    yield tmp_path
    sys.modules.pop("own_parts", None)
    for name in ("Lamps-v0", "Bits-v0"):
        gym.registry.pop(name, None)


def train(*words: str, file: str = "tiny.toml") -> int:
    return main(["train", file, *INLINE, *words, "--allow-env-import", "--out", "run"])


# A Dict's parts stand in the order of its keys: hour [1], lamps [3].
@pytest.mark.parametrize(("words", "shape", "dtype"), [(LAMPS, (4,), np.float32), (BITS, (3,), np.uint8)])
def test_an_environment_of_another_kind_of_space_trains(words, shape, dtype, place, capsys):
    # The pace of 8 gives 2,000 draws of 32: the burning lamp and its action are learned by then.
    better = ("--replay.samples_per_insert", "8", "--teacher.learning_rate", "3e-3", "--teacher.gamma", "0")
    assert train(*words, *better, "--students.half.temperature", "auto", "--students.half.learning_rate", "5e-3") == 0
    assert capsys.readouterr().err == ""
    told = summary(place / "run")
    assert told["env"] == words[1]
    assert_accounts_add_up(told, samples_per_insert=8.0, batch_size=32)
    rows = load_newest(place / "run" / "checkpoints").parts["replay"]["rows"]
    assert (rows["observation"].shape[1:], rows["observation"].dtype) == (shape, dtype)
    # Actions are counted from 0 wherever they are stored, and from 5 in the environment, which refuses all others.
    assert set(np.unique(rows["action"])) == {0, 1, 2}
    assert told["teacher"]["return_mean"] > 9
    assert told["students"]["half"]["return_mean"] > 9
    assert main(["evaluate", "run", "--policy", "teacher", "--episodes", "2", "--allow-env-import", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lengths"] == [10, 10]


def test_without_flatten_a_dict_is_refused(place, capsys):
    assert train(*LAMPS[:2]) == 2
    assert capsys.readouterr().err == (
        "error: unsupported observations (env.id=own_parts:Lamps-v0): they are a Dict. Set --env.flatten true\n"
    )
    assert not (place / "run").exists()


def test_a_network_of_a_factory_learns_teaches_and_is_saved(place, capsys):
    assert train(*BITS, *OWN_NETWORKS, "--students.tiny.network.width", "0.01", file="own.toml") == 0
    assert capsys.readouterr().err == ""
    told = summary(place / "run")
    # 3 inputs, a layer of 8, 3 outputs: 3 * 8 + 8 + 8 * 3 + 3.
    assert told["teacher"]["parameters"] == told["students"]["half"]["parameters"] == 59
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=32)
    half = load_newest(place / "run" / "checkpoints").parts["learner"]["students"]["half"]["trained"]["network"]
    assert {name: value.shape for name, value in half.items()} == {
        "network.0.weight": (8, 3),
        "network.0.bias": (8,),
        "network.2.weight": (3, 8),
        "network.2.bias": (3,),
    }
    assert main(["resume", "run", "--stop.env_steps", "1400", "--allow-env-import"]) == 0
    again = load_newest(place / "run" / "checkpoints").parts["learner"]["students"]["half"]["trained"]["network"]
    assert all(not np.array_equal(half[name], again[name]) for name in half)
    assert main(["evaluate", "run", "--policy", "half", "--episodes", "2", "--allow-env-import"]) == 0


COMMANDS = [
    ["train", "own.toml", "--teacher.network.kind", FACTORY],
    ["networks", "own.toml", "--teacher.network.kind", FACTORY],
    ["resume", "played"],
    ["evaluate", "played", "--policy", "half"],
    ["dataset", "played", "--states", "10", "--out", "x.npz"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=[words[0] for words in COMMANDS])
def test_no_factory_is_imported_without_leave(words, place, capsys):
    """Not from a flag, and not from the file of a run that somebody else made."""
    (place / "played").mkdir()
    kind = f'network.kind = "{FACTORY}"'
    (place / "played" / "config.toml").write_text(f"[teacher]\n{kind}\n[students.half]\n")
    if words[0] == "resume":
        from distributed_kd.storage.checkpoints import save

        save(place / "played" / "checkpoints", 1, {"learner": {}}, {"runner": "inline", "env_steps": 0}, 1)
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"error: a module would be imported (teacher.network.kind={FACTORY}): importing own_parts runs its code. "
        "If you trust it, add --allow-env-import\n"
    )
    assert not (place / "own_parts.imported").exists() and "own_parts" not in sys.modules
    main(["networks", "own.toml", "--teacher.network.kind", FACTORY, "--allow-env-import"])
    assert (place / "own_parts.imported").exists(), "or this test would see nothing"


def test_a_factory_that_gives_no_fitting_network_is_told_with_its_student(place, capsys):
    assert train(*BITS, "--students.half.network.kind", "own_parts:make_wide", file="own.toml") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: bad network (students.half.network.kind=own_parts:make_wide): its network gives ")
    assert "of shape [2, 4], not torch.float32 of [2, 3]" in line
    assert not (place / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_both_train_on_ray(place):
    """Every actor imports the module for itself."""
    words = ["train", "own.toml", *LAMPS, *OWN_NETWORKS, "--allow-env-import", "--out", "run"]
    ended = launch(*words, cwd=place, importable=place)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = summary(place / "run")
    assert told["status"] == "finished"
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=32)
