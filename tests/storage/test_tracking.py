"""Metrics handed on to trackers: one of our own, and the real ones writing into a folder."""

import json
import logging
import sys
import time

import pytest

from distributed_kd.config import TrackingConfig
from distributed_kd.errors import ConfigurationError, StorageError
from distributed_kd.storage.metrics import Metrics
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.tracking import Trackers, begin, check_tracking


class Listening:
    """Remembers what it was told; from call `fails_at` on it raises."""

    place = "here"

    def __init__(self, name="a tracker", fails_at=10**9):
        self.name, self.fails_at, self.told = name, fails_at, []

    def log(self, env_steps, updates, numbers):
        if len(self.told) == self.fails_at:
            raise ConnectionError("no way\nthere")
        self.told.append((env_steps, updates, dict(numbers)))

    def finish(self, summary, finished):
        self.told.append((dict(summary), finished))


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run", "")


def test_trackers_get_every_finite_number_of_a_line(folder):
    one = Listening()
    with Metrics(folder.metrics_file, folder.tb, Trackers([one])) as metrics:
        metrics.write(10, 2, {"charts": {"rate": 1.5, "name": "x"}, "losses": {"a": {"loss": float("nan")}}}, 0.0)
    assert one.told == [(10, 2, {"charts/rate": 1.5})]


def test_one_that_fails_is_told_of_once_and_the_run_goes_on(folder, caplog):
    failing, other = Listening("the failing one", fails_at=1), Listening()
    with Metrics(folder.metrics_file, folder.tb, Trackers([failing, other])) as metrics:
        for step in range(4):
            metrics.write(step, step, {"x": 1.0}, 0.0)
    assert len(failing.told) == 1 and len(other.told) == 4
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages == [
        "warning: the metrics no longer go to the failing one: ConnectionError: no way there; metrics.jsonl has them all"
    ]


def test_one_more_is_told_while_a_block_lasts():
    first, more = Listening(), Listening()
    trackers = Trackers([first])
    with trackers.also(more):
        trackers.log(1, 1, {})
    trackers.log(2, 2, {})
    trackers.finish({"x": 1.0}, True)
    assert first.told == [(1, 1, {}), (2, 2, {}), ({"x": 1.0}, True)]
    assert more.told == [(1, 1, {})]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_without_its_package_it_is_told_what_to_install(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError) as raised:
        check_tracking(TrackingConfig(**{name: True}))
    fix = f'Install it: pip install "distributed-kd[{name}]"'
    assert raised.value.lines == (f"missing package (tracking.{name}=true): {name} is not installed. {fix}",)
    check_tracking(TrackingConfig())


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """MLflow with a database in a folder."""
    found = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    found.set_tracking_uri((tmp_path / "there").as_uri())
    yield found
    found.set_tracking_uri(None)


def test_mlflow_has_the_run_its_settings_and_every_number(mlflow, folder):
    (one,) = begin(TrackingConfig(mlflow=True), folder, {"seed": 3, "replay": {"capacity": 50}})
    assert json.loads(folder.tracked_file.read_text()) == {"mlflow": one.id}
    one.log(100, 10, {"evaluation/tiny/normalised_score": 0.5})
    one.log(200, 20, {"evaluation/tiny/normalised_score": 0.75})
    one.finish({"students/tiny/normalised_score": 0.8}, False)

    client = mlflow.MlflowClient()
    run = client.get_run(one.id)
    assert (run.info.run_name, run.info.status) == ("run", "KILLED")
    assert run.data.params == {"seed": "3", "replay.capacity": "50"}
    history = client.get_metric_history(one.id, "evaluation/tiny/normalised_score")
    assert sorted((point.step, point.value) for point in history) == [(100, 0.5), (200, 0.75)]
    assert run.data.metrics["summary/students/tiny/normalised_score"] == 0.8

    (again,) = begin(TrackingConfig(mlflow=True), folder, {"seed": 3})
    assert again.id == one.id and client.get_run(one.id).info.status == "RUNNING"
    again.finish({}, True)
    assert client.get_run(one.id).info.status == "FINISHED"


def test_a_tracker_that_cannot_be_reached_is_told_in_a_line(mlflow, folder):
    mlflow.set_tracking_uri("nowhere://there")
    with pytest.raises(StorageError) as raised:
        begin(TrackingConfig(mlflow=True), folder, {})
    (line,) = raised.value.lines
    assert line.startswith("the metrics cannot be handed on (tracking.mlflow=true): ")
    assert line.endswith("Mend it, or set --tracking.mlflow false")
    assert not folder.tracked_file.exists()


def test_wandb_has_the_run_and_goes_on_with_it(tmp_path, folder, monkeypatch):
    pytest.importorskip("wandb")
    for name, value in (("WANDB_MODE", "offline"), ("WANDB_DIR", str(tmp_path))):
        monkeypatch.setenv(name, value)
    (one,) = begin(TrackingConfig(wandb=True), folder, {"seed": 3})
    one.log(100, 10, {"evaluation/tiny/normalised_score": 0.5})
    one.finish({"students/tiny/normalised_score": 0.8}, True)
    (written,) = (tmp_path / "wandb").glob(f"offline-run-*/run-{one.id}.wandb")
    # Its own process may write the last of it when the run is over here.
    give_up = time.monotonic() + 60.0
    while b"summary/students/tiny/normalised_score" not in written.read_bytes() and time.monotonic() < give_up:
        time.sleep(0.02)
    content = written.read_bytes()
    for said in (b"evaluation/tiny/normalised_score", b"summary/students/tiny/normalised_score", b"env_steps"):
        assert said in content
    (again,) = begin(TrackingConfig(wandb=True), folder, {"seed": 3})
    assert again.id == one.id
    again.finish({}, True)
