"""How far a run has come, read out of metrics that another process is writing."""

import json
import time

import pytest

from distributed_kd import run_file
from distributed_kd.comparing.progress import Progress

CONFIG = run_file.decode({"students": {"tiny": {}}, "stop": {"env_steps": 1_000}, "replay": {"warmup": 100}})


def write(path, text, mode="a"):
    with path.open(mode) as file:
        file.write(text)


def test_lines_are_taken_in_as_they_come(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    progress = Progress(CONFIG, metrics)
    progress.update()
    assert (progress.env_steps, progress.share, progress.teacher_return) == (0, 0.0, None)
    write(metrics, '{"time": 1.0, "env_steps": 250, "updates": 9}\n{"time": 2.0, "env_st')
    progress.update()
    assert (progress.env_steps, progress.updates, progress.share) == (250, 9, 0.25)
    write(metrics, 'eps": 500, "updates": 10}\nno json\n[]\n{"updates": 3}\n')
    progress.update()
    assert (progress.env_steps, progress.updates, progress.share) == (500, 10, 0.5)
    scores = {name: {"return_mean": 30.0, "normalised_score": 0.5} for name in ("teacher", "tiny", "random")}
    write(metrics, json.dumps({"env_steps": 600, "updates": 10, "evaluation": {**scores, "env_steps": 536}}) + "\n")
    progress.update()
    assert (progress.env_steps, progress.teacher_return, progress.normalised) == (600, 30.0, {"tiny": 0.5})


def test_time_is_left_by_what_this_process_did(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    metrics = tmp_path / "metrics.jsonl"
    write(metrics, '{"env_steps": 400, "updates": 1}\n')
    progress = Progress(CONFIG, metrics)
    progress.restart()
    assert (progress.share, progress.done, progress.seconds_left) == (0.4, 0.0, None)
    clock[0] += 10
    write(metrics, '{"env_steps": 600, "updates": 1}\n')
    progress.update()
    assert progress.done == pytest.approx(0.2)
    assert progress.seconds_left == pytest.approx(20.0)  # 0.2 in 10 s, 0.4 to go


def test_a_run_that_went_back_to_its_checkpoint_has_done_nothing_yet(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    write(metrics, '{"env_steps": 400, "updates": 1}\n')
    progress = Progress(CONFIG, metrics)
    progress.restart()
    write(metrics, '{"env_steps": 300, "updates": 1}\n')
    progress.update()
    assert (progress.share, progress.done, progress.seconds_left) == (0.3, 0.0, None)
