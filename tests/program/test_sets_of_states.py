"""Students distilled on a fixed set of states, through the command line: `dataset`, then `train --data`.

The loop itself is in `training/test_offline.py`, what a file may hold in `training/test_data_set.py`.
"""

import hashlib
import io
import pickle
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from launching import Started, launch, metrics, run_file, summary

from distributed_kd import run_file as run_files
from distributed_kd.cli import main
from distributed_kd.storage import checkpoints

ANEW = "Draw it anew with: python launch.py dataset"


@dataclass(frozen=True)
class Place:
    """A folder with a run, sets of its states by where they came from, and the run file `tiny.toml`."""

    path: Path

    @property
    def run(self) -> Path:
        return self.path / "run"

    def states(self, origin: str) -> Path:
        return self.path / f"{origin}.npz"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Place:
    place = Place(tmp_path_factory.mktemp("states"))
    words = ["--runner", "inline", "--evaluation.every_seconds", "0", "--out", str(place.run)]
    assert main(["train", str(run_file(place.path, 2_000)), *words]) == 0
    for origin in ("replay", "teacher"):
        out = place.states(origin)
        assert main(["dataset", str(place.run), "--states", "150", "--from", origin, "--out", str(out), "--seed", "3"]) == 0
    return place


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Path:
    """An empty folder with the run file and the states from the replay, where the program is started."""
    shutil.copy(made.path / "tiny.toml", tmp_path)
    shutil.copy(made.states("replay"), tmp_path / "states.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hashes(path: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(path.rglob("*")) if file.is_file()}


def newest(run: Path) -> checkpoints.Checkpoint:
    return checkpoints.load_newest(run / "checkpoints")


def network_of(run: Path, name: str) -> dict[str, bytes]:
    learner = newest(run).parts["learner"]
    owner = learner["teacher"] if name == "teacher" else learner["students"][name]
    return {key: value.tobytes() for key, value in owner["trained"]["network"].items()}


def learned(run: Path) -> dict[str, bytes]:
    """The files of what a run over states goes on from, without the journal, which tells of time."""
    return {file.name: file.read_bytes() for part in ("learner", "held_out") for file in newest(run).path.glob(f"{part}.*")}


def refused(capsys, words: list[str]) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = main(words)
    return code, [line.removeprefix("error: ") for line in capsys.readouterr().err.splitlines()]


def test_states_of_the_replay_are_there_each_once(made):
    with np.load(made.states("replay")) as file:
        assert set(file) == {"observation", "env", "run"}
        found = [row.tobytes() for row in file["observation"]]
        assert (file["observation"].dtype, file["observation"].shape) == (np.float32, (150, 4))
        assert (str(file["env"]), str(file["run"])) == ("CartPole-v1", str(made.run))
    rows = newest(made.run).parts["replay"]["rows"]
    acted_on = {row.tobytes() for row in rows["observation"][np.asarray(rows["is_step"], bool)]}
    assert len(set(found)) == 150 and set(found) <= acted_on


@pytest.mark.parametrize("origin", ["replay", "teacher"])
def test_students_are_distilled_on_them(origin, made, here, capsys):
    before = hashes(made.path)
    words = ["--data.updates", "900", "--students.half.temperature", "auto", "--students.half.learning_rate", "5e-3"]
    assert main(["train", "tiny.toml", "--data", str(made.states(origin)), *words, "--out", "taught"]) == 0
    assert capsys.readouterr().err == ""
    assert hashes(made.path) == before, "nothing of the run that the states came from is touched"

    told = summary(Path("taught"))
    assert (told["status"], told["env_steps"], told["updates"]) == ("finished", 0, 900)
    assert told["accounting"]["generated"] == told["replay"]["inserted"] == told["replay"]["sampled"] == 0
    for student in told["students"].values():
        assert (student["updates"], student["episodes"]) == (900, 3)
    assert told["students"]["half"]["action_agreement"] > 0.9
    assert all(line["env_steps"] == 0 for line in metrics(Path("taught")))
    assert network_of(Path("taught"), "teacher") == network_of(made.run, "teacher")
    config = run_files.decode(run_files.read_toml(Path("taught/config.toml")))
    assert (config.teacher.source, config.teacher.frozen, config.teacher.network.hidden) == (str(made.run), True, (32,))
    assert Path("taught/commands.txt").read_text().startswith("python launch.py train tiny.toml --data ")


def test_a_student_that_has_learned_enough_stops(here):
    words = ["--data.updates", "5000", "--data.check_every", "10", "--data.patience", "2"]
    words += ["--students.tiny.learning_rate", "1e-9"]  # no look is better than the first
    words += ["--students.half.learning_rate", "0.1"]
    assert main(["train", "tiny.toml", "--data", "states.npz", *words, "--out", "taught"]) == 0
    told = summary(Path("taught"))
    assert told["students"]["tiny"]["updates"] == 30
    assert 30 <= told["students"]["half"]["updates"] == told["updates"] < 5_000
    held_out = newest(Path("taught")).parts["held_out"]["best"]
    for name, flat in held_out["weights"].items():
        assert b"".join(network_of(Path("taught"), name).values()) == flat.tobytes(), "the best weights are the last ones"


def test_a_teacher_that_is_named_teaches_on_them(made, here):
    words = ["--teacher.source", f"{made.run}:half", "--data.updates", "50"]
    assert main(["train", "tiny.toml", "--data", "states.npz", *words, "--out", "taught"]) == 0
    assert network_of(Path("taught"), "teacher") == network_of(made.run, "half")


def test_the_same_bytes_whoever_starts_it(here):
    for out in ("one", "two"):
        assert main(["train", "tiny.toml", "--data", "states.npz", "--data.updates", "200", "--out", out]) == 0
    assert learned(Path("one")) == learned(Path("two"))
    assert main(["train", "one/config.toml", "--out", "again"]) == 0
    assert learned(Path("again")) == learned(Path("one"))


def test_stopped_by_a_signal_and_resumed_is_as_never_stopped(made, here):
    words = ["train", "tiny.toml", "--data", "states.npz", "--data.updates", "1000", "--data.check_every", "25"]
    words += ["--data.patience", "5000", "--students.half.observation_noise", "0.1", "--students.half.temperature", "auto"]
    seldom, often = ("--checkpoint.every_seconds", "0"), ("--checkpoint.every_seconds", "0.001")
    assert main([*words, *seldom, "--out", "whole"]) == 0
    with Started(*words, *often, "--out", "stopped", cwd=here) as started:
        started.until_checkpoint(here / "stopped")
        started.signal(signal.SIGTERM)
        assert started.ended() == 75
        assert started.err == ""
    told = summary(Path("stopped"))
    assert told["status"] == "preempted" and 0 < told["updates"] < 1_000
    assert main(["resume", "stopped", *seldom]) == 0
    assert learned(Path("stopped")) == learned(Path("whole"))
    assert summary(Path("stopped"))["updates"] == 1_000
    assert Path("stopped/commands.txt").read_text().splitlines()[-1] == f"python launch.py resume stopped {' '.join(seldom)}"
    assert main(["evaluate", "stopped", "--policy", "half", "--episodes", "2"]) == 0


def test_without_the_run_they_came_from(made, here):
    shutil.copytree(made.run, here / "run")
    assert main(["dataset", "run", "--states", "50", "--out", "sets/few.npz"]) == 0
    assert main(["train", "tiny.toml", "--data", "sets/few.npz", "--data.updates", "100", "--out", "taught"]) == 0
    shutil.rmtree(here / "run")
    assert main(["resume", "taught", "--stop.updates", "200"]) == 0
    assert summary(Path("taught"))["updates"] == 200
    assert network_of(Path("taught"), "teacher") == network_of(made.run, "teacher")


def test_a_run_over_states_has_no_replay_to_draw_from(here, capsys):
    assert main(["train", "tiny.toml", "--data", "states.npz", "--data.updates", "20", "--out", "taught"]) == 0
    words = ["dataset", "taught", "--states", "20", "--out"]
    assert refused(capsys, [*words, "more.npz"]) == (
        2,
        ["no replay (from=replay): the run learned from a set of states itself. Use --from teacher"],
    )
    assert main([*words, "more.npz", "--from", "teacher"]) == 0
    with np.load("more.npz") as file:
        assert file["observation"].shape == (20, 4)


def test_what_dataset_says(made, here, capsys):
    assert main(["dataset", str(made.run), "--states", "20", "--out", "new/a.npz"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "20 states of CartPole-v1 written to new/a.npz",
        "distil on them with: python launch.py train FILE.toml --data new/a.npz",
    ]


DATASET = [
    (2, "--states 9 --out a.npz", "bad states (states=9): it must be at least 10. Set --states 10 or more"),
    (2, "--seed -1 --out a.npz", "bad seed (seed=-1): it must be at least 0. Set --seed 0 or more"),
    (2, "--out states.npz", "the file is there already (out=states.npz): it would be lost. Give another --out"),
    (2, "--states 5", "the following arguments are required: --out. See python launch.py dataset --help"),
    (
        2,
        "--from nowhere --out a.npz",
        "argument --from: invalid choice: 'nowhere' (choose from 'replay', 'teacher'). See python launch.py dataset --help",
    ),
    (
        7,
        "--states 10 --out tiny.toml/a.npz",
        "the set of states could not be written (path=tiny.toml/a.npz): a file is in the place of a folder. "
        "Check the disk, or give another --out",
    ),
]


@pytest.mark.parametrize(("code", "words", "line"), DATASET)
def test_dataset_refuses_in_one_line(code, words, line, made, here, capsys):
    before = hashes(here)
    assert refused(capsys, ["dataset", str(made.run), *words.split()]) == (code, [line])
    assert hashes(here) == before


def test_dataset_tells_how_many_there_are(made, here, capsys):
    there = int(np.count_nonzero(newest(made.run).parts["replay"]["rows"]["is_step"]))
    words = ["dataset", str(made.run), "--states", "100000", "--out", "a.npz"]
    line = f"too few states (states=100000): {there} are there. Ask for {there} or fewer"
    assert refused(capsys, words) == (2, [line])
    assert refused(capsys, ["dataset", "nowhere", "--out", "a.npz"]) == (
        2,
        [
            "not the folder of a run (path=nowhere): there is no config.toml in it. "
            "Give the folder of a run, such as runs/NAME"
        ],
    )
    assert not Path("a.npz").exists()


class Crafted:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return (Path.touch, (Path("mark"),))


def with_states(observation: np.ndarray) -> bytes:
    packed = io.BytesIO()
    np.savez_compressed(packed, observation=observation, env=np.array("Other-v0"), run=np.array("/nowhere/run"))
    return packed.getvalue()


def crafted() -> bytes:
    objects = np.empty((20, 4), object)
    objects[:] = Crafted()
    return with_states(objects)


ONES = np.ones((20, 4), np.float32)
BAD_FILES = [
    (
        2,
        None,
        "no set of states (data.file=bad.npz): there is no such file. "
        "Draw one: python launch.py dataset RUN --states 500 --out FILE.npz",
    ),
    (4, with_states(ONES)[:-30], f"the set of states cannot be read (data.file=bad.npz): File is not a zip file. {ANEW}"),
    (
        4,
        pickle.dumps(Crafted()),
        f"the set of states cannot be read (data.file=bad.npz): File is not a zip file. {ANEW}",
    ),
    (
        4,
        crafted(),
        "the set of states cannot be read (data.file=bad.npz): "
        f"Object arrays cannot be loaded when allow_pickle=False. {ANEW}",
    ),
    (
        4,
        with_states(ONES * np.nan),
        "the set of states cannot be used (data.file=bad.npz): "
        f"observations of shape [20, 4] must be at least 10, and finite. {ANEW}",
    ),
    (
        4,
        with_states(np.ones((20, 6))),
        "the set of states does not fit (data.file=bad.npz): its states are [6] of Other-v0, CartPole-v1 has [4]. "
        "Set --env.id Other-v0",
    ),
    (
        2,
        with_states(ONES),
        "the policy cannot be read (source=/nowhere/run): there is nothing at this path. "
        "Give a run's folder (RUN or RUN:STUDENT), a Stable-Baselines3 DQN .zip or a .safetensors file",
    ),
]


@pytest.mark.parametrize(("code", "content", "line"), BAD_FILES)
def test_what_is_no_set_of_states_is_refused_in_one_line(code, content, line, here, capsys):
    if content is not None:
        Path("bad.npz").write_bytes(content)
    before = hashes(here)
    assert refused(capsys, ["train", "tiny.toml", "--data", "bad.npz", "--out", "taught"]) == (code, [line])
    assert hashes(here) == before and not Path("taught").exists()


def test_the_crafted_files_would_have_done_harm(here):
    """Or the tests above would see nothing."""
    pickle.loads(pickle.dumps(Crafted()))
    assert Path("mark").exists()
    Path("mark").unlink()
    with np.load(io.BytesIO(crafted()), allow_pickle=True) as file:
        assert file["observation"].shape == (20, 4)
    assert Path("mark").exists()


@pytest.mark.parametrize("row", [1, 3])
def test_a_user_sees_the_same(row, here):
    """Through the real program: the same line, no traceback, nothing done."""
    code, content, line = BAD_FILES[row]
    Path("bad.npz").write_bytes(content)
    ended = launch("train", "tiny.toml", "--data", "bad.npz", "--out", "taught", cwd=here)
    assert (ended.returncode, ended.stderr, ended.stdout) == (code, f"error: {line}\n", "")
    assert not Path("mark").exists() and not Path("taught").exists()


NO_REWARDS = (
    "no rewards to learn from (students.half.loss={}): a data set holds states, no rewards. "
    "Use losses on the teacher's outputs, and --students.half.td_weight 0"
)
UNFIT = [
    ("--students.half.td_weight 1 --students.half.loss mse", NO_REWARDS.format("mse+td")),
    ("--students.half.loss policy_gradient", NO_REWARDS.format("policy_gradient")),
    (
        "--teacher.source peers",
        "no teacher (teacher.source=peers): a set of states is learned from with a teacher. "
        "Set --teacher.source to a run or a file",
    ),
    (
        "--teacher.source gone --teacher.frozen false",
        "the teacher cannot learn (teacher.frozen=false): a set of states holds no rewards to learn from. "
        "Set --teacher.frozen true",
    ),
    (
        "--address auto",
        "options exclude each other (address=auto): a set of states is learned from in one process. Drop one",
    ),
]


@pytest.mark.parametrize(("words", "line"), UNFIT)
def test_what_needs_more_than_states_is_refused(words, line, here, capsys):
    code, lines = refused(capsys, ["train", "tiny.toml", "--data", "states.npz", *words.split(), "--out", "taught"])
    assert code == 2 and line in lines
    assert not Path("taught").exists()


def test_another_set_cannot_be_taken_on_resume(made, here, capsys):
    words = ["train", "tiny.toml", "--data", "states.npz", "--data.updates", "20", "--out", "taught"]
    assert main(words) == 0
    before = hashes(here)
    code, (line,) = refused(capsys, ["resume", "taught", "--data", str(made.states("teacher"))])
    assert code == 4
    assert line.startswith(
        f"the run was made with another value (data.file={made.states('teacher')}): it is {Path('states.npz').resolve()} in "
    )
    Path("states.npz").rename("moved.npz")
    code, (line,) = refused(capsys, ["resume", "taught"])
    assert code == 2 and line.startswith(
        f"no set of states (data.file={Path('states.npz').resolve()}): there is no such file. "
    )
    Path("moved.npz").rename("states.npz")
    assert {name: value for name, value in hashes(here).items() if name in before and "lock" not in name} == {
        name: value for name, value in before.items() if "lock" not in name
    }
