"""The loop over a fixed set of states: which are learned from, when a student stops, and that it goes on to the byte.

Patience by itself is in `test_held_out.py`; whole runs from the command line are in `program/test_sets_of_states.py`.
"""

import hashlib
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from journals import SPEC
from safetensors.numpy import save_file

from distributed_kd import run_file
from distributed_kd.config import CheckpointConfig, DataConfig, EvaluationConfig, ReplayConfig, RunConfig, StopConfig
from distributed_kd.learning.learner import Learner
from distributed_kd.learning.students import Student
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import build
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import EnvSpec
from distributed_kd.storage import checkpoints
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import policy_parameters
from distributed_kd.student_config import LossConfig, StudentConfig
from distributed_kd.training import offline
from distributed_kd.training.data_set import DataSet, write
from distributed_kd.training.fitting import open_checkpoint
from distributed_kd.training.given import keep_teachers, parts_of, read_given, with_teachers_network
from distributed_kd.training.offline import HeldOut
from distributed_kd.training.run import execute


def student(*hidden, loss="mse", **more):
    return StudentConfig(network=NetworkConfig(hidden=hidden), loss=loss, **more)


def config_of(place, students, count=100, seed=0, dtype=np.float32, **data):
    """A run on so many random states, taught by a random network 4 -> 8 -> 2 whose Q-values are around 1 apart."""
    random = np.random.default_rng(5)
    path = place / f"{count}-{np.dtype(dtype)}.npz"
    if not path.exists():
        states = random.normal(size=(count, 4)).astype(np.float32).astype(dtype)
        write(DataSet(states, "CartPole-v1", "/nowhere"), path)
        arrays = {"0.weight": (8, 4), "0.bias": (8,), "2.weight": (2, 8), "2.bias": (2,)}
        save_file(
            {name: np.random.default_rng(6).normal(size=size).astype(np.float32) for name, size in arrays.items()},
            place / "teacher.safetensors",
        )
    return RunConfig(
        seed=seed,
        teacher=TeacherConfig(source=str(place / "teacher.safetensors")),
        students=students,
        replay=ReplayConfig(capacity=1_000, warmup=100, batch_size=8),
        data=DataConfig(str(path), **{"updates": 100, "check_every": 10, "patience": 1_000, **data}),
        evaluation=EvaluationConfig(episodes=2),
        checkpoint=CheckpointConfig(every_seconds=0),
    )


def telling(after_a_look):
    """The loop that calls this with the run the moment a look was reported."""

    def loop(run):
        learned = run.journal.learned
        run.journal.learned = lambda report: (learned(report), after_a_look(run))
        return offline.train(run)

    return replace(offline.RUNNER, loop=loop)


def stopping_after(looks):
    """The loop that gets a SIGTERM the moment its n-th look was reported."""
    seen = []

    def count(_):
        seen.append(1)
        if len(seen) == looks:
            os.kill(os.getpid(), signal.SIGTERM)

    return telling(count)


def start(path, config, runner=offline.RUNNER):
    found = read_given(config, SPEC)
    config = with_teachers_network(config, found)
    with RunFolder.create(path, run_file.encode(config)) as folder:
        keep_teachers(folder, found)
        return execute(parts_of(folder, config, SPEC), folder.lock(), runner)


def go_on(path, runner=offline.RUNNER):
    with RunFolder.open(path) as folder:
        config = run_file.decode(run_file.read_toml(folder.config_file))
        restored = open_checkpoint(folder.lock(), config, config)
        return execute(parts_of(folder, config, SPEC), folder, runner, restored)


def newest(path):
    return checkpoints.load_newest(path / "checkpoints")


def bytes_of(path) -> dict[str, str]:
    """The hash of each file of what a run over states goes on from."""
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for part in ("learner", "held_out")
        for file in newest(path).path.glob(f"{part}.*")
    }


def network_of(path, name, *hidden):
    network = build(NetworkConfig(hidden=hidden), EnvSpec("", (4,), "float32", 2))
    saved = policy_parameters(newest(path).parts["learner"], name)
    network.load_state_dict({key: torch.as_tensor(value) for key, value in saved.items()})
    return network


@pytest.fixture
def watched(monkeypatch):
    """What each look finds, by student, and the states that were learned from and looked at."""
    seen = {"looks": [], "learned": set(), "held_out": set()}
    distil, look, held_out_loss = Learner.distil, HeldOut.look, Student.held_out_loss

    def rows(observation):
        return {row.tobytes() for row in observation.numpy()}

    def distilled(learner, lesson, progress, names):
        seen["learned"] |= rows(lesson.observation)
        return distil(learner, lesson, progress, names)

    def measured(one, lesson, temperature):
        seen["held_out"] |= rows(lesson.observation)
        return held_out_loss(one, lesson, temperature)

    def looked(best, learner, losses):
        seen["looks"].append((learner.updates, losses))
        look(best, learner, losses)

    monkeypatch.setattr(Learner, "distil", distilled)
    monkeypatch.setattr(Student, "held_out_loss", measured)
    monkeypatch.setattr(HeldOut, "look", looked)
    return seen


def looks_at(watched, name):
    return [losses[name] for _, losses in watched["looks"] if name in losses]


@pytest.mark.parametrize(("count", "share", "held"), [(100, 0.2, 20), (10, 0.05, 1), (10, 0.99, 9), (25, 0.5, 12)])
def test_what_is_held_out_is_never_learned_from(count, share, held, watched, tmp_path):
    told, code = start(tmp_path / "run", config_of(tmp_path, {"a": student(4)}, count, held_out=share))
    assert (code, told["updates"]) == (0, 100)
    assert len(watched["held_out"]) == held  # 25 * 0.5 = 12.5, which rounds to the even 12
    assert not watched["learned"] & watched["held_out"]
    # 100 batches of 8 out of at most 90 states leave one out with (1 - 1/90)^800 < 0.0002.
    assert len(watched["learned"]) == count - held


def test_another_seed_holds_out_others_and_no_stretch(watched, tmp_path):
    found = []
    for seed in (0, 1):
        config = config_of(tmp_path, {"a": student(4)}, seed=seed)
        watched["held_out"].clear()
        start(tmp_path / f"run-{seed}", config)
        with np.load(config.data.file) as file:
            places = {row.tobytes(): place for place, row in enumerate(file["observation"])}
        found.append(sorted(places[row] for row in watched["held_out"]))
        assert found[-1] != list(range(found[-1][0], found[-1][0] + 20))
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("updates", "stop", "looks"),
    [(25, 0, [10, 20, 25]), (30, 0, [10, 20, 30]), (7, 0, [7]), (1_000, 12, [10, 12])],
)
def test_it_looks_every_so_many_updates_and_ends_at_the_bound(updates, stop, looks, watched, tmp_path):
    config = replace(config_of(tmp_path, {"a": student(4)}, updates=updates), stop=StopConfig(updates=stop))
    told, _ = start(tmp_path / "run", config)
    assert [updates for updates, _ in watched["looks"]] == looks
    assert told["updates"] == told["students"]["a"]["updates"] == told["teacher"]["updates"] == looks[-1]


def test_no_environment_step_is_counted(tmp_path):
    told, _ = start(tmp_path / "run", config_of(tmp_path, {"a": student(4)}))
    assert told["env_steps"] == told["replay"]["inserted"] == told["replay"]["sampled"] == 0
    account = told["accounting"]
    assert (account["generated"], account["accepted"], account["unknown"]) == (0, 0, 0)
    assert not any(account["dropped"].values())
    assert told["teacher"]["episodes"] == told["students"]["a"]["episodes"] == 2
    assert set(newest(tmp_path / "run").parts) == {"journal", "learner", "held_out"}


def test_the_share_of_the_run_that_is_over_goes_by_updates(tmp_path):
    seen = []
    config = config_of(tmp_path, {"a": student(4)}, updates=40)
    start(tmp_path / "run", config, telling(lambda run: seen.append(run.journal.progress)))
    assert seen == [0.25, 0.5, 0.75, 1.0]


def test_a_student_stops_before_the_bound_and_gets_its_best_weights_back(watched, tmp_path):
    # 10 states to learn from by 500 units: what it learns by heart makes it worse on the 40 that it does not see.
    students = {"big": student(500, learning_rate=0.01)}
    config = config_of(tmp_path, students, 50, held_out=0.8, updates=5_000, check_every=5, patience=6)
    told, code = start(tmp_path / "run", config)
    looks = looks_at(watched, "big")
    best = int(np.argmin(looks))
    assert code == 0 and told["updates"] == 5 * len(looks) < 5_000
    assert len(looks) - 1 - best == 6, "it stopped once six looks had found nothing better"
    assert looks[-1] > looks[best], "or the last weights would do as well"

    held_out = torch.tensor(np.stack([np.frombuffer(row, np.float32) for row in watched["held_out"]]))
    with torch.no_grad():
        taught, learned = (network_of(tmp_path / "run", *which)(held_out) for which in (("teacher", 8), ("big", 500)))
    # mse is the sum over the two actions, mean over the states.
    assert (taught - learned).square().sum(1).mean().item() == pytest.approx(looks[best], rel=1e-5)


def test_one_that_is_done_stays_as_it_was_and_the_other_goes_on(watched, tmp_path):
    quick, slow = student(4, learning_rate=1e-9), student(4, learning_rate=1e-2)
    config = config_of(tmp_path, {"quick": quick, "slow": slow}, patience=3, check_every=5, updates=200)
    told, _ = start(tmp_path / "both", config)
    counts = {name: told["students"][name]["updates"] for name in ("quick", "slow")}
    # Steps of 1e-9 change float32 weights of around 0.3 by less than their last bit: no look is better than the first.
    assert counts["quick"] == 5 * (1 + 3) < counts["slow"] == told["updates"]
    assert len(looks_at(watched, "quick")) == 4
    # And alone each is what it is beside the other.
    alone, _ = start(tmp_path / "alone", replace(config, students={"slow": slow}))
    assert alone["students"]["slow"]["updates"] == counts["slow"]
    for (_, one), (_, other) in zip(
        network_of(tmp_path / "both", "slow", 4).state_dict().items(),
        network_of(tmp_path / "alone", "slow", 4).state_dict().items(),
        strict=True,
    ):
        assert one.numpy().tobytes() == other.numpy().tobytes()


def test_patience_begins_when_all_losses_have_begun(watched, tmp_path):
    # A student that waits for 60 updates, and one whose loss turns to hard labels at half time: before, a look says nothing.
    late = student(4, loss="kl", temperature=1.0, warmup=60)
    turning = student(4, losses=(LossConfig("kl", until=0.5), LossConfig("nll", since=0.5)), temperature=1.0)
    config = config_of(tmp_path, {"late": late, "turning": turning}, patience=2)
    told, _ = start(tmp_path / "run", config)
    first = {name: next(at for at, losses in watched["looks"] if name in losses) for name in ("late", "turning")}
    assert first == {"late": 70, "turning": 50}
    assert told["students"]["late"]["updates"] == 100 - 60


STUDENTS = {
    "noisy": student(4, loss="kl", temperature="auto", observation_noise=0.1, target_noise=0.1, learning_rate_end=0.0),
    "deep": student(4, 4, losses=(LossConfig("kl"), LossConfig("hint", weight=0.1)), temperature_end=0.5),
    "quick": student(4, learning_rate=1e-9, warmup=7),
}


def test_one_seed_gives_the_same_bytes_and_another_gives_others(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        start(tmp_path / name, config_of(tmp_path, STUDENTS, seed=seed))
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two") != bytes_of(tmp_path / "other")


# 10 looks; `quick` is done at the third.
@pytest.mark.parametrize("points", [(1,), (3,), (4,), (9,), (1, 1, 5), (2, 1)])
def test_stopped_and_resumed_is_as_never_stopped(points, tmp_path):
    config = config_of(tmp_path, STUDENTS, patience=2)
    whole, _ = start(tmp_path / "whole", config)
    path = tmp_path / "stopped"
    told, code = start(path, config, stopping_after(points[0]))
    assert (told["status"], code, told["updates"]) == ("preempted", 75, 10 * points[0])
    for point in points[1:]:
        assert go_on(path, stopping_after(point))[1] == 75
    told, code = go_on(path)
    assert (code, told["updates"]) == (0, whole["updates"])
    assert bytes_of(path) == bytes_of(tmp_path / "whole")
    for name in STUDENTS:
        for key in ("updates", "return_mean", "action_agreement", "gap_weighted_agreement"):
            assert told["students"][name][key] == whole["students"][name][key]


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path):
    start(tmp_path / "run", config_of(tmp_path, STUDENTS, patience=2))
    before = bytes_of(tmp_path / "run")
    assert go_on(tmp_path / "run")[1] == 0
    assert bytes_of(tmp_path / "run") == before


def test_states_of_another_kind_of_number_are_taken_as_the_environments(tmp_path):
    for dtype in (np.float32, np.float64, ">f4"):
        start(tmp_path / f"run-{np.dtype(dtype).name}{dtype == '>f4'}", config_of(tmp_path, STUDENTS, dtype=dtype))
    found = [bytes_of(path) for path in sorted(tmp_path.glob("run-*"))]
    assert len(found) == 3 and found[0] == found[1] == found[2]
