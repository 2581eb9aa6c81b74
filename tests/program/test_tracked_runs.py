"""A run that a tracker is told of, through the whole program."""

import pytest
from launching import run_file, strict, summary

from distributed_kd.cli import main

INLINE = ["--runner", "inline", "--evaluation.every_seconds", "0", "--checkpoint.every_seconds", "0"]


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Of an MLflow that writes into a folder."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "there").as_uri())
    return mlflow.MlflowClient()


def test_a_run_and_what_goes_on_with_it_are_one_at_the_tracker(client, tmp_path, capsys):
    folder = tmp_path / "run"
    words = [str(run_file(tmp_path, 600)), *INLINE, "--tracking.mlflow", "true", "--out", str(folder)]
    assert main(["train", *words]) == 0
    number = strict((folder / "tracked.json").read_text())["mlflow"]
    assert f"track MLflow: {(tmp_path / 'there').as_uri()}, run {number}\n" in capsys.readouterr().out
    run = client.get_run(number)
    assert (run.info.run_name, run.info.status, run.data.params["stop.env_steps"]) == ("run", "FINISHED", "600")
    assert run.data.metrics["summary/students/tiny/return_mean"] == summary(folder)["students"]["tiny"]["return_mean"]

    assert main(["resume", str(folder), "--stop.env_steps", "900"]) == 0
    assert strict((folder / "tracked.json").read_text()) == {"mlflow": number}
    steps = [point.step for point in client.get_metric_history(number, "updates")]
    assert min(steps) < 900 <= max(steps)
    assert client.get_run(number).info.status == "FINISHED"


def test_a_tracker_that_is_not_there_ends_the_run_before_it_begins(client, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://there")
    words = [str(run_file(tmp_path, 600)), *INLINE, "--tracking.mlflow", "true", "--out", str(tmp_path / "run")]
    assert main(["train", *words]) == 7
    told = capsys.readouterr().err
    assert told.startswith("error: the metrics cannot be handed on (tracking.mlflow=true): ") and told.count("\n") == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
