"""Runs in every state: what a report says of each, and which of its numbers it takes."""

import json
import os
import time
from pathlib import Path

import pytest
from run_folders import curve, make_run
from summaries import student

from distributed_kd.errors import ConfigurationError
from distributed_kd.reports.reported import read_run, read_runs

CHARTS = {"env_steps_per_second": 10.0, "learner_busy_share": 0.5}


def line(at, env_steps, **more):
    return json.dumps({"time": at, "env_steps": env_steps, "updates": env_steps // 10, "charts": CHARTS, **more})


def evaluation(env_steps, **returns):
    more = {"normalised_score": 0.25, "action_agreement": 0.75, "gap_weighted_agreement": 0.875}
    scores = {name: {"return_mean": value, **more} for name, value in returns.items()}
    return {"evaluation": {**scores, "version": 1, "seconds": 0.1, "env_steps": env_steps}}


def going_on(root, age=0.0, **more):
    """A run without a summary whose last sign of life is so many seconds old."""
    folder = make_run(root, **more)
    folder.summary_file.unlink()
    at = time.time() - age
    lines = [line(at - 20, 100), line(at - 10, 200, **evaluation(150, random=10.0, teacher=50.0, a=20.0)), line(at, 300)]
    folder.metrics_file.write_text("\n".join(lines) + "\n")
    os.utime(folder.metrics_file, (at, at))
    return folder


@pytest.mark.parametrize(("age", "status"), [(5.0, "running"), (3600.0, "broke off")])
def test_a_run_without_an_end_is_told_by_its_newest_evaluation(tmp_path, age, status):
    run = read_run(going_on(tmp_path, age, config={"seed": 7}))
    assert (run.status, run.summary["seed"], run.summary["env_steps"], run.summary["updates"]) == (status, 7, 300, 30)
    assert (run.summary["random_return"], run.summary["teacher"]["return_mean"]) == (10.0, 50.0)
    a = run.summary["students"]["a"]
    assert (a["return_mean"], a["normalised_score"], a["action_agreement"], a["loss"]) == (20.0, 0.25, 0.75, "kl")
    assert not run.is_finished and run.is_scored and not run.wrong


def test_sizes_are_known_before_the_end(tmp_path):
    folder = going_on(tmp_path)
    lines = folder.metrics_file.read_text().splitlines()
    told = {**json.loads(lines[0]), "parameters": {"teacher": 1000, "a": 250, "stranger": 3}}
    folder.metrics_file.write_text("\n".join([json.dumps(told), *lines[1:]]) + "\n")
    run = read_run(folder)
    assert run.summary["teacher"]["parameters"] == 1000
    assert {name: one["parameter_share"] for name, one in run.summary["students"].items()} == {"a": 0.25}


def test_a_run_that_has_only_begun_is_there(tmp_path):
    folder = make_run(tmp_path)
    folder.summary_file.unlink()
    run = read_run(folder)
    assert (run.status, run.is_scored, run.summary["env_steps"]) == ("running", False, 0)


@pytest.mark.parametrize("status", ["finished", "interrupted", "preempted", "failed"])
def test_the_summary_says_how_it_ended(tmp_path, status):
    assert read_run(make_run(tmp_path, status=status)).status == status


def test_a_run_that_was_resumed_goes_on(tmp_path):
    """Its summary is of an earlier end; sizes, which these metrics do not tell, are still those."""
    folder = make_run(tmp_path, status="interrupted", students={"a": student(score=0.9)})
    before = time.time() - 100
    os.utime(folder.summary_file, (before, before))
    folder.metrics_file.write_text(line(time.time(), 900, **evaluation(900, random=10.0, teacher=50.0, a=20.0)) + "\n")
    run = read_run(folder)
    assert (run.status, run.summary["env_steps"]) == ("running", 900)
    a = run.summary["students"]["a"]
    assert (a["parameters"], a["normalised_score"]) == (100, 0.25)


def test_steps_and_seconds_until_the_score_was_kept(tmp_path):
    """Random 10, teacher 60: 57.5 is 95 %. Steps 100 and 200 were told at 5 and 15 s of a clock that ended with 61.4 s."""
    folder = make_run(tmp_path, students={"a": student(), "b": student()})
    lines = []
    for seconds, (steps, scores) in zip((1005.0, 1015.0), curve(a=(58.0, 60.0), b=(20.0, 58.0)), strict=True):
        lines.append(line(seconds, steps, **evaluation(steps, **scores)))
    folder.metrics_file.write_text("\n".join(lines) + "\n")
    run = read_run(folder)
    assert run.steps == {"teacher": 100, "a": 100, "b": 200}
    assert run.seconds == {"teacher": pytest.approx(51.4), "a": pytest.approx(51.4), "b": pytest.approx(61.4)}


def test_what_the_system_refuses_is_told(tmp_path, monkeypatch):
    """As of a disk that fails, or a file of another user's."""
    folder = make_run(tmp_path, evaluations=curve(a=(40.0, 58.0), b=(20.0, 30.0)))
    whole = Path.read_bytes

    def refused(path):
        if path.name == "metrics.jsonl":
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    run = read_run(folder)
    assert run.wrong == (f"cannot be read: [Errno 13] Permission denied: '{folder.metrics_file}'",)
    assert (run.status, run.curves) == ("finished", {})


def test_where_there_is_no_run_the_folder_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no run \(DIR=.*there is no config.toml at or below it"):
        read_runs([tmp_path])
    with pytest.raises(ConfigurationError, match=r"DIR=.*nowhere\): there is no such folder"):
        read_runs([tmp_path / "nowhere"])


def test_a_run_named_twice_is_told_once(tmp_path):
    make_run(tmp_path)
    runs, unreadable = read_runs([tmp_path, next(tmp_path.iterdir())])
    assert (len(runs), unreadable) == (1, [])
