"""The loop on Ray. It moves references only: segments to the replay, weights to the rollouts, grants to the learner.

Rollouts, replay and learner never wait for each other; each call that ends is an event, and an event decides what is
asked for next. The replay's receipts say how far inserting may run; a learner that got no batch is asked again when more
was inserted. So both sides can wait, and no one polls.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial

import ray
from ray.actor import ActorHandle

from distributed_kd.errors import EnvironmentFault
from distributed_kd.records import EpisodeStats, Evaluation, LearnerReport, Receipt
from distributed_kd.replay.segments import shard_of
from distributed_kd.replay.shards import Tally, in_one
from distributed_kd.training.cluster import Cluster, calmly, joined, placed
from distributed_kd.training.plan import cores
from distributed_kd.training.run import Run, Runner

CALLS_IN_FLIGHT = 2
"""Calls of each rollout and of the learner under way: while one runs, the next one waits at the actor"""
POLL_SECONDS = 0.25
"""How long a wait for events lasts at most, so that a signal is seen"""


def train(run: Run, address: str | None = None) -> Evaluation | None:
    """Start or join Ray, run the loop until the run is over or stopped, and leave nothing behind."""
    with joined(address):
        run.stop.install()  # Ray replaces the handler of SIGTERM
        with placed(run) as cluster:
            return _Loop(run, cluster).run()


def runner(address: str | None = None) -> Runner:
    """This loop, on the cluster at `address` or on a Ray of its own."""
    return Runner("ray", partial(train, address=address), goes_on_exactly=False)


def _raise(fault: EnvironmentFault) -> None:
    raise fault


class _Loop:
    """Calls under way by the reference that tells of their end, and what to do then."""

    def __init__(self, run: Run, cluster: Cluster):
        self._run, self._cluster, self._journal = run, cluster, run.journal
        self._segment_steps = run.config.rollouts.segment_steps
        # Every rollout stands here once for each further call it may be given, the longest idle first.
        self._idle = deque(cluster.rollouts * CALLS_IN_FLIGHT)
        self._most_unstored = len(self._idle)  # where the replay is the slowest, rollouts wait for it
        self._events: dict[ray.ObjectRef, tuple[str, Callable, Callable]] = {}
        self._steps_under_way = 0  # asked of the rollouts and not yet told of by a receipt
        self._training = 0  # calls of the learner under way
        # Segments that wait for their shard, which takes all that came while it was busy in one call: so a request for
        # batches never stands behind more than one call that stores.
        self._waiting: list[list[tuple[ray.ObjectRef, float]]] = [[] for _ in cluster.replays]
        self._storing = [False] * len(cluster.replays)  # a call of theirs is under way
        self._holds = False  # they are kept back while a checkpoint is taken
        self._unstored = 0  # segments collected that no receipt tells of yet
        self._tally = Tally([stock.receipt for stock in cluster.stocks], run.parts.pace)
        self._starved_at: int | None = -1  # inserts at which the learner last found no batch
        self._evaluating = False
        self._fault: EnvironmentFault | None = None
        self._weights: ray.ObjectRef | None = None

    def run(self) -> Evaluation | None:
        self._begin()
        while not (self._run.stop or self._fault or self._is_over()):
            self._ask_rollouts()
            self._ask_learner()
            self._ask_evaluator()
            if self._run.checkpoint_timer.due:
                self._checkpoint()
            self._next_event()
            self._journal.tick()
        self._until(lambda: not (self._steps_under_way or self._training))
        self._checkpoint()
        if self._fault:
            raise self._fault
        return None if self._run.stop else self._evaluate_finally()

    # ---- what is asked for

    def _ask_rollouts(self) -> None:
        journal, bounds = self._journal, self._run.bounds
        while self._idle and self._unstored < self._most_unstored:
            ahead = journal.receipt.inserted + self._steps_under_way
            if ahead + self._segment_steps > journal.receipt.insert_limit or bounds.inserting_is_over(ahead):
                break
            rollout = self._idle.popleft()
            segment, stats = rollout.collect.remote(self._weights, journal.progress)
            self._steps_under_way += self._segment_steps
            self._expect("a rollout", stats, partial(self._on_collected, rollout, segment), self._on_broken_rollout)

    def _ask_learner(self) -> None:
        if self._starved_at is not None and self._journal.receipt.inserted <= self._starved_at:
            return
        while self._training < CALLS_IN_FLIGHT and self._journal.receipt.inserted >= self._run.config.replay.warmup:
            call = self._cluster.learner.train.remote(self._run.config.learner.updates_per_call, self._journal.progress)
            self._expect_report(*call)

    def _ask_evaluator(self) -> None:
        if self._run.evaluation_is_due and not self._evaluating:
            self._evaluating = True
            self._expect_evaluation(partial(self._on_evaluated, self._run.evaluation_begins()), final=False)

    # ---- what has ended

    def _on_collected(self, rollout: ActorHandle, segment: ray.ObjectRef, stats: EpisodeStats) -> None:
        self._idle.append(rollout)
        self._journal.collected(stats)
        self._unstored += 1
        shard = shard_of(stats.actor, stats.sequence, len(self._waiting))
        self._waiting[shard].append((segment, time.monotonic()))
        self._store(shard)
        try:
            self._run.check_faults(stats)
        except EnvironmentFault as fault:
            self._fault = fault

    def _on_broken_rollout(self, fault: EnvironmentFault) -> None:
        """The environment failed: that segment will never come, and the run ends once what was learned is saved."""
        self._steps_under_way -= self._segment_steps
        self._fault = fault

    def _store(self, shard: int) -> None:
        """Hand over what waits for a shard, unless it is busy or all is kept back."""
        if self._holds or self._storing[shard] or not self._waiting[shard]:
            return
        waiting, self._waiting[shard] = self._waiting[shard], []
        self._storing[shard] = True
        segments, since = zip(*waiting, strict=True)
        call = self._cluster.replays[shard].add.remote(*segments)
        self._expect("the replay", call, partial(self._on_added, shard, since))

    def _on_added(self, shard: int, since: tuple[float, ...], receipt: Receipt) -> None:
        self._storing[shard] = False
        self._unstored -= len(since)
        self._steps_under_way -= len(since) * self._segment_steps
        self._journal.counted(self._tally.take(shard, receipt))
        now = time.monotonic()
        self._journal.stored([now - began for began in since])
        self._store(shard)

    def _on_trained(self, weights: ray.ObjectRef, report: LearnerReport) -> None:
        self._training -= 1
        self._weights = weights
        self._starved_at = report.receipt.inserted if report.starved else None
        self._journal.counted(self._tally.take_all(report.receipt))
        self._journal.learned(report)

    def _on_evaluated(self, env_steps: int, reference: ray.ObjectRef, evaluation: Evaluation) -> None:
        self._evaluating = False
        self._expect("the learner", self._cluster.learner.heed.remote(reference), lambda _: None)
        self._run.evaluated(evaluation, cores(), env_steps)

    def _on_broken_evaluation(self, fault: EnvironmentFault) -> None:
        self._evaluating = False
        self._fault = fault

    # ---- how events come

    def _expect(self, who: str, reference: ray.ObjectRef, done: Callable, broken: Callable = _raise) -> None:
        self._events[reference] = who, done, broken

    def _expect_report(self, report: ray.ObjectRef, weights: ray.ObjectRef) -> None:
        self._training += 1
        self._expect("the learner", report, partial(self._on_trained, weights))

    def _expect_evaluation(self, done: Callable, final: bool) -> None:
        reference = self._cluster.evaluator.evaluate.remote(self._weights, final)
        self._expect("the evaluation", reference, partial(done, reference), self._on_broken_evaluation)

    def _next_event(self) -> None:
        ready, _ = ray.wait(list(self._events), num_returns=1, timeout=POLL_SECONDS, fetch_local=False)
        for reference in ready:
            who, done, broken = self._events.pop(reference)
            try:
                value = calmly(reference, who)
            except EnvironmentFault as fault:
                broken(fault)
            else:
                done(value)

    def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._next_event()

    def _is_over(self) -> bool:
        """Enough updates, or enough steps with nothing under way that could still be learned from."""
        bounds, journal = self._run.bounds, self._journal
        if bounds.learning_is_over(journal.updates):
            return True
        inserted, replay = journal.receipt.inserted, self._run.config.replay
        if self._steps_under_way or not bounds.inserting_is_over(inserted):
            return False
        caught_up = not self._training and (self._starved_at == inserted or inserted < replay.warmup)
        return caught_up or replay.samples_per_insert == 0

    # ---- the beginning, checkpoints and the end

    def _begin(self) -> None:
        """Take over the counts of the replay and the learner, restored or new, and the first weights."""
        for lifeline in self._cluster.lifelines:
            self._expect("the learner", lifeline, lambda _: None)
        begun: list[LearnerReport] = []
        report, self._weights = self._cluster.learner.finish.remote(0.0)
        self._expect("the learner", report, begun.append)
        self._until(lambda: begun)
        (report,) = begun
        self._journal.resumed(report.updates, report.updates_of, self._tally.take_all(report.receipt))
        self._run.restart_timers()

    def _checkpoint(self) -> None:
        """Bring learner and replay to one moment, take their states, and let them go on while the disk is written."""
        learner, replays = self._cluster.learner, self._cluster.replays
        self._holds = True
        self._until(lambda: not (self._training or any(self._storing)))
        self._expect_report(*learner.finish.remote(self._journal.progress))
        self._until(lambda: not self._training)
        state = calmly(learner.state.remote(), "the learner")
        shards = calmly([replay.state.remote() for replay in replays], "the replay")
        # Segments that came meanwhile are generated but not in these states: on resume they have never been.
        unstored = self._unstored * self._segment_steps
        self._holds = False
        for shard in range(len(replays)):
            self._store(shard)
        if not (self._run.stop or self._is_over()):
            self._ask_learner()
        self._run.save(unstored, learner=state, replay=in_one(shards))

    def _evaluate_finally(self) -> Evaluation | None:
        """The reported scores, of the last weights; None where a signal comes before they are there."""
        self._journal.phase = "evaluation"
        final: list[Evaluation] = []
        self._expect_evaluation(lambda _, evaluation: final.append(evaluation), final=True)
        self._until(lambda: final or self._fault or self._run.stop)
        if self._fault:
            raise self._fault
        if not final:
            return None
        self._journal.evaluated(final[0], self._journal.generated)
        return final[0]
