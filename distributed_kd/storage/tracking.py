"""A run's metrics handed on, as they come, to trackers of experiments: Weights & Biases and MLflow.

Where they are kept, and for whom, is said by what each of them reads itself: WANDB_PROJECT, WANDB_MODE and `wandb login`,
MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME.
"""

import importlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from distributed_kd.config import TrackingConfig
from distributed_kd.errors import ConfigurationError, Problem, StorageError
from distributed_kd.storage.run_folder import RunFolder

PROJECT = "distributed_kd"
"""Of Weights & Biases, or experiment of MLflow, where the environment names none"""

logger = logging.getLogger(__name__)


class Tracker(Protocol):
    """Somebody who is told of a run's numbers; names are the paths of keys in metrics.jsonl, joined by "/"."""

    name: str
    place: str
    """where a person finds the run"""

    def log(self, env_steps: int, updates: int, numbers: Mapping[str, float]) -> None: ...

    def finish(self, summary: Mapping[str, float], finished: bool) -> None: ...


class Trackers:
    """All of a run's trackers. One that fails is told of in a line and not asked again: the run goes on without it."""

    def __init__(self, trackers: Sequence[Tracker] = ()):
        self._trackers = list(trackers)

    @contextmanager
    def also(self, tracker: Tracker) -> Iterator[None]:
        """One more for as long as the block lasts."""
        self._trackers.append(tracker)
        try:
            yield
        finally:
            self._trackers = [one for one in self._trackers if one is not tracker]

    def log(self, env_steps: int, updates: int, numbers: Mapping[str, float]) -> None:
        self._tell(lambda one: one.log(env_steps, updates, numbers))

    def finish(self, summary: Mapping[str, float], finished: bool) -> None:
        """The run is over; `finished` says whether it came to its end."""
        self._tell(lambda one: one.finish(summary, finished))

    def _tell(self, tell: Callable[[Tracker], None]) -> None:
        for one in list(self._trackers):
            try:
                tell(one)
            except Exception as error:  # theirs, of whatever kind: what is on this disk is whole without them
                self._trackers.remove(one)
                logger.warning("warning: the metrics no longer go to %s: %s; metrics.jsonl has them all", one.name,
                               _short(error))  # fmt: skip


def check_tracking(asked: TrackingConfig) -> None:
    """Raise ConfigurationError where what a tracker needs is not installed."""
    problems = []
    for key in asked.names:
        try:
            importlib.import_module(key)
        except ImportError:
            why, fix = f"{key} is not installed", f'Install it: pip install "distributed-kd[{key}]"'
            problems.append(Problem("missing package", f"tracking.{key}", "true", why, fix))
    if problems:
        raise ConfigurationError.of(problems)


def begin(asked: TrackingConfig, folder: RunFolder, settings: Mapping[str, object]) -> list[Tracker]:
    """The trackers that a run is to tell, each at the run of an earlier process where the folder knows of one.

    `settings` are the run file's tables. Raises StorageError where one cannot be reached, or the folder be written.
    """
    known = folder.read_tracked()
    begun: list[Tracker] = []
    for key in asked.names:
        try:
            one = KINDS[key](folder.path.name, known.get(key), settings)
        except Exception as error:  # theirs: the network, a login, a server
            why, fix = _short(error), f"Mend it, or set --tracking.{key} false"
            raise StorageError(Problem("the metrics cannot be handed on", f"tracking.{key}", "true", why, fix)) from error
        begun.append(one)
        known = {**known, key: one.id}
    if begun:
        folder.note_tracked(known)
    return begun


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


class WeightsAndBiases:
    """A run at Weights & Biases, sent by a process of its own."""

    name = "Weights & Biases"

    def __init__(self, run: str, known: str | None, settings: Mapping[str, object]):
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", run),
            id=known,
            resume="allow",
            config=dict(settings),
            settings=wandb.Settings(console="off", silent=True, disable_code=True, disable_git=True),
        )
        # A resumed run goes back to its checkpoint, and wandb's own step never does.
        self._run.define_metric("*", step_metric="env_steps")
        self.id = self._run.id
        self.place = self._run.url or str(Path(self._run.dir).parent)

    def log(self, env_steps: int, updates: int, numbers: Mapping[str, float]) -> None:
        self._run.log({"env_steps": env_steps, "updates": updates, **numbers})

    def finish(self, summary: Mapping[str, float], finished: bool) -> None:
        self._run.summary.update({f"summary/{name}": value for name, value in summary.items()})
        self._run.finish(exit_code=0 if finished else 1)


class MLflow:
    """A run of an MLflow experiment, written by a thread of MLflow's."""

    name = "MLflow"
    MOST = 500
    """Letters of a parameter's value that MLflow takes"""

    def __init__(self, run: str, known: str | None, settings: Mapping[str, object]):
        import mlflow
        from mlflow.entities import Metric, Param

        self._client, self._metric = mlflow.MlflowClient(), Metric
        if known:
            self.id = self._client.get_run(known).info.run_id
            self._client.update_run(self.id, status="RUNNING")
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
            experiment = self._client.get_experiment_by_name(name)
            place = experiment.experiment_id if experiment else self._client.create_experiment(name)
            self.id = self._client.create_run(place, run_name=run).info.run_id
            parameters = [Param(key, str(value)[: self.MOST]) for key, value in _flat(settings)]
            self._client.log_batch(self.id, params=parameters)
        self._last = None
        self.place = f"{mlflow.get_tracking_uri()}, run {self.id}"

    def log(self, env_steps: int, updates: int, numbers: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        told = {"updates": updates, **numbers}
        metrics = [self._metric(name, value, now, env_steps) for name, value in told.items()]
        self._last = self._client.log_batch(self.id, metrics=metrics, synchronous=False)

    def finish(self, summary: Mapping[str, float], finished: bool) -> None:
        now = int(1000 * time.time())
        if self._last:
            self._last.wait()
        self._client.log_batch(self.id, [self._metric(f"summary/{name}", value, now, 0) for name, value in summary.items()])
        self._client.set_terminated(self.id, "FINISHED" if finished else "KILLED")


KINDS = {"wandb": WeightsAndBiases, "mlflow": MLflow}
"""The trackers as keys of `tracking` call them, which are also the packages that they need"""


def _flat(tables: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
