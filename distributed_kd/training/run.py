"""One run from its folder to its summary, whichever loop drives it."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed_kd import run_file
from distributed_kd.config import RunConfig
from distributed_kd.errors import DivergedError, EnvironmentFault, InternalError
from distributed_kd.records import Evaluation, Fault, LearnerReport, Receipt, State
from distributed_kd.storage import checkpoints
from distributed_kd.storage.checkpoints import Checkpoint
from distributed_kd.storage.files import strict
from distributed_kd.storage.metrics import Metrics, scalars
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.tracking import Trackers
from distributed_kd.training.bounds import Bounds
from distributed_kd.training.divergence import kept
from distributed_kd.training.fitting import check_fits
from distributed_kd.training.journal import Journal, Snapshot
from distributed_kd.training.parts import Parts
from distributed_kd.training.saving import Saving
from distributed_kd.training.stopping import StopSignal
from distributed_kd.training.summary import summarise
from distributed_kd.training.timer import Timer

EVALUATION_SHARE = 0.1
"""Share of the machine that evaluation may take while training"""


logger = logging.getLogger(__name__)


@dataclass
class Run:
    """What a loop is given: the parts to build, the bounds to keep, and whom to tell."""

    config: RunConfig
    parts: Parts
    bounds: Bounds
    journal: Journal
    stop: StopSignal
    folder: RunFolder
    restored: Checkpoint | None
    runner: str
    incarnation: int
    trackers: Trackers

    def __post_init__(self) -> None:
        self._saving = Saving(self._checkpoints, self.config.checkpoint, self.journal.saved)
        self._evaluation_timer = Timer(self.config.evaluation.every_seconds)
        self._went_back = False
        self._evaluated_at = self.restored.parts["journal"]["evaluated_at"] if self.restored else 0

    @property
    def _checkpoints(self) -> Path | str:
        return self.folder.checkpoints_at(self.config.checkpoint.to)

    def restart_timers(self) -> None:
        """Nothing is due for what it took to get everything running."""
        self._saving.restart_timer()
        self._evaluation_timer.restart()

    @property
    def checkpoint_is_due(self) -> bool:
        """As `Saving.is_due`."""
        return self._saving.is_due

    @property
    def evaluation_is_due(self) -> bool:
        """By environment steps where the run file says so: then time has no say in what is learned from scores."""
        every = self.config.evaluation.every_env_steps
        if every:
            return self.journal.generated // every > self._evaluated_at // every
        return self._evaluation_timer.due

    def evaluation_begins(self) -> int:
        """Note that one is under way; gives the environment steps generated so far."""
        self._evaluated_at = self.journal.generated
        return self._evaluated_at

    def state_of(self, part: str) -> State | None:
        """What the checkpoint that the run goes on from holds of a part."""
        return self.restored.parts.get(part) if self.restored else None

    def evaluated(self, evaluation: Evaluation, cores: int, env_steps: int) -> None:
        """Tell of an evaluation that took one of so many cores, and wait until it was a small share of the machine."""
        self.journal.evaluated(evaluation, env_steps)
        self._evaluation_timer.restart(at_least=evaluation.seconds / (EVALUATION_SHARE * cores))

    def check_faults(self, who: str, faults: Sequence[Fault]) -> None:
        """Tell of environments that failed. Raises EnvironmentFault where it was once too often."""
        if not faults:
            return
        last, found, most = faults[-1], self.journal.account.faults.total(), self.config.rollouts.env_faults
        fault = EnvironmentFault(
            f"the environment failed (env.id={self.config.env.id}): {who}, lane {last.lane}, episode seed {last.seed}: "
            f"{last.why}. Faults so far: {found}, and rollouts.env_faults allows {most}. Mend it, or allow more"
        )
        if found > most:
            raise fault
        logger.warning("warning: %s", fault)

    def learned(self, report: LearnerReport) -> None:
        """Take in what the learner did. Raises DivergedError where a network cannot go on so."""
        self.journal.learned(report)
        if report.diverged:
            raise kept(report.diverged, self.folder)

    def resumed(self, updates: int, updates_of: Mapping[str, int], receipt: Receipt) -> None:
        """Take over the learner's and the replay's own counts, as they restored them."""
        self.journal.invariants.resumed({"teacher": updates, **updates_of}, self.state_of("learner"))
        self.journal.resumed(updates, updates_of, receipt)

    def may_go_back(self, diverged: DivergedError) -> None:
        """Tell that a run that diverged goes back to its newest checkpoint.

        Raises `diverged` where it has done so before, or where there is no checkpoint.
        """
        self._saving.wait()
        if self._went_back or not (self._saving.has_committed or self.restored):
            raise diverged
        self._went_back = True
        logger.warning("warning: %s", diverged)

    def rewind(self) -> None:
        """Take the newest good checkpoint for what the run goes on from, or the beginning before there is one.

        One that is being written is waited for, and is the newest then. Raises CheckpointError where those that there are
        cannot be used, StorageError where it cannot be written.
        """
        self._saving.wait()
        if self._saving.has_committed:
            self.restored = checkpoints.load_newest(self._checkpoints)
        self.incarnation += 1

    def went_back(self, unstored_steps: int) -> None:
        """The run goes on from there; `unstored_steps` as in `save`."""
        began, journal = self.state_of("journal"), self.journal
        journal.went_back(began, self.restored.step if self.restored else 0, unstored_steps)
        self._evaluated_at = began["evaluated_at"] if began else 0
        lost = journal.account.rollbacks
        logger.warning(
            "warning: replay and learner go back to %s; lost so far: %d environment steps and %d updates",
            self.restored.name if self.restored else "the beginning",
            lost["env_steps"],
            lost["updates"],
        )

    def save(
        self, stalled_since: float | None, unstored_steps: int = 0, aside: bool = False, **states: State | None
    ) -> None:
        """Commit a checkpoint of the parts' states, by part, that were taken at one moment; None is left out.

        `stalled_since` and `aside` as in `Saving.save`. `unstored_steps` were generated but are not in the replay's state; a
        resumed run has never seen them.
        """
        journal = {
            **self.journal.state(unstored_steps),
            "incarnation": self.incarnation,
            "evaluated_at": self._evaluated_at,
        }
        parts = {"journal": journal, **{name: state for name, state in states.items() if state is not None}}
        about = {
            "runner": self.runner,
            "policies": list(self.config.policies),
            "config_sha256": hashlib.sha256(run_file.encode(self.config).encode()).hexdigest(),
            "env_steps": self.journal.generated,
        }
        self._saving.save(self.journal.updates, parts, about, stalled_since, aside)

    def close(self) -> None:
        """Let the checkpoint that is being written come to its end."""
        self._saving.close()


@dataclass(frozen=True)
class Runner:
    """A loop by name: it drives a run until its bounds or a signal end it, and gives the final evaluation or None."""

    name: str
    loop: Callable[[Run], Evaluation | None]
    goes_on_exactly: bool
    """its rollouts are saved too, so that a resumed run equals an uninterrupted one"""


def execute(
    parts: Parts,
    folder: RunFolder,
    runner: Runner,
    restored: Checkpoint | None = None,
    show: Callable[[Snapshot], None] = lambda _: None,
    trackers: Trackers | None = None,
) -> tuple[dict, int]:
    """Train in a locked folder and write its summary; gives the summary and the exit code. `trackers` are told of it all.

    Raises RunError where the run cannot go on; what was committed before stays, and the summary says "failed".
    """
    config = parts.config
    if restored:
        check_fits(restored, parts)
    began = restored.parts["journal"] if restored else None
    bounds = Bounds.of(config, earlier_seconds=began["seconds"] if began else 0.0)
    trackers = trackers or Trackers()
    metrics = Metrics(folder.metrics_file, folder.tb, trackers)
    journal = Journal(config.policies, bounds, metrics, config.rollouts.least, show, parts.parameters)
    if began:
        journal.restore(began)
    with StopSignal() as stop:
        run = Run(
            config,
            parts,
            bounds,
            journal,
            stop,
            folder,
            restored,
            runner=runner.name,
            incarnation=_incarnation(restored, runner),
            trackers=trackers,
        )
        status = "failed"
        final = None
        try:
            final = runner.loop(run)
            journal.accounting()
            journal.invariants.ended(journal.receipt, journal.updates, config.replay.batch_size)
            status = stop.status
        except InternalError as error:
            raise InternalError(
                *error.lines[:-1], f"{error.lines[-1]}. Go on with: python launch.py resume {folder.path}"
            ) from error
        finally:
            run.close()
            journal.flush()
            metrics.close()
            summary = summarise(parts, journal, status, final)
            folder.write_summary(summary)
            trackers.finish(dict(scalars(strict(summary))), status == "finished")
    return summary, stop.exit_code


def _incarnation(restored: Checkpoint | None, runner: Runner) -> int:
    """Rollouts that do not go on to the bit begin a new life, so that nothing of the old one is taken for theirs."""
    if restored is None:
        return 0
    earlier = restored.parts["journal"]["incarnation"]
    return earlier if runner.goes_on_exactly and "rollouts" in restored.parts else earlier + 1
