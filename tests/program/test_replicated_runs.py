"""A run whose learner is several replicas: it learns, is saved, goes on with another number of them, and ends with one."""

import os
import signal

import pytest
from launching import Started, assert_accounts_add_up, launch, metrics, run_file, summary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
CORES = "import os\nos.sched_getaffinity = lambda pid: range(4)\n"
"""Two learners ask for more cores than the machines have that tests may run on"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(CORES)
    return tmp_path


def test_two_replicas_learn_are_saved_and_go_on_as_one(place):
    file = run_file(place, env_steps=3_000)
    # Priorities, scores that are heeded and students that begin later: all that must come to each replica alike.
    words = ["--replay.prioritized", "true", "--replay.shards", 2, "--students.tiny.warmup", 50, "--env.normalise", "true",
             "--teacher.teaches", "best", "--evaluation.every_env_steps", 500]  # fmt: skip
    made = launch("train", file, "--learner.replicas", 2, *words, "--out", "run", cwd=place, importable=place)
    assert (made.returncode, made.stderr) == (0, "")
    assert "learner     2 x (1 CPU), on cpu: teacher and 2 students, batches of 32 in 2 parts" in made.stdout
    first = summary(place / "run")
    assert first["status"] == "finished"
    assert first["replay"]["sampled"] == 32 * first["updates"]
    assert first["replay"]["prioritised"] + first["replay"]["late_priorities"] == first["replay"]["sampled"]
    assert first["replay"]["samples_per_insert"] == pytest.approx(4.0, rel=0.01)
    assert first["students"]["tiny"]["updates"] == first["updates"] - 50
    assert any("teacher" in line.get("losses", {}) for line in metrics(place / "run"))

    went_on = launch("resume", "run", "--learner.replicas", 1, "--stop.env_steps", 4_000, cwd=place, importable=place)
    assert (went_on.returncode, went_on.stderr) == (0, "")
    second = summary(place / "run")
    assert second["updates"] > first["updates"]
    again = ["--learner.replicas", 2, "--stop.env_steps", 5_000]
    assert launch("resume", "run", *again, cwd=place, importable=place).returncode == 0
    assert summary(place / "run")["updates"] > second["updates"]


def replaced(folder):
    return any(line.get("restarts", {}).get("learner") for line in metrics(folder))


def test_a_replica_that_is_killed_is_replaced_with_the_learner(place):
    folder = place / "run"
    made = [run_file(place, 1_000_000_000), "--rollouts.actors", 1, "--learner.replicas", 2]
    with Started("train", *made, "--out", "run", cwd=place, importable=place) as run:
        run.until_checkpoint(folder)
        (victim,) = [pid for pid, command in run.family().items() if "LearnerReplica" in command]
        os.kill(victim, signal.SIGKILL)
        run.until(lambda: metrics(folder)[-1].get("losses") and replaced(folder), "the learner is replaced, and learns")
        run.signal(signal.SIGINT)
        assert run.ended() == 130
    ended = launch("resume", "run", "--stop.updates", 10_000_000, "--stop.env_steps", summary(folder)["env_steps"] + 1_000,
                   "--learner.replicas", 1, cwd=place, importable=place)  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert_accounts_add_up(summary(folder), samples_per_insert=4.0, batch_size=32)
