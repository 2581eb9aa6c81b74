"""Parts of a run on Ray that are killed or hang while it goes on: each is replaced, and every step is accounted for."""

import os
import shutil
import signal
from pathlib import Path

import pytest
from launching import Started, assert_nothing_is_lost, metrics, run_file, summary

from distributed_kd.storage.checkpoints import load_newest

pytestmark = pytest.mark.timeout(300)
ENDLESS = 1_000_000_000
SEGMENT = 8 * 8
"""environment steps"""


def kill(run: Started, actor: str, number: signal.Signals = signal.SIGKILL) -> None:
    found: list[int] = []

    def is_there() -> bool:
        found.extend(pid for pid, command in run.family().items() if actor in command)
        return bool(found)

    run.until(is_there, f"{actor} is there")
    os.kill(found[0], number)


def newest(folder: Path, key: str) -> dict:
    """The newest line's word on something, or nothing."""
    told = [line[key] for line in metrics(folder) if key in line]
    return told[-1] if told else {}


def goes_on(run: Started, folder: Path) -> None:
    """Until more was generated and learned than until now, as the newest lines have it, and that was saved."""
    before = len([line for line in metrics(folder) if "charts" in line])

    def both() -> bool:
        charts = [line["charts"] for line in metrics(folder) if "charts" in line][before + 1 :]
        return any(one["env_steps_per_second"] > 0 and one["updates_per_second"] > 0 for one in charts)

    run.until(both, "it generates and learns again")


def stopped(run: Started, folder: Path) -> dict:
    run.signal(signal.SIGTERM)
    assert run.ended() == 75, run.err
    told = summary(folder)
    assert load_newest(folder / "checkpoints").step == told["updates"]
    return told


def niceness(run: Started, actor: str) -> set[int]:
    """Of the threads of an actor; none where it is not there yet."""
    processes = [pid for pid, command in run.family().items() if actor in command]
    threads = [int(thread) for process in processes[:1] for thread in os.listdir(f"/proc/{process}/task")]
    return {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}


def test_rollouts_and_the_evaluation_are_replaced(tmp_path):
    folder = tmp_path / "run"
    with Started("train", run_file(tmp_path, ENDLESS), "--out", "run", cwd=tmp_path) as run:
        run.until_checkpoint(folder)
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert niceness(run, "LearnerActor") == {ours}, "no nicer than any process"
        for actor in ("RolloutActor", "EvaluationActor"):  # what plays gives way to the learner, its heartbeats do not
            run.until(lambda who=actor: niceness(run, who) == {ours, min(19, ours + 10)}, f"{actor} plays")
        for count in (1, 2, 3):
            kill(run, "RolloutActor")
            run.until(lambda n=count: newest(folder, "restarts").get("rollout") == n, "it was noticed")
            goes_on(run, folder)
        kill(run, "EvaluationActor")
        run.until(lambda: newest(folder, "restarts").get("evaluation") == 1, "it was noticed")
        evaluated = len([line for line in metrics(folder) if "evaluation" in line])
        run.until(lambda: len([line for line in metrics(folder) if "evaluation" in line]) > evaluated, "it evaluates again")
        told = stopped(run, folder)
    account = told["accounting"]
    assert account["restarts"] == {"rollout": 3, "replay": 0, "learner": 0, "evaluation": 1}
    assert account["unknown"] <= 3 * 2 * SEGMENT, "two calls at most were under way at each"
    assert_nothing_is_lost(told, batch_size=32)
    names = sorted(line.split(" died (")[0].removeprefix("warning: ") for line in run.err.splitlines())
    assert names[-1] == "the evaluation" and all(name.startswith("rollout ") for name in names[:-1])
    assert "(raylet)" not in run.out, "Ray's own words on it are not for whoever reads the run's"


@pytest.mark.parametrize("first", ["LearnerActor", pytest.param("ReplayActor", marks=pytest.mark.slow)])
def test_replay_and_learner_go_back_together(first, tmp_path):
    folder = tmp_path / "run"
    kind = first.removesuffix("Actor").lower()
    with Started("train", run_file(tmp_path, ENDLESS), "--out", "run", cwd=tmp_path) as run:
        run.until_checkpoint(folder)
        goes_on(run, folder)
        kill(run, first)
        run.until(lambda: newest(folder, "rollbacks").get("count") == 1, "it was noticed")
        goes_on(run, folder)
        told = stopped(run, folder)
    account = told["accounting"]
    assert account["restarts"] == {"rollout": 0, "replay": 0, "learner": 0, "evaluation": 0} | {kind: 1}
    lost = account["rollbacks"]
    assert lost["count"] == 1
    assert lost["updates"] >= 0 and lost["env_steps"] >= 0
    assert set(account["dropped"]) <= {"fenced"}
    assert_nothing_is_lost(told, batch_size=32)
    lines = run.err.splitlines()
    assert lines[0].startswith("warning: the ") and " died (ActorDiedError): " in lines[0]
    said = f"lost so far: {lost['env_steps']} environment steps and {lost['updates']} updates"
    assert lines[1].startswith("warning: replay and learner go back to step-") and lines[1].endswith(said)


@pytest.mark.slow
def test_before_the_first_checkpoint_it_begins_anew(tmp_path):
    folder = tmp_path / "run"
    words = ["--checkpoint.every_seconds", 0, "--out", "run"]
    with Started("train", run_file(tmp_path, ENDLESS), *words, cwd=tmp_path) as run:
        run.until(lambda: (folder / "metrics.jsonl").exists() and any(m["updates"] for m in metrics(folder)), "it learned")
        kill(run, "LearnerActor")
        run.until(lambda: newest(folder, "rollbacks").get("count") == 1, "it was noticed")
        goes_on(run, folder)
        told = stopped(run, folder)
    assert "go back to the beginning" in run.err
    assert told["accounting"]["rollbacks"]["updates"] > 0
    assert_nothing_is_lost(told, batch_size=32)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hang once", "stopped"])
def test_a_rollout_that_hangs_is_replaced(fault, tmp_path):
    """Its process is frozen, or its environment never comes back from a step."""
    folder = tmp_path / "run"
    shutil.copy(Path(__file__).with_name("odd_envs.py"), tmp_path)
    words = ["--env.id", "odd_envs:Odd-v0", "--allow-env-import", "--rollouts.step_timeout", 5, "--out", "run"]
    words += ["--evaluation.every_seconds", 0]  # an evaluation's environment would hang as well, and before a rollout's
    if fault != "stopped":
        words += ["--env.kwargs.fault", fault, "--env.kwargs.fault_at", 200]
    with Started("train", run_file(tmp_path, ENDLESS), *words, cwd=tmp_path, importable=tmp_path) as run:
        run.until_checkpoint(folder)
        if fault == "stopped":
            kill(run, "RolloutActor", signal.SIGSTOP)
        run.until(lambda: newest(folder, "restarts").get("rollout") == 1, "it was noticed")
        goes_on(run, folder)
        told = stopped(run, folder)
    account = told["accounting"]
    assert account["restarts"]["rollout"] == 1
    assert_nothing_is_lost(told, batch_size=32)
    assert 0 < account["unknown"] <= 2 * SEGMENT
    assert "rollout " in run.err and " hangs: " in run.err


@pytest.mark.slow
def test_too_many_replacements_end_the_run_with_what_it_has_learned(tmp_path):
    folder = tmp_path / "run"
    words = ["--supervision.restarts", 1, "--out", "run"]
    with Started("train", run_file(tmp_path, ENDLESS), *words, cwd=tmp_path) as run:
        run.until_checkpoint(folder)
        kill(run, "RolloutActor")
        run.until(lambda: newest(folder, "restarts").get("rollout") == 1, "it was noticed")
        goes_on(run, folder)
        kill(run, "RolloutActor")
        assert run.ended() == 9
    told = summary(folder)
    assert told["status"] == "failed"
    assert load_newest(folder / "checkpoints").step == told["updates"]
    assert_nothing_is_lost(told, batch_size=32)
    line = run.err.splitlines()[-1]
    assert line.startswith("error: too much has failed (supervision.restarts=1): rollout ")
    assert " died (ActorDiedError): " in line and "Go on with: python launch.py resume run" in line
