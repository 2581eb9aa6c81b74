"""A run whose networks see several observations at once, less their mean: whoever uses it later must see them so too."""

import json
from pathlib import Path

import numpy as np
import pytest
from launching import run_file, summary

from distributed_kd import networks
from distributed_kd import run_file as run_files
from distributed_kd.cli import main
from distributed_kd.config import EnvConfig
from distributed_kd.envs.spec import make
from distributed_kd.storage.checkpoints import load_newest
from distributed_kd.storage.sources import policy_parameters, saved_normal
from distributed_kd.training.parts import Parts
from distributed_kd.training.preflight import check_run

INLINE = ("--runner", "inline", "--evaluation.every_seconds", "0", "--checkpoint.every_seconds", "0")
STACKED = ("--env.frame_stack", "2", "--env.normalise", "true")
IMAGES = (
    *("--env.id", "MinAtar/Breakout-v1", "--env.kwargs.max_episode_steps", "40"),
    *("--teacher.network.kind", "minatar", "--teacher.network.channels", "2", "--students.half.network.kind", "minatar"),
    *("--students.half.network.channels", "2", "--evaluation.episodes", "2"),
)
OTHERWISE = "observations seen otherwise (env.normalise={}): {} learned on observations {}. Set --env.normalise {}"


def train(place: Path, *words: str, env_steps: int = 600) -> int:
    return main(["train", str(run_file(place, env_steps)), *INLINE, *map(str, words)])


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """CartPole, stacked and normalised."""
    place = tmp_path_factory.mktemp("stacked")
    assert train(place, *STACKED, "--out", place / "run", env_steps=700) == 0
    return place / "run"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A convolutional teacher and student, stacked and normalised."""
    pytest.importorskip("minatar")
    place = tmp_path_factory.mktemp("images")
    assert train(place, *IMAGES, *STACKED, "--out", place / "run") == 0
    return place / "run"


def network_of(folder: Path, name: str) -> dict[str, bytes]:
    saved = policy_parameters(load_newest(folder / "checkpoints").parts["learner"], name)
    return {key: np.asarray(value).tobytes() for key, value in saved.items()}


def normal_of(folder: Path) -> np.ndarray:
    """The mean and the standard deviation [2, *observation_shape] that a run's networks see observations by."""
    return saved_normal(load_newest(folder / "checkpoints").parts["learner"])


def played_by_hand(folder: Path, name: str, seed: int) -> float:
    """The return of one greedy CartPole episode, from the saved numbers alone."""
    config = run_files.decode(run_files.read_toml(folder / "config.toml"))
    policy = Parts(config, check_run(config, False)).networks()[name]
    saved = policy_parameters(load_newest(folder / "checkpoints").parts["learner"], name)
    networks.load_flat(policy, np.concatenate([np.asarray(saved[key]).reshape(-1) for key, _ in policy.named_parameters()]))
    mean, deviation = normal_of(folder)
    (first, first_bias), (head, head_bias) = (
        (saved[f"{layer}.weight"].astype(np.float64), saved[f"{layer}.bias"]) for layer in ("body.0", "advantage")
    )
    env = make(EnvConfig("CartPole-v1"))
    observation, _ = env.reset(seed=seed)
    seen, total, over = [observation, observation], 0.0, False  # what stands before an episode is its first observation
    while not over:
        stack = (np.stack(seen[-2:]) - mean) / deviation
        outputs = head @ np.maximum(first @ stack.reshape(-1) + first_bias, 0) + head_bias
        observation, reward, terminated, truncated, _ = env.step(int(outputs.argmax()))
        seen.append(observation)
        total += reward
        over = terminated or truncated
    env.close()
    return total


@pytest.mark.parametrize("policy", ["teacher", "half"])
def test_evaluate_shows_the_networks_what_they_learned_on(policy, run, capsys):
    """By hand: stacked, less the mean, divided by the deviation, two layers of the saved numbers."""
    capsys.readouterr()
    assert main(["evaluate", str(run), "--policy", policy, "--episodes", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    config = run_files.decode(run_files.read_toml(run / "config.toml"))
    stream = Parts(config, check_run(config, False)).seed("evaluate").spawn_key
    seeds = np.random.SeedSequence(0, spawn_key=stream).generate_state(3)
    assert told["returns"] == [played_by_hand(run, policy, int(seed)) for seed in seeds]


def test_the_numbers_they_see_by_are_those_of_the_replay(run):
    """Nearly: they are of what was drawn over the whole run, and the ring holds its last part."""
    mean, deviation = normal_of(run)
    rows = load_newest(run / "checkpoints").parts["replay"]["rows"]
    there = rows["observation"][np.asarray(rows["is_step"], bool)]
    assert mean.shape == deviation.shape == (4,)
    assert (np.abs(mean - there.mean(0)) < there.std(0)).all()
    assert ((deviation > there.std(0) / 2) & (deviation < 2 * there.std(0))).all()


@pytest.mark.parametrize("origin", ["replay", "teacher"])
def test_states_are_drawn_as_stacks_and_distilled_on(origin, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--states", "120", "--from", origin, "--out", "states.npz"]
    assert main(["dataset", str(run), *words]) == 0
    with np.load("states.npz") as file:
        states = file["observation"]
    # As the environment gives them: how they are normalised is the teacher's to know.
    assert (states.shape, states.dtype) == ((120, 2, 4), np.float32)
    for older, newer in states[:20]:
        position, speed = older[0], older[1]
        begins = np.array_equal(older, newer)
        assert begins or newer[0] == pytest.approx(position + 0.02 * speed, abs=1e-5)  # CartPole's step is 0.02 s

    learn = ["--data", "states.npz", "--data.updates", "400", "--students.half.learning_rate", "1e-2"]
    learn += ["--students.half.temperature", "auto"]
    file = str(run_file(tmp_path))
    assert main(["train", file, *STACKED, *learn, "--out", "taught"]) == 0
    assert network_of(Path("taught"), "teacher") == network_of(run, "teacher")
    assert np.array_equal(normal_of(Path("taught")), normal_of(run))
    assert summary(Path("taught"))["students"]["half"]["action_agreement"] > 0.8

    capsys.readouterr()
    assert main(["train", file, *learn, "--env.normalise", "true", "--out", "unstacked"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: the set of states does not fit (data.file=states.npz): its states are [2, 4] of CartPole-v1"
    )
    assert not Path("unstacked").exists()


def test_images_are_drawn_and_played_too(images, tmp_path, capsys):
    out = tmp_path / "states.npz"
    assert main(["dataset", str(images), "--states", "50", "--out", str(out)]) == 0
    with np.load(out) as file:
        assert (file["observation"].shape, file["observation"].dtype) == ((50, 2, 10, 10, 4), np.uint8)
    capsys.readouterr()
    assert main(["evaluate", str(images), "--policy", "half", "--episodes", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["episodes"] == 2


def test_a_frozen_teacher_sees_as_it_learned_to(images, tmp_path, capsys):
    before = network_of(images, "teacher")
    words = [*IMAGES, "--env.frame_stack", "2", "--teacher.source", str(images)]
    assert train(tmp_path, *words, "--env.normalise", "true", "--out", tmp_path / "taught") == 0
    assert network_of(tmp_path / "taught", "teacher") == before
    assert np.array_equal(normal_of(tmp_path / "taught"), normal_of(images))
    assert capsys.readouterr().err == ""
    # Nothing is asked of the run it came from when this one goes on, and its numbers still stand.
    assert main(["resume", str(tmp_path / "taught"), "--stop.env_steps", "800"]) == 0
    assert network_of(tmp_path / "taught", "teacher") == before
    assert np.array_equal(normal_of(tmp_path / "taught"), normal_of(images))


def test_a_teacher_that_would_see_otherwise_is_refused_in_one_line(images, run, tmp_path, monkeypatch, capsys):
    assert train(tmp_path, *IMAGES, "--env.frame_stack", "2", "--teacher.source", images, "--out", tmp_path / "x") == 4
    line = OTHERWISE.format("false", images, "that were normalised", "true")
    assert capsys.readouterr().err == f"error: {line}\n"

    assert train(tmp_path, "--out", tmp_path / "plain", env_steps=300) == 0
    capsys.readouterr()
    words = ["--teacher.source", tmp_path / "plain", "--env.normalise", "true", "--out", tmp_path / "x"]
    assert train(tmp_path, *words) == 4
    line = OTHERWISE.format("true", tmp_path / "plain", "as they are", "false")
    assert capsys.readouterr().err == f"error: {line}\n"

    # A start is another policy's weights, which know what they were learned on as well.
    assert train(tmp_path, "--env.frame_stack", "2", "--students.half.start", f"{run}:half", "--out", tmp_path / "x") == 4
    line = OTHERWISE.format("false", f"{run}:half", "that were normalised", "true")
    assert capsys.readouterr().err == f"error: {line}\n"
    assert not (tmp_path / "x").exists()


def test_a_teacher_of_another_stack_does_not_fit(run, tmp_path, capsys):
    words = ["--env.frame_stack", "3", "--env.normalise", "true", "--teacher.source", run, "--out", tmp_path / "x"]
    assert train(tmp_path, *words) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: the policy does not fit (teacher.source={run}): it sees ")
    assert not (tmp_path / "x").exists()
