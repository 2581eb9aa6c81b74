"""Who drives the lanes and which parameters train, seen in what whole runs leave in their checkpoints."""

from pathlib import Path

import numpy as np
import pytest
from launching import metrics, run_file, summary

from distributed_kd.cli import main
from distributed_kd.envs.spec import read_spec
from distributed_kd.run_file import decode, read_toml
from distributed_kd.storage import checkpoints
from distributed_kd.training.parts import Parts

pytestmark = pytest.mark.timeout(60)

# 16 lanes, segments of 8 lanes x 8 steps, the first update after four of them; a ring that holds every step there was.
WORDS = ("--runner", "inline", "--evaluation.every_seconds", "0", "--replay.capacity", "5000")
STEPS = 2_048


def train(place: Path, *words: str, env_steps: int = STEPS) -> dict:
    """A run of two students to its end; gives the parts of its newest checkpoint."""
    folder = place / "run"
    assert main(["train", str(run_file(place, env_steps)), *WORDS, *words, "--out", str(folder)]) == 0
    assert summary(folder)["env_steps"] == env_steps
    return checkpoints.load_newest(folder / "checkpoints").parts


def drivers(parts: dict) -> np.ndarray:
    """[steps] number of the policy that acted, in the order of segments: 0 the teacher, 1 and 2 the students."""
    rows = parts["replay"]["rows"]
    return np.asarray(rows["policy"])[np.asarray(rows["is_step"])]


def behaviour(**shares: float) -> list[str]:
    return [word for name, share in shares.items() for word in (f"--rollouts.behaviour.{name}", str(share))]


def episodes_of(folder: Path) -> set[str]:
    """The policies in whose lanes episodes ended."""
    return {name for line in metrics(folder) for name in line.get("episodes", {})}


# Of 16 lanes: shares, and the steps that teacher, half and tiny are to have of 2,048.
@pytest.mark.parametrize(
    ("shares", "steps"),
    [
        ({"teacher": 0.5, "students": 0.5}, [1_024, 512, 512]),
        ({"teacher": 0.25, "students": 0.75}, [512, 768, 768]),
        ({"teacher": 0, "students": 1}, [0, 1_024, 1_024]),
        ({"teacher": 1, "students": 0}, [2_048, 0, 0]),
    ],
)
def test_lanes_are_shared_as_asked(shares, steps, tmp_path):
    parts = train(tmp_path, *behaviour(**shares))
    assert np.bincount(drivers(parts), minlength=3).tolist() == steps
    driving = {name for name, count in zip(("teacher", "half", "tiny"), steps, strict=True) if count}
    assert episodes_of(tmp_path / "run") == driving
    # Whoever drives, all learn.
    told = summary(tmp_path / "run")
    assert [one["updates"] for one in told["students"].values()] == [told["updates"]] * 2


def test_beta_lets_the_teacher_act_in_the_students_lanes(tmp_path):
    parts = train(tmp_path, *behaviour(teacher=0.25, students=0.75, beta=0.5, beta_end=0.5))
    teacher, half, tiny = np.bincount(drivers(parts), minlength=3)
    # 512 steps in its own lanes, and half of the others' 1,536: 768 with a standard deviation of 20.
    assert abs(teacher - 512 - 768) < 80
    assert half + tiny == STEPS - teacher
    assert abs(half - tiny) < 120
    # The episodes remain those of the lanes.
    assert episodes_of(tmp_path / "run") == {"teacher", "half", "tiny"}


def test_beta_falls_from_start_to_end(tmp_path):
    parts = train(tmp_path, *behaviour(teacher=0, students=1, beta=1, beta_end=0, beta_fraction=0.5))
    acted = drivers(parts) == 0
    # 32 segments of 64 steps. The first one begins at 0: all of it is the teacher's. From the middle on nothing is.
    share = acted.reshape(32, 64).mean(1)
    assert share[0] == 1
    assert share[16:].max() == 0
    # Linear in between: one sixteenth less with every segment, each of 64 draws with a standard deviation below 0.0625.
    assert np.abs(share[:16] - (1 - np.arange(16) / 16)).max() < 0.25


def began_with(folder: Path) -> dict[str, dict[str, bytes]]:
    """The parameters of each policy as the run began with them, each as its bytes."""
    config = decode(read_toml(folder / "config.toml"))
    networks = Parts(config, read_spec(config.env)).networks()
    return {
        name: {key: value.numpy().tobytes() for key, value in network.state_dict().items()}
        for name, network in networks.items()
    }


def moved(place: Path, parts: dict, name: str) -> set[str]:
    """The parameters of a policy that are not what they were at the beginning."""
    learner = parts["learner"]
    owner = learner["teacher"] if name == "teacher" else learner["students"][name]
    before, after = began_with(place / "run")[name], owner["trained"]["network"]
    assert before.keys() == after.keys()
    return {key for key, value in before.items() if np.asarray(after[key]).tobytes() != value}


BODY, HEAD = {"body.0.weight", "body.0.bias"}, {"advantage.weight", "advantage.bias"}


@pytest.mark.parametrize(
    ("trainable", "moving"),
    [("all", BODY | HEAD), ("head", HEAD), ("body.*", BODY), ("*.bias", {"body.0.bias", "advantage.bias"})],
)
def test_nothing_moves_but_what_trains(trainable, moving, tmp_path):
    parts = train(tmp_path, "--students.half.trainable", trainable, env_steps=512)
    assert moved(tmp_path, parts, "half") == moving
    assert moved(tmp_path, parts, "tiny") == moved(tmp_path, parts, "teacher") == BODY | HEAD


def test_a_pattern_that_matches_nothing(tmp_path, capsys):
    words = ["--students.half.trainable", "body.5.*", "--students.tiny.trainable", "Head", "--out", str(tmp_path / "run")]
    assert main(["train", str(run_file(tmp_path)), *WORDS, *words]) == 2
    names = "body.0.weight, body.0.bias, advantage.weight, advantage.bias"
    end = f"no parameter has such a name. Use all, head, or a pattern of: {names}"
    assert capsys.readouterr().err.splitlines() == [
        f"error: nothing to train (students.half.trainable='body.5.*'): {end}",
        f"error: nothing to train (students.tiny.trainable='Head'): {end}",
    ]
    assert not (tmp_path / "run").exists()
