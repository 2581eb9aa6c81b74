"""Students that join a run later, and students that begin with a policy of another run.

What a joined run file looks like and who cannot join is in `training/`.
"""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from launching import assert_accounts_add_up, launch, metrics, run_file, summary
from test_inline_runs import EVERYTHING, config_of, contents, files, learner_of, start, stopping_after, without_time

from distributed_kd.cli import main
from distributed_kd.envs.spec import read_spec
from distributed_kd.run_file import decode, read_toml
from distributed_kd.storage import checkpoints
from distributed_kd.training import inline
from distributed_kd.training.parts import Parts

pytestmark = pytest.mark.timeout(120)

INLINE = ("--runner", "inline", "--evaluation.every_seconds", "0")
FOLLOWS = ("--students.late.loss", "kl", "--students.late.network.hidden", "8")
# All that could reach others: its own rewards, a target network, noise, projections, schedules.
DEMANDING = (
    *("--students.late.losses", "kl_q", "hint", "--students.late.network.hidden", "8", "--students.late.td_weight", "1"),
    *("--students.late.target_update", "50", "--students.late.observation_noise", "0.1"),
    *("--students.late.target_noise", "0.1", "--students.late.learning_rate_end", "0"),
    *("--students.late.temperature_end", "0.5", "--students.late.distillation", "linear"),
)
STOPPED_AT = 12
"""Segments of 48 steps, of the 32 that the whole run has"""


def hashes(folder: Path) -> dict[str, str]:
    """Of every file but the lock, which says who held it last."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run of two students that was stopped after a third of its steps."""
    path = tmp_path_factory.mktemp("stopped") / "run"
    assert start(path, config_of(), stop_after=STOPPED_AT)[1] == 75
    return path


@pytest.fixture(scope="module")
def without(stopped) -> Path:
    """The same run, resumed to its end without anyone new."""
    path = shutil.copytree(stopped, stopped.parent / "without")
    assert main(["resume", str(path)]) == 0
    return path


@pytest.fixture
def path(stopped, tmp_path) -> Path:
    """A copy of the stopped run, to go on with."""
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.mark.parametrize("words", [FOLLOWS, DEMANDING], ids=["follows", "demanding"])
def test_whoever_joins_the_others_learn_as_they_would_have(words, path, stopped, without):
    assert main(["resume", str(path), *words]) == 0
    joined, alone = learner_of(path), learner_of(without)
    for part in ("teacher", "temperature"):
        assert contents(joined[part]) == contents(alone[part])
    assert joined["students"].keys() - alone["students"].keys() == {"late"}
    for name, student in alone["students"].items():
        assert contents(joined["students"][name]) == contents(student), name
    # The same steps, by the same drivers, drawn in the same order; nothing in them is the newcomer's.
    assert files(path, "replay", "rollouts") == files(without, "replay", "rollouts")

    told, before = summary(path), summary(without)
    late = told["students"].pop("late")
    assert without_time(told["students"]) == without_time(before["students"])
    assert without_time(told["teacher"]) == without_time(before["teacher"])
    assert without_time(told["replay"]) == without_time(before["replay"])
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=16)
    first = checkpoints.load_newest(stopped / "checkpoints").step
    assert late["updates"] == joined["students"]["late"]["updates"] == told["updates"] - first > 0


def test_a_newcomer_learns_and_its_schedules_begin_with_it(path, stopped):
    assert main(["resume", str(path), *DEMANDING]) == 0
    config = decode(read_toml(path / "config.toml"))
    assert [one.drives for one in config.students.values()] == [True, True, False]
    begun = Parts(config, read_spec(config.env)).networks()["late"].state_dict()
    late = learner_of(path)["students"]["late"]
    # Each layer has moved, and what trains beside the network.
    assert all(np.mean(late["trained"]["network"][name] != value.numpy()) > 0.5 for name, value in begun.items())
    # The first update comes with the 13th segment: 13 * 48 of 1,500 steps.
    assert late["began"] == (STOPPED_AT + 1) * 48 / 1_500
    drivers = checkpoints.load_newest(path / "checkpoints").parts["replay"]["rows"]["policy"]
    assert set(np.unique(drivers)) == {-1, 0, 1, 2}  # the newcomer would be 3
    logged = [line["losses"]["late"] for line in metrics(path) if "late" in line.get("losses", {})]
    assert logged
    assert {"td_loss", "distillation", "temperature"} <= logged[-1].keys()
    assert (path / "commands.txt").read_text().splitlines()[-1].startswith(f"python launch.py resume {path} --students.late")


def test_stopped_and_resumed_after_it_joined_is_as_never_stopped(path, tmp_path, monkeypatch):
    again = shutil.copytree(path, tmp_path / "again")
    assert main(["resume", str(path), *DEMANDING]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(inline, "RUNNER", stopping_after(7))
        assert main(["resume", str(again), *DEMANDING]) == 75
    assert summary(again)["env_steps"] == (STOPPED_AT + 7) * 48
    assert main(["resume", str(again)]) == 0
    assert files(again, *EVERYTHING) == files(path, *EVERYTHING)
    assert without_time(summary(again)) == without_time(summary(path))


def test_the_next_newcomer_changes_nothing_in_the_first(path, tmp_path, monkeypatch):
    one, both = (shutil.copytree(path, tmp_path / name) for name in ("one", "both"))
    for folder in (one, both):
        with monkeypatch.context() as patched:
            patched.setattr(inline, "RUNNER", stopping_after(7))
            assert main(["resume", str(folder), *DEMANDING]) == 75
    assert main(["resume", str(one)]) == 0
    assert main(["resume", str(both), "--students.a-second.loss", "mse"]) == 0
    learner = learner_of(both)
    assert list(summary(both)["students"]) == ["a", "b", "late", "a-second"]
    assert 0 < learner["students"].pop("a-second")["updates"] < learner["students"]["late"]["updates"]
    assert contents(learner) == contents(learner_of(one))


def test_a_newcomer_may_begin_as_an_old_student(path):
    """One that never gets an update shows what it began with."""
    words = ["--students.late.start", f"{path}:a", "--students.late.network.hidden", "16", "--students.late.warmup", "99999"]
    before = learner_of(path)["students"]["a"]["trained"]["network"]
    assert main(["resume", str(path), *words]) == 0
    students = learner_of(path)["students"]
    assert contents(students["late"]["trained"]["network"]) == contents(before)
    assert contents(students["a"]["trained"]["network"]) != contents(before)


MAY = "stop, evaluation, checkpoint, supervision, placement, tracking, learner and new students"
ONLY = f"Leave it, or start a new run; only {MAY} may change"


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (
            "--students.late.loss policy_gradient",
            2,
            "nobody can join (students.late.loss=policy_gradient): policy_gradient learns from its own lanes, and who joins "
            "has none. Use another loss, or a new run",
        ),
        (
            "--students.late.loss kl --students.a.learning_rate 0.5",
            4,
            f"the run was made with another value (students.a.learning_rate=0.5): it is 0.001 in {{config}}. {ONLY}",
        ),
        (
            "--students.late.loss kl --teacher.gamma 0.5",
            4,
            f"the run was made with another value (teacher.gamma=0.5): it is 0.99 in {{config}}. {ONLY}",
        ),
        (
            "--students.late.losses dkd",
            2,
            "too few actions (students.late.losses=dkd): dkd parts the best action from the others, and with two actions "
            "there is one other. Use kl or kl_hinton",
        ),
        (
            "--students.late.start no/such",
            2,
            "the policy cannot be read (source=no/such): there is nothing at this path. "
            "Give a run's folder (RUN or RUN:STUDENT), a Stable-Baselines3 DQN .zip or a .safetensors file",
        ),
        (
            "--students.late.start {run}:a --students.late.network.hidden 8",
            4,
            "the start does not fit (students.late.start={run}:a): its hidden layers are [16], the student's [8]. "
            "Set --students.late.network.hidden 16",
        ),
    ],
)
def test_who_cannot_join_changes_nothing(words, code, line, path, capsys):
    before = hashes(path)
    told = {"run": path, "config": path / "config.toml"}
    assert main(["resume", str(path), *words.format(**told).split()]) == code
    assert capsys.readouterr().err == f"error: {line.format(**told)}\n"
    assert hashes(path) == before


def test_nobody_joins_a_run_that_is_over(without, capsys):
    before = hashes(without)
    assert main(["resume", str(without), *FOLLOWS]) == 2
    assert capsys.readouterr().err == (
        "error: the run is over (stop.env_steps=1500): the run has come to 1536. Set --stop.env_steps 3072\n"
    )
    assert hashes(without) == before


def test_nobody_joins_peers(tmp_path, capsys):
    words = ["--teacher.source", "peers"]
    for name in ("half", "tiny"):
        words += [f"--students.{name}.td_weight", "1", f"--students.{name}.loss", "mse"]
    folder = tmp_path / "run"
    assert main(["train", str(run_file(tmp_path, 400)), *INLINE, *words, "--out", str(folder)]) == 0
    before = hashes(folder)
    capsys.readouterr()
    late = ["--students.late.td_weight", "1", "--students.late.loss", "mse"]
    assert main(["resume", str(folder), "--stop.env_steps", "800", *late]) == 2
    assert capsys.readouterr().err == (
        "error: nobody can join (students=late): among peers everyone teaches, so a newcomer would change the others. "
        "Start a new run\n"
    )
    assert hashes(folder) == before


@pytest.mark.slow
@pytest.mark.timeout(200)  # it may be the first to ask for the finished run
def test_one_joins_on_ray(finished, tmp_path):
    path = shutil.copytree(finished.folder, tmp_path / "run")
    before = summary(path)
    words = ("--stop.env_steps", 17_000, "--students.late.loss", "mse", "--students.late.network.hidden", 8)
    ended = launch("resume", path, *words, cwd=tmp_path, seconds=100)
    assert (ended.returncode, ended.stderr) == (0, "")
    told = summary(path)
    late = told["students"].pop("late")
    assert 0 < late["updates"] == told["updates"] - before["updates"]
    assert late["episodes"] == 3
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=32)
    assert set(np.unique(checkpoints.load_newest(path / "checkpoints").parts["replay"]["rows"]["policy"])) == {-1, 0, 1, 2}
    assert len((path / "commands.txt").read_text().splitlines()) == 2
    assert main(["evaluate", str(path), "--policy", "late", "--episodes", "2"]) == 0


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A CartPole run whose student `half` has two hidden layers."""
    place = tmp_path_factory.mktemp("source")
    words = ["--students.half.network.hidden", "16", "16", "--out", str(place / "run")]
    assert main(["train", str(run_file(place, 600)), *INLINE, *words]) == 0
    return place / "run"


def begin(place: Path, out: str, *words: str) -> dict[str, dict[str, bytes]]:
    """The students of a run that never updates them: what each begins with."""
    never = [word for name in ("half", "tiny") for word in (f"--students.{name}.warmup", "99999")]
    folder = place / out
    words = ("--students.half.network.hidden", "16", "16", *never, *words)
    assert main(["train", str(run_file(place, 300)), *INLINE, *words, "--out", str(folder)]) == 0
    return {name: as_bytes(one) for name, one in learner_of(folder)["students"].items()}


def as_bytes(owner: dict) -> dict[str, bytes]:
    """A policy's parameters, each as its bytes."""
    return {name: value.tobytes() for name, value in owner["trained"]["network"].items()}


def test_in_the_same_environment_all_of_it_is_taken(source, tmp_path):
    plain = begin(tmp_path, "plain")
    started = begin(tmp_path, "started", "--students.half.start", f"{source}:half")
    assert started["half"] == as_bytes(learner_of(source)["students"]["half"]) != plain["half"]
    assert started["tiny"] == plain["tiny"]


def test_in_another_environment_what_fits_is_taken_and_the_rest_is_new(source, tmp_path):
    """6 numbers and 3 actions in place of 4 and 2: the layers that see and that act are as without a start."""
    plain = begin(tmp_path, "plain", "--env.id", "Acrobot-v1")
    started = begin(tmp_path, "started", "--env.id", "Acrobot-v1", "--students.half.start", f"{source}:half")
    theirs = as_bytes(learner_of(source)["students"]["half"])
    taken = {"body.2.weight", "body.2.bias"}
    assert {name for name, value in started["half"].items() if value == theirs[name]} == taken
    new = {"body.0.weight", "body.0.bias", "advantage.weight", "advantage.bias"}
    assert {name for name, value in started["half"].items() if value == plain["half"][name]} == new
    assert started["tiny"] == plain["tiny"]


def test_a_head_alone_learns_on_the_teachers_body_and_needs_its_run_no_more(source, tmp_path):
    """The teacher of a run can be begun with too; once begun, its folder is not asked for again."""
    copy = shutil.copytree(source, tmp_path / "copy")
    words = ["--students.half.start", str(copy), "--students.half.network.hidden", "32", "--students.half.trainable", "head"]
    folder = tmp_path / "run"
    assert main(["train", str(run_file(tmp_path, 400)), *INLINE, *words, "--out", str(folder)]) == 0
    shutil.rmtree(copy)
    assert main(["resume", str(folder), "--stop.env_steps", "600"]) == 0
    assert main(["evaluate", str(folder), "--policy", "half", "--episodes", "2"]) == 0
    begun, now = as_bytes(learner_of(source)["teacher"]), as_bytes(learner_of(folder)["students"]["half"])
    assert {name for name in begun if begun[name] != now[name]} == {"advantage.weight", "advantage.bias"}


def test_other_hidden_widths_are_refused(source, tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["--students.half.start", f"{source}:half", "--students.tiny.start", str(source), "--out", str(folder)]
    assert main(["train", str(run_file(tmp_path)), *INLINE, *words]) == 4
    assert capsys.readouterr().err.splitlines() == [
        f"error: the start does not fit (students.half.start={source}:half): its hidden layers are [16, 16], the student's "
        "[16]. Set --students.half.network.hidden 16 16",
        f"error: the start does not fit (students.tiny.start={source}): its hidden layers are [32], the student's [4]. "
        "Set --students.tiny.network.hidden 32",
    ]
    assert not folder.exists()
