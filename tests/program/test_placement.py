"""Where on a cluster a run's actors stand, what is told of it before, and how it waits for nodes that come later."""

import json
import re
import signal
from pathlib import Path

import pytest
import ray
from launching import Started, launch, run_file
from nodes import Nodes

from distributed_kd.cli import main

SPOT = "market-type=spot"


def test_a_dry_run_prints_the_plan_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = run_file(tmp_path)
    assert main(["train", str(file), "--dry-run", "--rollouts.actors", "1"]) == 0
    told = capsys.readouterr()
    assert (told.err, told.out.splitlines()[0]) == ("", "plan")
    assert "  rollouts    1 x " in told.out and "  in all      " in told.out
    assert main(["train", str(file), "--dry-run", "--runner", "inline"]) == 0
    assert capsys.readouterr().out == "plan\n  all parts of the run in one process\n"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_dry_run_says_what_is_wrong_as_a_run_would(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(run_file(tmp_path)), "--dry-run", "--rollouts.actors", "1000"]) == 5
    assert capsys.readouterr().err.startswith("error: too few CPUs (rollouts.actors=1000): ")
    assert main(["train", str(run_file(tmp_path)), "--dry-run", "--replay.capacity", "0"]) == 2


def test_a_run_for_which_there_is_no_ray_leaves_nothing_and_can_be_given_again(tmp_path, monkeypatch, capsys):
    def refuse(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")

    monkeypatch.setattr(ray, "init", refuse)
    file = run_file(tmp_path)
    for _ in range(2):
        words = ["train", str(file), "--address", "10.0.0.1:6379", "--out", str(tmp_path / "run")]
        assert main(words) == 6
        assert capsys.readouterr().err.startswith("error: Ray could not be joined (address=10.0.0.1:6379): ")
        assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_a_run_waits_for_nodes_and_stands_on_those_with_its_labels(cluster: Nodes, tmp_path: Path):
    """First there is no node at all; then a spot machine comes, where its rollouts belong, and then another."""
    words = ["--address", cluster.address, "--placement.rollouts", SPOT, "--placement.learner", "market-type=!spot"]
    words += ["--placement.wait_minutes", 5, "--out", "run", "--rollouts.actors", 2]
    with Started("train", run_file(tmp_path), *words, cwd=tmp_path) as run:
        run.until(lambda: "the run waits for room on the cluster: " in run.err, "it says that it waits")
        spot = cluster.add(2, SPOT)
        stable = cluster.add(2, "market-type=on-demand")
        assert run.ended() == 0, run.err
    assert f"labels      learner on market-type=!spot; rollouts on {SPOT}" in run.out
    assert "rollouts    2 x 1 CPU" in run.out, "it waited until there was room as it would like to have it"
    assert spot != stable
    told = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (told["status"], told["invariants"]["I9"]) == ("finished", 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cluster", [0], indirect=True)
def test_a_dry_run_on_a_cluster_tells_of_its_nodes_and_a_run_that_waits_can_be_stopped(cluster: Nodes, tmp_path: Path):
    file = run_file(tmp_path)
    cluster.add(2, SPOT)
    cluster.add(2)
    told = launch("train", file, "--dry-run", "--address", cluster.address, "--placement.rollouts", SPOT, cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    lines = r"  in all      [0-9.]+ of 4 CPU, on 3 nodes\n  labels      rollouts on market-type=spot\n"
    assert re.search(lines, told.stdout)
    words = ["--address", cluster.address, "--placement.rollouts", SPOT]
    missing = launch("train", file, "--dry-run", *words[:2], "--placement.rollouts", "zone=b", cwd=tmp_path)
    assert missing.returncode == 5
    assert "error: no such node (placement.rollouts=zone=b): of 3 nodes none has it." in missing.stderr
    words += ["--rollouts.actors", 20, "--placement.wait_minutes", 60, "--out", "run"]
    with Started("train", file, *words, cwd=tmp_path) as run:
        run.until(lambda: "the run waits for room on the cluster: " in run.err, "it says that it waits")
        run.signal(signal.SIGTERM)
        assert run.ended() == 5, run.err
    assert "stopped while the run waited for room on the cluster" in run.err


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cluster", [4], indirect=True)
def test_two_runs_at_once_on_one_cluster_do_not_mix(cluster: Nodes, tmp_path: Path):
    """Of other seeds and sizes; each has its own steps, and all room is the cluster's again."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    words = ["--address", cluster.address, "--rollouts.actors", 1, "--out", "run"]
    with (
        Started("train", run_file(folders[0], 3_000), *words, "--seed", 1, cwd=folders[0]) as one,
        Started("train", run_file(folders[1], 2_000), *words, "--seed", 2, cwd=folders[1]) as two,
    ):
        assert [one.ended(), two.ended()] == [0, 0], one.err + two.err
    for folder, seed, steps in zip(folders, (1, 2), (3_000, 2_000), strict=True):
        told = json.loads((folder / "run" / "summary.json").read_text())
        assert (told["status"], told["seed"], told["invariants"]["I9"]) == ("finished", seed, 0)
        assert told["accounting"]["generated"] == told["accounting"]["accepted"]
        assert steps <= told["accounting"]["accepted"] < steps + 1_000
