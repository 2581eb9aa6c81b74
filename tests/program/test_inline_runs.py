"""The loop in one process: the same to the bit for one seed, whoever else learns, and however often it is interrupted."""

import hashlib
import os
import signal
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from launching import assert_accounts_add_up, metrics, run_file, summary
from small_environments import Recorded

from distributed_kd import cli
from distributed_kd import run_file as run_files
from distributed_kd.config import (
    CheckpointConfig,
    EnvConfig,
    EvaluationConfig,
    ReplayConfig,
    RolloutsConfig,
    RunConfig,
    StopConfig,
)
from distributed_kd.data_config import BehaviourConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.storage import checkpoints
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.student_config import StudentConfig
from distributed_kd.training import inline, saving
from distributed_kd.training.fitting import open_checkpoint
from distributed_kd.training.parts import Parts
from distributed_kd.training.preflight import check_run
from distributed_kd.training.run import Runner, execute


def student(*hidden, loss="kl", **more):
    return StudentConfig(network=NetworkConfig(hidden=hidden), loss=loss, **more)


STUDENTS = {
    "a": student(16, temperature="auto"),
    "b": student(8, loss="mse"),
    "c": student(8, loss="cross_entropy"),
    "d": student(4, 4, loss="huber", learning_rate_end=0.0),
    "e": student(4, loss="nll", max_grad_norm=0.1),
}


def config_of(env="CartPole-v1", students=("a", "b"), behaviour=(0.5, 0.5), env_steps=1_500, **more):
    tables = {
        "env": EnvConfig(env),
        "stop": StopConfig(env_steps=env_steps),
        "teacher": TeacherConfig(network=NetworkConfig(hidden=(16,)), n_step=3, target_update=20),
        "students": {name: STUDENTS[name] for name in students},
        "rollouts": RolloutsConfig(actors=2, envs_per_actor=6, steps_per_segment=8, behaviour=BehaviourConfig(*behaviour)),
        "replay": ReplayConfig(capacity=600, warmup=200, batch_size=16, samples_per_insert=4.0),
        "evaluation": EvaluationConfig(episodes=2, every_seconds=0),
        "checkpoint": CheckpointConfig(every_seconds=0, keep=3),
    }
    return RunConfig(**{**tables, **more})


def stopping_after(segments: int | None) -> Runner:
    """The inline loop that gets a SIGTERM the moment its n-th segment was collected."""
    if segments is None:
        return inline.RUNNER

    def loop(run):
        collected = run.journal.collected
        seen = 0

        def counting(stats):
            nonlocal seen
            collected(stats)
            seen += 1
            if seen == segments:
                os.kill(os.getpid(), signal.SIGTERM)

        run.journal.collected = counting
        return inline.train(run)

    return replace(inline.RUNNER, loop=loop)


def start(path: Path, config: RunConfig, stop_after: int | None = None) -> tuple[dict, int]:
    with RunFolder.create(path, run_files.encode(config)) as folder:
        folder.lock()
        return execute(Parts(config, check_run(config, False)), folder, stopping_after(stop_after))


def go_on(path: Path, config: RunConfig, stop_after: int | None = None) -> tuple[dict, int]:
    with RunFolder.open(path) as folder:
        folder.lock()
        restored = open_checkpoint(folder, config, config)
        return execute(Parts(config, check_run(config, False)), folder, stopping_after(stop_after), restored)


def files(path: Path, *parts: str) -> dict[str, str]:
    """The hash of each file of these parts in the newest checkpoint."""
    newest = checkpoints.load_newest(path / "checkpoints").path
    return {
        f"{part}.{ending}": hashlib.sha256((newest / f"{part}.{ending}").read_bytes()).hexdigest()
        for part in parts
        for ending in ("json", "safetensors")
    }


EVERYTHING = ("learner", "replay", "rollouts")


def learner_of(path: Path) -> dict:
    return checkpoints.load_newest(path / "checkpoints").parts["learner"]


def contents(state) -> object:
    """A state with each array as its bytes, so that == compares to the bit."""
    if isinstance(state, dict):
        return {key: contents(value) for key, value in state.items()}
    if isinstance(state, list):
        return [contents(value) for value in state]
    return (state.dtype.str, state.shape, state.tobytes()) if isinstance(state, np.ndarray) else state


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1"])
def test_one_seed_gives_the_same_bytes(env, tmp_path):
    config = config_of(env, students=tuple(STUDENTS))
    for name in ("one", "two"):
        start(tmp_path / name, config)
    assert files(tmp_path / "one", *EVERYTHING) == files(tmp_path / "two", *EVERYTHING)
    one, two = summary(tmp_path / "one"), summary(tmp_path / "two")
    assert without_time(one) == without_time(two)
    assert_accounts_add_up(one, samples_per_insert=4.0, batch_size=16)


def test_another_seed_gives_other_weights(tmp_path):
    for seed in (0, 1):
        start(tmp_path / str(seed), config_of(seed=seed, env_steps=500))
    assert files(tmp_path / "0", "learner") != files(tmp_path / "1", "learner")


def test_evaluations_and_checkpoints_on_the_way_change_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "STALL_SHARE", 1.0)  # on a slow disk too there are several
    config = config_of()
    often = replace(
        config, evaluation=EvaluationConfig(2, every_seconds=1e-9), checkpoint=CheckpointConfig(every_seconds=1e-9)
    )
    start(tmp_path / "seldom", config)
    start(tmp_path / "often", often)
    assert len(list((tmp_path / "often" / "checkpoints").glob("step-*"))) == 3
    assert sum("evaluation" in line for line in metrics(tmp_path / "often")) >= 2
    assert files(tmp_path / "seldom", *EVERYTHING) == files(tmp_path / "often", *EVERYTHING)


@pytest.fixture(scope="module")
def with_five(tmp_path_factory):
    path = tmp_path_factory.mktemp("five") / "run"
    start(path, config_of(students=tuple(STUDENTS), behaviour=(1.0, 0.0)))
    return path


def test_students_never_change_the_teacher(with_five, tmp_path):
    # A run without students is refused at the command line; the loop itself does not mind.
    start(tmp_path / "alone", config_of(students=(), behaviour=(1.0, 0.0)))
    assert contents(learner_of(tmp_path / "alone")["teacher"]) == contents(learner_of(with_five)["teacher"])
    assert files(tmp_path / "alone", "replay", "rollouts") == files(with_five, "replay", "rollouts")


@pytest.mark.parametrize("name", ["a", "d"])
def test_students_never_change_each_other(name, with_five, tmp_path):
    start(tmp_path / "alone", config_of(students=(name,), behaviour=(1.0, 0.0)))
    alone, among = (contents(learner_of(path)["students"][name]) for path in (tmp_path / "alone", with_five))
    assert alone == among


# 1,500 steps in segments of 48 are 32 segments; the 4th is in the warm-up, the 5th and 6th at its edge.
@pytest.mark.parametrize(("env", "points"), [("CartPole-v1", (1, 4, 5, 17, 31)), ("Acrobot-v1", (3, 11, 26))])
def test_stopped_and_resumed_is_as_never_stopped(env, points, tmp_path):
    config = config_of(env, students=("a", "d"))
    start(tmp_path / "whole", config)
    whole = without_time(summary(tmp_path / "whole"))
    for point in points:
        path = tmp_path / f"stopped-{point}"
        told, code = start(path, config, stop_after=point)
        assert (told["status"], code, told["env_steps"]) == ("preempted", 75, 48 * point)
        assert_stands_between(told)
        assert go_on(path, config)[1] == 0
        assert files(path, *EVERYTHING) == files(tmp_path / "whole", *EVERYTHING), point
        assert without_time(summary(path)) == whole


def test_what_is_measured_on_the_way_is_as_never_stopped_too(tmp_path):
    """Every evaluation of a run that was stopped at five points is that of a run that never was, and each comes once."""
    config = config_of(evaluation=EvaluationConfig(2, every_env_steps=300))
    start(tmp_path / "whole", config)
    path = tmp_path / "often"
    start(path, config, stop_after=3)
    for _ in range(4):
        assert go_on(path, config, stop_after=6)[1] == 75
    assert go_on(path, config)[1] == 0
    assert files(path, *EVERYTHING) == files(tmp_path / "whole", *EVERYTHING)
    assert evaluations(path) == evaluations(tmp_path / "whole")
    assert len(evaluations(path)) == 1_500 // 300 + 1


def evaluations(path: Path) -> list[dict]:
    """Every one with its place in the run, without what it took."""
    lines = [line for line in metrics(path) if "evaluation" in line]
    return [{**line, "time": None, "evaluation": {**line["evaluation"], "seconds": None}} for line in lines]


def assert_stands_between(told: dict) -> None:
    account, replay = told["accounting"], told["replay"]
    assert account["generated"] == account["accepted"] == replay["inserted"] == replay["size"] + replay["evicted"]
    assert replay["sampled"] == 16 * told["updates"]


def without_time(value):
    """A summary, or a part of it, without what depends on the machine."""
    if not isinstance(value, dict):
        return value
    timed = ("wall_seconds", "throughput", "decision_microseconds", "checkpoints")
    return {key: without_time(item) for key, item in value.items() if key not in timed}


def test_stopped_again_and_again_is_as_never_stopped(tmp_path):
    config = config_of(students=("a",))
    start(tmp_path / "whole", config)
    path = tmp_path / "often"
    start(path, config, stop_after=7)
    for _ in range(3):
        told, _ = go_on(path, config, stop_after=5)
        assert told["status"] == "preempted"
    go_on(path, config)
    assert files(path, *EVERYTHING) == files(tmp_path / "whole", *EVERYTHING)
    lines = metrics(path)
    counts = [(line["env_steps"], line["updates"]) for line in lines]
    assert counts == sorted(counts)


def test_a_run_ended_by_updates_does_exactly_so_many(tmp_path):
    config = config_of(stop=StopConfig(env_steps=0, updates=1_501))
    told, code = start(tmp_path / "run", config)
    assert (code, told["updates"]) == (0, 1_501)
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=16)


def test_a_run_ended_by_time_ends_in_order(tmp_path):
    config = config_of(stop=StopConfig(env_steps=0, minutes=1 / 60))
    told, code = start(tmp_path / "run", config)
    assert (code, told["status"]) == (0, "finished")
    assert told["wall_seconds"] >= 1
    assert_stands_between(told)


def test_a_run_without_a_pace_ends_too(tmp_path):
    config = config_of(env_steps=500, replay=ReplayConfig(capacity=600, warmup=200, batch_size=16, samples_per_insert=0))
    told, code = start(tmp_path / "run", config)
    assert (code, told["status"]) == (0, "finished")
    assert_stands_between(told)


def test_mistakes_16_and_19_true_returns_on_seeds_of_their_own(tmp_path):
    """The reported scores are recomputed by hand: episodes, rewards and shares, from the environment and the weights."""
    Recorded.made.clear()
    # Returns below zero, rewards other than 1: a ratio of returns or a clipped reward would show.
    env = EnvConfig("Recorded-v0", {"inner": "Acrobot-v1"})
    config = config_of(students=("a", "b"), env_steps=1_000)
    config = replace(config, env=env, evaluation=EvaluationConfig(episodes=3, every_seconds=1e-9))
    told, _ = start(tmp_path / "run", config)

    judges = [made for made in Recorded.made if made.seeds][-3:]
    lanes = [made for made in Recorded.made if made.seeds][:-3]
    assert len(lanes) == 12
    final = [judge.seeds[-1] for judge in judges]
    trained_on = {seed for lane in lanes for seed in lane.seeds}
    seen_on_the_way = {seed for judge in judges for seed in judge.seeds} - set(final)
    assert seen_on_the_way, "there was no evaluation on the way"
    assert None not in trained_on
    assert len(set(final)) == 3
    assert not set(final) & (trained_on | seen_on_the_way)
    assert not seen_on_the_way & trained_on
    # Teacher, random, a and b: each plays each of its seeds, all of them the same.
    assert all(judge.seeds[-4:] == [seed] * 4 for judge, seed in zip(judges, final, strict=True))

    networks = Parts(config, read_spec(config.env)).networks()
    learner = learner_of(tmp_path / "run")
    mean = {}
    for name, network in networks.items():
        owner = learner["teacher"] if name == "teacher" else learner["students"][name]
        network.load_state_dict({k: torch.from_numpy(v) for k, v in owner["trained"]["network"].items()})
        mean[name] = np.mean([true_return(network, seed) for seed in final])
        reported = told["teacher"] if name == "teacher" else told["students"][name]
        assert reported["return_mean"] == pytest.approx(mean[name])
    assert told["random_return"] < 0
    for name in ("a", "b"):
        share = told["students"][name]["normalised_score"]
        if mean["teacher"] == told["random_return"]:
            assert np.isnan(share)
        else:
            by_hand = (mean[name] - told["random_return"]) / (mean["teacher"] - told["random_return"])
            assert share == pytest.approx(by_hand)


@torch.inference_mode()
def true_return(network, seed) -> float:
    env = gym.make("Acrobot-v1")
    observation, _ = env.reset(seed=int(seed))
    total, over = 0.0, False
    while not over:
        action = int(network(torch.from_numpy(observation)[None]).argmax())
        observation, reward, terminated, truncated, _ = env.step(action)
        total += reward
        over = terminated or truncated
    env.close()
    return total


def test_a_written_config_repeats_the_run(tmp_path, monkeypatch, capsys):
    """`train DIR/config.toml` is the same run: the same resolved file, the same weights."""
    monkeypatch.chdir(tmp_path)
    source = run_file(tmp_path, env_steps=1_000)
    inline_words = ["--runner", "inline", "--evaluation.every_seconds", "0"]
    assert cli.main(["train", str(source), *inline_words, "--teacher.n-step", "2", "--out", "one"]) == 0
    assert cli.main(["train", "one/config.toml", "--runner", "inline", "--out", "two"]) == 0
    assert Path("one/config.toml").read_bytes() == Path("two/config.toml").read_bytes()
    assert files(Path("one"), *EVERYTHING) == files(Path("two"), *EVERYTHING)
    assert capsys.readouterr().err == ""
    # And so does resuming what is finished: nothing is left to learn, the scores stand.
    before = summary(Path("one"))
    assert cli.main(["resume", "one"]) == 0
    assert files(Path("one"), *EVERYTHING) == files(Path("two"), *EVERYTHING)
    after = summary(Path("one"))
    assert without_time(after["students"]) == without_time(before["students"])
    assert after["replay"] == before["replay"]


def test_a_run_goes_on_beyond_its_first_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", str(run_file(tmp_path, env_steps=800)), "--runner", "inline", "--out", "run"]) == 0
    first = summary(Path("run"))
    # Without --runner it goes on with the one it was made with.
    assert cli.main(["resume", "run", "--stop.env_steps", "1600"]) == 0
    second = summary(Path("run"))
    assert first["env_steps"] < 1_600 <= second["env_steps"]
    assert second["updates"] > first["updates"]
    assert_accounts_add_up(second, samples_per_insert=4.0, batch_size=32)
    assert "env_steps = 1600" in Path("run/config.toml").read_text()


def test_without_out_a_run_gets_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["train", str(run_file(tmp_path, env_steps=300)), "--runner", "inline", "--evaluation.episodes", "2"]
    assert [cli.main(words) for _ in range(2)] == [0, 0]
    printed = capsys.readouterr().out.splitlines()
    names = sorted(path.name for path in Path("runs").iterdir())
    assert len(names) == 2
    for name in names:
        assert name.startswith("CartPole-v1__tiny__s0__")
        assert name.partition("Z")[0][-7] == "T"
    assert all(f"run   runs/{name}" in printed for name in names)
