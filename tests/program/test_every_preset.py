"""Every preset trains a little: its environment, its networks and its data fit each other, through the command line."""

from pathlib import Path

import pytest
from launching import assert_accounts_add_up, launch, summary
from test_finished_run import STUDENT, SUMMARY, kinds

from distributed_kd import presets
from distributed_kd import run_file as run_files
from distributed_kd.cli import main
from distributed_kd.flags import parse_run

NEEDS = {"lunarlander": "Box2D", "minatar": "minatar", "atari": "ale_py", "digits": "sklearn", "highway": "highway_env"}
"""The package that a preset plays with, by how its name begins"""

# Segments of 4 lanes x 8 steps, so that 192 steps are 6 of them; a batch of 8 for every 8 steps.
LITTLE = {
    "stop.env_steps": "192",
    "replay.warmup": "64",
    "replay.capacity": "1000",
    "replay.batch_size": "8",
    "replay.samples_per_insert": "1",
    "rollouts.envs_per_actor": "4",
    "rollouts.steps_per_segment": "8",
    "evaluation.episodes": "2",
    "evaluation.every_seconds": "0",
    "checkpoint.every_seconds": "0",
}
SMALL_IMAGES = {"teacher.network.width": "0.1", "students.quarter.network.width": "0.1"}
SHORT = {"env.kwargs.max_episode_steps": "50"}
OWN = {
    "cartpole": {},
    "acrobot": SHORT,
    "mountaincar": SHORT,
    "lunarlander": SHORT,
    "digits": {},
    "highway": {"stop.env_steps": "96", "env.kwargs.config": "{duration=3,vehicles_count=3}"},
    "minatar": {**SHORT, **SMALL_IMAGES},
    "atari": {**SMALL_IMAGES, "stop.env_steps": "96", "env.kwargs.max_num_frames_per_episode": "40"},
}
"""What makes each of them quick, by how its name begins: few steps, small networks, episodes that end soon"""
SLOW = {"minatar-asterix", "minatar-freeway", "minatar-space-invaders", "atari-breakout"}
"""Those that differ from another in their game only"""
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in presets.names() if name != "losses"]
"""All but the comparison of losses, which test_every_loss.py trains"""


def needed(name: str) -> None:
    for begin, module in NEEDS.items():
        if name.startswith(begin):
            pytest.importorskip(module)


def flags(words: dict[str, str]) -> list[str]:
    return [word for key, value in words.items() for word in (f"--{key}", value)]


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_trains(name, tmp_path, capsys):
    needed(name)
    words = flags({**LITTLE, **OWN[name.partition("-")[0]]})
    folder = tmp_path / "run"
    assert main(["train", name, *words, "--runner", "inline", "--out", str(folder)]) == 0
    assert capsys.readouterr().err == ""

    asked = parse_run(words, presets.read(name), "test")
    text = (folder / "config.toml").read_text()
    assert run_files.decode(run_files.read_toml(folder / "config.toml")) == asked
    assert run_files.encode(asked) == text

    told = summary(folder)
    assert_is_whole(told, list(asked.students))
    assert (told["env"], told["status"], told["env_steps"]) == (asked.env.id, "finished", asked.stop.env_steps)
    assert told["teacher"]["episodes"] == 2
    assert_accounts_add_up(told, samples_per_insert=1.0, batch_size=8)
    assert_priorities_add_up(told, asked.replay.prioritized)


def assert_is_whole(told: dict, students: list[str]) -> None:
    """Every key of the contract and no other, every value of its kind, or null where there is no number."""
    assert_kinds(kinds(told), {**SUMMARY, "students": {name: STUDENT for name in students}})


def assert_kinds(found: object, wanted: object) -> None:
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key, kind in wanted.items():
            assert_kinds(found[key], kind)
    elif isinstance(wanted, list):
        assert len(found) == len(wanted)
        assert set(found) <= {*wanted, type(None)}
    else:
        assert found in (wanted, type(None))


def assert_priorities_add_up(told: dict, prioritised: bool) -> None:
    """Each step that was drawn by priority was learned from, and got a new priority, or was gone when it came."""
    replay = told["replay"]
    if prioritised:
        assert replay["prioritised"] + replay["late_priorities"] == replay["sampled"] > 0
    else:
        assert (replay["prioritised"], replay["late_priorities"]) == (0, 0)


@pytest.mark.timeout(150)
def test_a_preset_of_another_package_trains_on_ray(tmp_path: Path):
    """With priorities, which travel back from the learner to the replay, and a replay small enough that some come late."""
    pytest.importorskip("minatar")
    more = {"stop.env_steps": "2000", "replay.warmup": "200", "replay.capacity": "600"}
    ended = launch("train", "minatar-breakout", *flags({**LITTLE, **OWN["minatar"], **more}), "--out", "run", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = summary(tmp_path / "run")
    assert_is_whole(told, ["quarter", "fifteenth", "fiftieth"])
    assert told["replay"]["evicted"] > 0
    assert_accounts_add_up(told, samples_per_insert=1.0, batch_size=8)
    assert_priorities_add_up(told, True)
