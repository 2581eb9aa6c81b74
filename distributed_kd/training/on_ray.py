"""The loop on Ray. It moves references only: segments to the replay, weights to the rollouts, grants to the learner.

Rollouts, replay and learner never wait for each other; each call that ends is an event, and an event decides what is
asked for next. The replay's receipts say how far inserting may run; a learner that got no batch is asked again when more
was inserted. So both sides can wait, and no one polls. That an actor died or hangs is an event too: a rollout or the
evaluation is replaced, the replay and the learner go back together to the newest checkpoint.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

import ray

from distributed_kd.errors import DivergedError, EnvironmentFault, RunError
from distributed_kd.records import EpisodeStats, Evaluation, LearnerReport, Receipt
from distributed_kd.replay.shards import Tally, in_one
from distributed_kd.training.calls import Call, Calls
from distributed_kd.training.chaos import CALM, Chaos, Strikes
from distributed_kd.training.cluster import ActorLost, Cluster, Moving, placed
from distributed_kd.training.connection import joined
from distributed_kd.training.deliveries import Deliveries
from distributed_kd.training.examining import Examiner
from distributed_kd.training.gauges import Gauges
from distributed_kd.training.membership import Membership
from distributed_kd.training.placement import planned
from distributed_kd.training.run import Run, Runner
from distributed_kd.training.supervision import Life, Supervision

CALLS_IN_FLIGHT = 2
"""Calls of each rollout and of the learner under way: while one runs, the next one waits at the actor"""
POLL_SECONDS = 0.25
"""How long a wait for events lasts at most, so that a signal is seen"""


def train(run: Run, address: str | None, chaos: Chaos, tell: Callable[[Sequence[str]], None]) -> Evaluation | None:
    """Start or join Ray, run the loop until the run is over or stopped, and leave nothing behind."""
    chaos.prepare()
    with joined(address):
        run.stop.install()  # Ray replaces the handler of SIGTERM
        with ExitStack() as stack:
            plan = planned(run)
            if address is not None:  # a Ray of our own nobody asks for its metrics, and its plan is known before
                tell(plan.lines(run.config))
                stack.enter_context(run.trackers.also(Gauges(run.folder.path.name)))
            cluster = stack.enter_context(placed(run, plan, chaos.env, shared=address is not None))
            return _Loop(run, cluster, chaos).run()


def runner(
    address: str | None = None, chaos: Chaos = CALM, tell: Callable[[Sequence[str]], None] = lambda plan: None
) -> Runner:
    """This loop, on the cluster at `address` or on a Ray of its own, with faults on purpose.

    `tell` is given the lines of the plan for a cluster, before any actor is started.
    """
    return Runner("ray", partial(train, address=address, chaos=chaos, tell=tell), goes_on_exactly=False)


class _Loop:
    """Calls under way, and what to do when each has ended."""

    def __init__(self, run: Run, cluster: Cluster, chaos: Chaos):
        self._run, self._cluster, self._journal, config = run, cluster, run.journal, run.config
        self._segment_steps = config.rollouts.segment_steps
        self._calls: Calls[Life] = Calls()
        self._crew = Supervision(run, self._calls, cluster, self._on_there, self._on_failed)
        self._members = Membership(run, self._crew, self._calls, cluster)
        self._examiner = Examiner(run, self._crew, self._calls, lambda: self._weights, self._on_scored, self._on_failed)
        self._strikes = Strikes(chaos, run.parts.seed("chaos"), self._crew.at_work_of, self._crew.recoveries)
        refused_well = partial(self._journal.invariants.check, "I2")
        self._deliveries = Deliveries(self._calls, config.replay.shards, self._on_stored, self._on_gone, refused_well)
        # Every rollout stands here once for each further call it may be given, the longest idle first.
        self._idle: deque[Life] = deque()
        self._steps_under_way = 0  # asked of the rollouts and not yet told of by a receipt
        self._training = 0  # calls of the learner under way
        self._starved_at: int | None = -1  # inserts at which the learner last found no batch
        self._goes_back = False  # replay and learner are started from an earlier moment than the run has come to
        self._fault: RunError | None = None  # the run ends with it, once what was learned is saved
        self._weights: ray.ObjectRef | None = None

    def run(self) -> Evaluation | None:
        self._start_core()
        self._members.grow()
        while True:
            try:
                self._begin()
                self._train()
                if self._fault:
                    raise self._fault
                return None if self._run.stop else self._evaluate_finally()
            except ActorLost as lost:
                self._roll_back(lost)
            except DivergedError as diverged:
                self._run.may_go_back(diverged)
                self._roll_back(ActorLost("the learner", "diverged"))

    def _train(self) -> None:
        """Until the run is over, and all that it has learned is saved."""
        while not (self._run.stop or self._fault or self._is_over()):
            self._ask_rollouts()
            self._ask_learner()
            self._examiner.ask()
            if self._run.checkpoint_is_due or self._members.wants_checkpoint:
                self._checkpoint(last=False)
            self._next_event()
            self._strikes.strike()
            self._journal.tick()
        self._until(lambda: not (self._steps_under_way or self._training))
        self._checkpoint(last=True)

    # ---- what is asked for

    def _ask_rollouts(self) -> None:
        journal, bounds = self._journal, self._run.bounds
        # What the pace allows those who are absent is not for others. Where the replay is the slowest, all wait for it.
        limit = journal.receipt.insert_limit - self._members.absent * CALLS_IN_FLIGHT * self._segment_steps
        while self._idle and self._deliveries.count < self._members.present * CALLS_IN_FLIGHT:
            ahead = journal.receipt.inserted + self._steps_under_way
            if ahead + self._segment_steps > limit or bounds.inserting_is_over(ahead):
                break
            if (life := self._idle.popleft()).is_over or life.is_leaving:
                continue
            segment, stats = life.handle.collect.remote(self._weights, journal.progress)
            self._steps_under_way += self._segment_steps
            done = partial(self._on_collected, life, segment)
            self._calls.expect(stats, Call(life.name, done, life, self._on_broken_rollout, self._on_given_up))

    def _ask_learner(self) -> None:
        if self._starved_at is not None and self._journal.receipt.inserted <= self._starved_at:
            return
        while self._training < CALLS_IN_FLIGHT and self._journal.receipt.inserted >= self._run.config.replay.warmup:
            call = self._core.learner.train.remote(self._run.config.learner.updates_per_call, self._journal.progress)
            self._expect_report(*call)

    def _expect_report(self, report: ray.ObjectRef, weights: ray.ObjectRef) -> None:
        self._training += 1
        self._calls.expect(report, Call("the learner", partial(self._on_trained, weights)))

    # ---- what has ended

    def _on_collected(self, life: Life, segment: ray.ObjectRef, stats: EpisodeStats) -> None:
        self._crew.at_work(life)
        self._idle.append(life)
        self._journal.collected(stats)
        self._deliveries.take(segment, stats)
        try:
            self._run.check_faults(life.name, stats.faults)
        except EnvironmentFault as fault:
            self._fault = fault

    def _on_broken_rollout(self, fault: EnvironmentFault) -> None:
        """No episode can be begun: that segment will never come."""
        self._steps_under_way -= self._segment_steps
        self._fault = fault

    def _on_given_up(self) -> None:
        """A rollout is gone, and with it a segment, or what it had of it."""
        self._steps_under_way -= self._segment_steps
        self._journal.account.gave_up(self._segment_steps)

    def _on_stored(self, shard: int, receipt: Receipt, seconds: list[float]) -> None:
        self._steps_under_way -= len(seconds) * self._segment_steps
        self._journal.counted(self._tally.take(shard, receipt))
        self._journal.stored(seconds)

    def _on_gone(self, steps: int) -> None:
        """A segment is gone, with the node that held it."""
        self._steps_under_way -= self._segment_steps
        self._journal.account.dropped["lost"] += steps

    def _on_trained(self, weights: ray.ObjectRef, report: LearnerReport) -> None:
        self._training -= 1
        if report.updates >= self._journal.updates:  # an answer that was lost and sent again comes behind a later one
            self._weights = weights
        self._crew.at_work(*self._crew.lives("learner", "replay"))
        self._starved_at = report.receipt.inserted if report.starved else None
        self._journal.counted(self._tally.take_all(report.receipt))
        self._run.learned(report)

    def _on_scored(self, evaluation: ray.ObjectRef) -> None:
        self._calls.expect(self._core.learner.heed.remote(evaluation), Call("the learner"))

    # ---- who is there

    def _on_there(self, life: Life) -> None:
        """An actor that was started, or took another one's place, can be asked."""
        if life.kind == "rollout":
            self._deliveries.fence(life.number, life.incarnation)
            self._idle.extend([life] * CALLS_IN_FLIGHT)

    def _roll_back(self, lost: ActorLost) -> None:
        """Start the replay and the learner anew from one checkpoint; what came after it is lost, also at the rollouts."""
        self._core.end()
        self._calls.give_up(None)
        self._training, self._starved_at = 0, -1
        self._examiner.forget()
        if not isinstance(lost, Moving):
            self._crew.spend((lost.kind, 0), f"the {lost.kind} {lost.why}", self._members.core_nodes)
        self._run.rewind()
        self._goes_back = True
        self._deliveries.leave()
        for life in self._crew.renew():
            self._deliveries.fence(life.number, life.incarnation)
        self._start_core()

    def _start_core(self) -> None:
        self._core = self._cluster.start_core()
        self._crew.watch(self._core)

    def _on_failed(self, fault: RunError) -> None:
        self._fault = fault

    # ---- how events come

    def _next_event(self) -> None:
        self._crew.attend(POLL_SECONDS)
        self._members.look()

    def _until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._next_event()

    def _told(self, by_core: list[ray.ObjectRef]) -> list:
        """What the learner and the replay answer, while everything else goes on."""
        told: dict[int, object] = {}
        for place, reference in enumerate(by_core):
            who = "the replay" if place else "the learner"
            self._calls.expect(reference, Call(who, partial(told.__setitem__, place)))
        self._until(lambda: len(told) == len(by_core))
        return [told[place] for place in range(len(by_core))]

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
        # It may wait for room, and rollouts give way meanwhile; where another replica of it ends, it would wait in vain.
        finished: list[LearnerReport] = []
        reference, self._weights = self._core.learner.finish.remote(0.0)
        self._calls.expect(reference, Call("the learner", finished.append))
        for lifeline in self._core.lifelines:
            self._calls.expect(lifeline, Call("the learner"))
        self._until(lambda: finished)
        (report,) = finished
        if self._goes_back:
            self._run.went_back(self._deliveries.steps)
            self._goes_back = False
        self._tally = Tally(report.receipt.shards, self._run.parts.pace)
        self._run.resumed(report.updates, report.updates_of, self._tally.total)
        self._deliveries.address(self._core.replays, self._tally.total.shards)
        self._run.restart_timers()

    def _checkpoint(self, last: bool) -> None:
        """Bring learner and replay to one moment, take their states, and let them go on while these are written."""
        learner, replays = self._core.learner, self._core.replays
        # Behind one that was lost on the way, and is repeated, it could come too early.
        self._until(lambda: not self._training)
        self._expect_report(*learner.finish.remote(self._journal.progress))
        self._until(lambda: not self._training)
        stalled_since = None if last else time.monotonic()
        self._deliveries.hold()
        self._until(lambda: not self._deliveries.is_storing)
        state, *shards = self._told([learner.state.remote(), *(replay.state.remote() for replay in replays)])
        # Segments that came meanwhile are generated but not in these states: on resume they have never been.
        unstored = self._deliveries.steps
        if not (moves := self._members.saved() and not last):
            self._deliveries.release()
            if not (last or self._run.stop or self._is_over()):
                self._ask_learner()
        self._run.save(stalled_since, unstored, aside=not last, learner=state, replay=in_one(shards))
        if moves:
            raise Moving  # from the moment that was saved

    def _evaluate_finally(self) -> Evaluation | None:
        """The reported scores, of the last weights; None where a signal comes before they are there."""
        self._journal.phase = "evaluation"
        self._examiner.ask_finally()
        self._until(lambda: self._examiner.final or self._fault or self._run.stop)
        if self._fault:
            raise self._fault
        if final := self._examiner.final:
            self._journal.evaluated(final, self._journal.generated)
        return final
