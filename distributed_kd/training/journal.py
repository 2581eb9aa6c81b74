"""The journal of a run: what was generated, stored, learned and scored, for the metrics, the screen and the summary.

It only listens. The replay counts inserts, the learner updates and the account the steps generated; what is added up here is
what no one else sees: time.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from distributed_kd.maths.statistics import normalised_score
from distributed_kd.records import RANDOM, EpisodeStats, Evaluation, LearnerReport, Receipt, State
from distributed_kd.storage.metrics import Metrics
from distributed_kd.training.account import Account
from distributed_kd.training.bounds import Bounds
from distributed_kd.training.invariants import Invariants
from distributed_kd.training.saving import Costs, Saved
from distributed_kd.training.window import Window

WRITE_SECONDS = 2.0
"""Time between two lines of metrics"""


@dataclass(frozen=True)
class Snapshot:
    """What a person watching the run is shown."""

    phase: str
    env_steps: int
    updates: int
    progress: float
    seconds: float
    env_steps_per_second: float
    updates_per_second: float
    learner_busy_share: float
    replay_size: int
    samples_per_insert: float
    scores: dict[str, float]
    normalised: dict[str, float]
    """newest mean return and normalised score of each policy that was evaluated"""


class Journal:
    """Listens to every event of the loop and writes metrics at a steady beat."""

    def __init__(
        self,
        policies: tuple[str, ...],
        bounds: Bounds,
        metrics: Metrics,
        rollouts: int,
        show: Callable[[Snapshot], None],
        parameters: Mapping[str, int] = MappingProxyType({}),
    ):
        """`rollouts` that there are; whoever starts and ends some later sets it anew. `parameters` of each policy."""
        self.bounds, self.rollouts = bounds, rollouts
        self._policies, self._metrics, self._show = policies, metrics, show
        self._parameters = dict(parameters)  # until they are told
        self.phase = "warm-up"
        self.account, self.invariants = Account(), Invariants()
        self._costs = Costs()
        self.receipt = Receipt(0, 0, 0, 0, 0)
        self.updates = 0
        self.updates_of: dict[str, int] = {}
        self.evaluation: Evaluation | None = None
        self._window = Window(time.monotonic())
        self._generated_before = self._updates_before = 0  # at this process's first update
        self._busy = self._learning_began = self._learning_ended = 0.0

    # ---- what the loop tells

    def collected(self, stats: EpisodeStats) -> None:
        self.account.collected(stats)
        self.invariants.collected(stats)
        window = self._window
        window.env_steps += stats.steps
        window.collecting += stats.seconds
        window.lags.append(self.updates - stats.version)
        for policy, episode_return, length in zip(stats.policy, stats.episode_return, stats.episode_length, strict=True):
            name = self._policies[policy]
            window.returns[name].append(float(episode_return))
            window.lengths[name].append(int(length))

    def resident(self, kind: str, count: int) -> None:
        """An actor of this kind, or the object store, takes so many bytes; of several the largest is told."""
        largest = self._window.resident
        largest[kind] = max(count, largest.get(kind, 0))

    def restarted(self, kind: str) -> None:
        """An actor of this kind was replaced."""
        self.account.restarted(kind)
        self._write({"restarts": self.account.restarts})

    def went_back(self, state: State | None, updates: int, unstored_steps: int) -> None:
        """The run goes on from an earlier moment with so many updates, as `state` says, None: from its beginning."""
        generated = self.generated
        self.account.went_back(state, unstored_steps, self.updates - updates)
        self._generated_before += self.generated - generated  # what is lost was done all the same
        self._updates_before += updates - self.updates
        self.updates = updates
        self._write({"rollbacks": dict(self.account.rollbacks)})

    def counted(self, receipt: Receipt) -> None:
        """Receipts reach the loop by two ways, so an older one can come late."""
        if receipt.order >= self.receipt.order:
            self.receipt = receipt
        self.invariants.counted(receipt)

    def stored(self, seconds: Sequence[float]) -> None:
        """How long each of these segments took from the end of its `collect` to the replay's receipt."""
        self._window.store_waits += seconds

    def learned(self, report: LearnerReport) -> None:
        if report.done:
            self.phase = "training"
            if not self._learning_began:
                self._learning_began, self._generated_before = report.started, self.generated
            self._learning_ended = report.ended
        self.invariants.learned(report)
        self.account.skipped.update(report.skipped)
        if report.updates >= self.updates:  # an answer that was lost and sent again comes behind a later one
            self.updates, self.updates_of = report.updates, dict(report.updates_of)
        self._busy += report.busy_seconds
        self._window.updates += report.done
        self._window.busy += report.busy_seconds
        self._window.waited += report.wait_seconds
        self._window.waits += report.waits
        if report.done and not math.isnan(report.sample_age_rows):
            self._window.ages.append((report.sample_age_rows, report.done))
        self._window.losses.update(report.losses)

    def evaluated(self, evaluation: Evaluation, env_steps: int) -> None:
        """Scores of the weights that were there after so many environment steps."""
        self.evaluation = evaluation
        self.account.failed(evaluation.faults)
        means = {name: float(np.mean(score.returns)) for name, score in evaluation.scores.items()}
        values = {
            name: {
                "return_mean": means[name],
                "normalised_score": normalised_score(means[name], means[RANDOM], means["teacher"]),
                "action_agreement": score.agreement,
                "gap_weighted_agreement": score.gap_weighted_agreement,
                "length_mean": float(np.mean(score.lengths)),
            }
            for name, score in evaluation.scores.items()
        }
        about = {"version": evaluation.version, "seconds": evaluation.seconds, "env_steps": env_steps}
        self._write({"evaluation": {**values, **about}})

    def saved(self, saved: Saved) -> None:
        """A checkpoint was committed."""
        if not self._learning_began:  # it stood still for the warm-up anyway
            saved = replace(saved, stall_seconds=0.0)
        self._costs.take(saved)
        costs = {"seconds": saved.seconds, "bytes": saved.bytes, "stall_seconds": saved.stall_seconds}
        self._write({"checkpoint_step": saved.step, **{f"checkpoint_{name}": cost for name, cost in costs.items()}})

    def tick(self) -> None:
        """Write a line of metrics and show the table, when it is time."""
        if time.monotonic() - self._window.began >= WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        window, receipt = self._window, self.receipt
        charts = {
            **window.charts(self.rollouts),
            "rollouts": self.rollouts,
            "replay_size": receipt.size,
            "replay_inserted": receipt.inserted,
            "replay_sampled": receipt.sampled,
            "samples_per_insert": self.samples_per_insert,
            "env_faults": self.account.faults.total(),
            "skipped_updates": self.account.skipped.total(),
        }
        if receipt.prioritised:
            charts["replay_late_priorities"] = receipt.late_priorities
        self._window = Window(time.monotonic())
        told = {"charts": charts, "episodes": window.episodes(), "losses": window.losses}
        if self._parameters:
            told["parameters"], self._parameters = self._parameters, {}
        if recoveries := self.account.recoveries.told():
            told["recovery_seconds"] = recoveries
        self._write(told)
        self._show(self._snapshot(charts))

    def _write(self, values: dict) -> None:
        self._metrics.write(self.generated, self.updates, values, time.time())

    # ---- what others ask

    @property
    def generated(self) -> int:
        """Environment steps so far."""
        return self.account.generated

    @property
    def samples_per_insert(self) -> float:
        return self.receipt.sampled / self.receipt.inserted if self.receipt.inserted else 0.0

    @property
    def progress(self) -> float:
        return self.bounds.progress(self.generated, self.updates)

    @property
    def _learning(self) -> float:
        """Seconds from this process's first update to its last."""
        return self._learning_ended - self._learning_began

    @property
    def learner_busy_share(self) -> float:
        """Share of the time from the first update to the last that the learner spent in updates."""
        return self._busy / self._learning if self._learning > 0 else 0.0

    def throughput(self) -> dict[str, float]:
        """Over this process's share of the run, from the first update to the last; the warm-up is not counted."""
        learning = max(self._learning, 1e-9)
        learned = self.updates - self._updates_before
        return {
            "env_steps_per_second": (self.generated - self._generated_before) / learning if learned else 0.0,
            "updates_per_second": learned / learning if learned else 0.0,
            "learner_busy_share": self.learner_busy_share,
        }

    def checkpoints(self) -> dict[str, object]:
        """Over this process's share of the run, as `Costs.told`."""
        return self._costs.told(self._learning)

    def accounting(self, broke_off: bool = False) -> dict[str, object]:
        """Every step generated, by what became of it, as `Account.told`. Raises InternalError where it does not add up."""
        return self.account.told(self.receipt, broke_off)

    def _snapshot(self, charts: dict[str, float]) -> Snapshot:
        scores = (
            {name: float(np.mean(one.returns)) for name, one in self.evaluation.scores.items()} if self.evaluation else {}
        )
        return Snapshot(
            phase=self.phase,
            env_steps=self.generated,
            updates=self.updates,
            progress=self.progress,
            seconds=self.bounds.seconds,
            env_steps_per_second=charts["env_steps_per_second"],
            updates_per_second=charts["updates_per_second"],
            learner_busy_share=charts["learner_busy_share"],
            replay_size=self.receipt.size,
            samples_per_insert=self.samples_per_insert,
            scores=scores,
            normalised={name: normalised_score(one, scores[RANDOM], scores["teacher"]) for name, one in scores.items()},
        )

    def state(self, unstored_steps: int = 0) -> State:
        """What a resumed run must know, as if `unstored_steps` of the steps generated had never been."""
        return {**self.account.state(unstored_steps), "seconds": self.bounds.seconds}

    def restore(self, state: State) -> None:
        """Go on from an earlier process's counts."""
        self.account.restore(state)

    def resumed(self, updates: int, updates_of: Mapping[str, int], receipt: Receipt) -> None:
        """The learner's and the replay's own counts, as they restored them."""
        self.invariants.went_to(updates)
        self._updates_before += updates - self.updates
        self.updates = updates
        self.updates_of = dict(updates_of)
        self.receipt = receipt
