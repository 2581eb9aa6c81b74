"""The loop in one process, without Ray: for debugging, and the same to the bit whenever it is run with one seed."""

import time

from distributed_kd.errors import DivergedError, EnvironmentFault
from distributed_kd.learning.learner import Learner
from distributed_kd.memory import keep_freed
from distributed_kd.records import Evaluation
from distributed_kd.replay.replay import Replay
from distributed_kd.rollouts.evaluation import Evaluator
from distributed_kd.rollouts.rollout import Rollout
from distributed_kd.training.in_process import one_thread, report
from distributed_kd.training.parts import device_of
from distributed_kd.training.run import Run, Runner

BATCHES_AT_ONCE = 8


def train(run: Run) -> Evaluation | None:
    """Collect a segment, store it, learn as much as the pace allows, and so on until the run is over.

    Time decides only when to evaluate and when to save, and neither changes what is learned.
    """
    keep_freed()
    with one_thread():
        return _train(run)


def _train(run: Run) -> Evaluation | None:
    while True:
        try:
            return _until_over(run)
        except DivergedError as diverged:
            run.may_go_back(diverged)
            run.rewind()
            run.went_back(unstored_steps=0)


def _until_over(run: Run) -> Evaluation | None:
    parts, journal = run.parts, run.journal
    replay = Replay(**parts.replay())
    learner = Learner(**parts.learner(device_of(run.config.learner.device)))
    actors = range(run.config.rollouts.least)
    rollouts = [Rollout(**parts.rollout(actor, run.incarnation, repeatable=True)) for actor in actors]
    evaluator = Evaluator(**parts.evaluator())
    if run.restored:
        learner.restore(run.state_of("learner"))
        replay.restore(run.state_of("replay"))
        # Behind a divergence they begin new episodes: the same ones would lead there again.
        same_lives = run.state_of("journal")["incarnation"] == run.incarnation
        for actor, state in (run.state_of("rollouts") or {}).items() if same_lives else ():
            rollouts[int(actor)].restore(state)
        run.resumed(learner.updates, learner.updates_of, replay.receipt())

    def save(stalled_since: float | None = None, with_rollouts: bool = True) -> None:
        lanes = {str(actor): rollout.state() for actor, rollout in enumerate(rollouts)} if with_rollouts else None
        run.save(stalled_since, learner=learner.state(), replay=replay.state(), rollouts=lanes)

    try:
        weights = learner.weights()
        while not run.stop and not _is_over(run, learner):
            turn = min(rollouts, key=lambda rollout: rollout.sequence)
            try:
                segment, stats = turn.collect(weights, journal.progress)
                journal.collected(stats)
                journal.counted(replay.add(segment))
                run.check_faults(f"rollout {stats.actor}", stats.faults)
            except EnvironmentFault:
                save(with_rollouts=False)  # what was learned so far is kept; the broken lanes are not
                raise
            _learn(run, replay, learner)
            weights = learner.weights()
            journal.tick()
            if run.evaluation_is_due:
                asked_at = run.evaluation_begins()
                evaluation = evaluator.evaluate(weights, final=False)
                learner.heed(evaluation)
                run.evaluated(evaluation, cores=1, env_steps=asked_at)
                run.check_faults("the evaluation", evaluation.faults)
            if run.checkpoint_is_due:
                save(stalled_since=time.monotonic())
        if not run.stop and (priorities := learner.priorities()) is not None:
            journal.counted(replay.prioritise(priorities))  # nobody will ask for more batches, with which they would go back
        save()
        if run.stop:
            return None
        journal.phase = "evaluation"
        final = evaluator.evaluate(weights, final=True)
        journal.evaluated(final, journal.generated)
        return final
    finally:
        evaluator.close()
        for rollout in rollouts:
            rollout.close()


def _is_over(run: Run, learner: Learner) -> bool:
    return run.bounds.learning_is_over(learner.updates) or run.bounds.inserting_is_over(run.journal.receipt.inserted)


def _learn(run: Run, replay: Replay, learner: Learner) -> None:
    """Draw and learn until the pace gives no more; without a pace, as much as between two publications."""
    began, before, busy = time.time(), learner.updates, 0.0
    progress = run.journal.progress
    most = run.config.learner.updates_per_call if run.config.replay.samples_per_insert == 0 else 2**62
    if run.config.stop.updates:
        most = min(most, run.config.stop.updates - before)
    while (left := most - (learner.updates - before)) > 0:
        batches, receipt = replay.sample(min(left, BATCHES_AT_ONCE), learner.priorities())
        if batches is None:
            break
        learning = time.perf_counter()
        for batch in learner.taken(batches):
            learner.learn(batch, progress)
        busy += time.perf_counter() - learning
    else:
        receipt = replay.receipt()
    done = learner.updates - before
    run.journal.counted(receipt)
    run.learned(report(learner, done, began, busy, receipt, starved=done < most))


RUNNER = Runner("inline", train, goes_on_exactly=True)
