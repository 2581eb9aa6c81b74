"""Runs on a Ray cluster whose nodes come, go, and are about to be preempted: nothing is lost but what lay on a lost node."""

import signal
import time
from pathlib import Path
from statistics import median

import pytest
from launching import Started, assert_nothing_is_lost, metrics, run_file, summary
from nodes import Nodes
from test_recovery import ENDLESS, goes_on, newest, stopped

from distributed_kd.storage.checkpoints import load_newest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SLOW = """
import time
import gymnasium as gym
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

class Slow(CartPoleEnv):
    def step(self, action):
        time.sleep(0.002)
        return super().step(action)

gym.register("Slow-v0", Slow, max_episode_steps=100)
"""
"""An environment whose steps take time and no core, so that the machine's cores are not what bounds a run"""


def charts(folder: Path) -> list[dict]:
    return [line["charts"] for line in metrics(folder) if "charts" in line] if (folder / "metrics.jsonl").exists() else []


def until_rollouts(run: Started, folder: Path, count: int) -> None:
    run.until(lambda: charts(folder) and charts(folder)[-1]["rollouts"] == count, f"{count} rollouts are there")


def settled(run: Started, folder: Path, count: int) -> float:
    """Environment steps a second: the median of the newest five lines of metrics, once all are of so many rollouts."""

    def newest_five() -> list[dict]:
        return charts(folder)[-5:]

    run.until(lambda: [one["rollouts"] for one in newest_five()] == [count] * 5, f"{count} rollouts have settled")
    return median(one["env_steps_per_second"] for one in newest_five())


def started(folder: Path, cluster: Nodes, least: int, most: int, *words: object) -> Started:
    made = ["--address", cluster.address, "--rollouts.actors.min", least, "--rollouts.actors.max", most]
    # Replacements are not allowed at all: what a node takes with it must not be held against the run.
    made += ["--supervision.restarts", 0, "--out", "run", *words]
    return Started("train", run_file(folder, ENDLESS), *made, cwd=folder, importable=folder)


@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_rollouts_are_lost_with_their_node_and_join_again_with_another(cluster, tmp_path):
    """Learner and replay stand on the head, a rollout on each of the two others; what they do grows with their number."""
    folder = tmp_path / "run"
    (tmp_path / "slow_envs.py").write_text(SLOW)
    words = ["--env.id", "slow_envs:Slow-v0", "--allow-env-import", "--evaluation.every_seconds", 0]
    first, _ = cluster.add(1), cluster.add(1)
    with started(tmp_path, cluster, 1, 3, "--replay.samples_per_insert", 0, *words) as run:
        before = settled(run, folder, 2)
        cluster.remove(first)
        alone = settled(run, folder, 1)
        assert alone < 0.75 * before
        cluster.add(1)
        added = time.monotonic()
        until_rollouts(run, folder, 2)
        print(f"\n{time.monotonic() - added:.1f} s after a node was added all rollouts are there")
        run.until(lambda: charts(folder)[-1]["env_steps_per_second"] >= 0.9 * before, "it is as fast as before")
        print(f"{time.monotonic() - added:.1f} s after it a line of metrics told of 90 % of the steps/s or more")
        again = settled(run, folder, 2)
        print(f"steps/s with two rollouts {before:.0f}, with one {alone:.0f}, with two again {again:.0f}")
        told = stopped(run, folder)
    account = told["accounting"]
    assert account["restarts"] == {"rollout": 1, "replay": 0, "learner": 0, "evaluation": 0}
    assert account["rollbacks"]["count"] == 0
    assert set(account["dropped"]) <= {"lost", "fenced"}
    assert_nothing_is_lost(told, batch_size=32)


@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_learner_and_replay_lost_with_their_node_go_on_where_rollouts_give_way(cluster, tmp_path):
    """The first node holds them all; the second one, when it is full of rollouts, is left alone."""
    folder = tmp_path / "run"
    first = cluster.add(2)
    with started(tmp_path, cluster, 1, 4) as run:
        run.until_checkpoint(folder)
        cluster.add(2)
        until_rollouts(run, folder, 4)
        goes_on(run, folder)
        cluster.remove(first)
        run.until(lambda: newest(folder, "rollbacks").get("count") == 1, "replay and learner went back")
        goes_on(run, folder)
        told = stopped(run, folder)
    account = told["accounting"]
    assert account["restarts"]["learner"] + account["restarts"]["replay"] == 1
    assert account["rollbacks"]["updates"] >= 0 and account["rollbacks"]["env_steps"] >= 0
    assert "replay and learner wait for room: " in run.err
    assert_nothing_is_lost(told, batch_size=32)


@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_who_is_on_a_node_that_is_drained_goes_elsewhere_and_nothing_is_lost(cluster, tmp_path):
    folder = tmp_path / "run"
    first = cluster.add(2)
    with started(tmp_path, cluster, 1, 1, "--checkpoint.every_seconds", 0) as run:
        until_rollouts(run, folder, 1)
        goes_on(run, folder)
        cluster.add(2)
        cluster.drain(first)
        run.until(lambda: newest(folder, "rollbacks").get("count") == 1, "replay and learner moved")
        cluster.remove(first)
        goes_on(run, folder)
        told = stopped(run, folder)
    account = told["accounting"]
    assert account["restarts"] == {"rollout": 0, "replay": 0, "learner": 0, "evaluation": 0}
    assert account["rollbacks"] == {"count": 1, "env_steps": 0, "updates": 0}
    assert account["unknown"] == 0
    assert summary(folder)["status"] == "preempted"
    assert "is about to leave, and with it rollout 0, replay or learner" in run.err
    assert_nothing_is_lost(told, batch_size=32)


@pytest.mark.parametrize("cluster", [2], indirect=True)
def test_a_fixed_number_of_rollouts_waits_for_room_and_says_so(cluster, tmp_path):
    """Half a CPU each: one finds room beside the learner, two on the other node."""
    folder = tmp_path / "run"
    other = cluster.add(1)
    words = ["--address", cluster.address, "--rollouts.actors", 3, "--supervision.restarts", 0, "--out", "run"]
    with Started("train", run_file(tmp_path, ENDLESS), *words, cwd=tmp_path) as run:
        until_rollouts(run, folder, 3)
        cluster.remove(other)
        run.until(lambda: "1 of 3 rollouts are there (rollouts.actors=3): the run waits" in run.err, "it says so")
        goes_on(run, folder)
        cluster.add(1)
        run.until(lambda: "3 rollouts are there again" in run.err, "all are there again")
        told = stopped(run, folder)
    assert told["accounting"]["restarts"] == {"rollout": 2, "replay": 0, "learner": 0, "evaluation": 0}
    assert_nothing_is_lost(told, batch_size=32)


@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_stopped_while_there_is_no_room_for_the_learner_it_ends_and_can_be_resumed(cluster, tmp_path):
    folder = tmp_path / "run"
    only = cluster.add(2)
    with started(tmp_path, cluster, 1, 1) as run:
        run.until_checkpoint(folder)
        cluster.remove(only)
        run.until(lambda: "replay and learner wait for room: " in run.err, "it is without room")
        run.signal(signal.SIGTERM)
        assert run.ended() == 5, run.err
    assert summary(folder)["status"] == "failed"
    assert "error: stopped while replay and learner waited for room on the cluster" in run.err
    saved = load_newest(folder / "checkpoints").step
    cluster.add(2)
    with Started("resume", "run", "--address", cluster.address, cwd=tmp_path) as run:
        goes_on(run, folder)
        told = stopped(run, folder)
    assert told["updates"] > saved
    assert_nothing_is_lost(told, batch_size=32)
