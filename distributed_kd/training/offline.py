"""The loop over a fixed set of states: no environment is stepped until the students are scored at the end.

Part of the states is held out. A student stops once it has not become better on them for a while, and its best weights are
taken; so a few hundred states can be learned from without learning them by heart.
"""

import time
from pathlib import Path

import numpy as np
import torch

from distributed_kd.learning.learner import Learner
from distributed_kd.learning.lesson import Lesson
from distributed_kd.memory import keep_freed
from distributed_kd.networks import load_flat, to_flat
from distributed_kd.records import Evaluation, Receipt, State
from distributed_kd.rollouts.evaluation import Evaluator
from distributed_kd.training.data_set import read
from distributed_kd.training.in_process import one_thread, report
from distributed_kd.training.parts import device_of
from distributed_kd.training.run import Run, Runner


class HeldOut:
    """The best that each student did on the held-out states, and who still gets better."""

    def __init__(self, students: tuple[str, ...], patience: int):
        self._patience = patience
        self._best: dict[str, float] = dict.fromkeys(students, float("inf"))
        self._weights: dict[str, np.ndarray] = {}
        self._waited = dict.fromkeys(students, 0)

    @property
    def learning(self) -> frozenset[str]:
        """The students that are not done."""
        return frozenset(name for name, waited in self._waited.items() if waited < self._patience)

    def look(self, learner: Learner, losses: dict[str, float]) -> None:
        """Take in the held-out losses of those that still learn."""
        for name, loss in losses.items():
            self._waited[name] += 1
            if loss < self._best[name]:
                self._best[name], self._waited[name] = loss, 0
                self._weights[name] = to_flat(learner.students[name].network)

    def restore_best(self, learner: Learner) -> None:
        """Give every student the weights that it had when it was best."""
        for name, flat in self._weights.items():
            load_flat(learner.students[name].network, flat)

    def state(self) -> State:
        best = {name: loss for name, loss in self._best.items() if np.isfinite(loss)}
        return {"best": best, "weights": dict(self._weights), "waited": dict(self._waited)}

    def restore(self, state: State) -> None:
        self._best.update(state["best"])
        self._weights = {name: np.array(flat) for name, flat in state["weights"].items()}
        self._waited.update(state["waited"])


def train(run: Run) -> Evaluation | None:
    """Learn from batches of the states until every student is done, then score them in the environment."""
    keep_freed()
    with one_thread():
        return _train(run)


def _train(run: Run) -> Evaluation | None:
    parts, journal, config = run.parts, run.journal, run.config.data
    device = device_of(run.config.learner.device)
    learner = Learner(**parts.learner(device))
    best = HeldOut(tuple(run.config.students), config.patience)
    random = np.random.default_rng(parts.seed("data", "batches"))
    if run.restored:
        learner.restore(run.state_of("learner"))
        best.restore(run.state_of("held_out")["best"])
        random.bit_generator.state = run.state_of("held_out")["random"]
        run.resumed(learner.updates, learner.updates_of, Receipt(0, 0, 0, 0, 0))
    states = learner.seen(torch.tensor(read_shuffled(run), device=device))
    held = min(max(1, round(config.held_out * len(states))), len(states) - 1)
    held_out, learned = learner.teacher.lesson(states[:held]), states[held:]

    def save(stalled_since: float | None = None) -> None:
        held_out = {"best": best.state(), "random": random.bit_generator.state}
        run.save(stalled_since, learner=learner.state(), held_out=held_out)

    journal.phase = "training"
    run.restart_timers()
    updates = run.bounds.stop.updates
    while best.learning and learner.updates < updates and not (run.stop or run.bounds.out_of_time):
        began, clock = time.time(), time.perf_counter()
        done = min(config.check_every, updates - learner.updates)
        for _ in range(done):
            rows = random.integers(0, len(learned), run.config.replay.batch_size)
            lesson = learner.teacher.lesson(learned[torch.from_numpy(rows).to(device)])
            temperature = learner.distil(lesson, learner.updates / updates, best.learning)
        # While a loss is still to begin, what is held out tells nothing of how well all of them are learned.
        ready = {name for name in best.learning if learner.students[name].in_its_last_phase(learner.updates / updates)}
        best.look(learner, _held_out_losses(learner, held_out, temperature, ready))
        busy = time.perf_counter() - clock
        run.learned(report(learner, done, began, busy, journal.receipt, starved=False))
        journal.tick()
        if run.checkpoint_is_due:
            save(stalled_since=time.monotonic())
    save()
    if run.stop:
        return None
    best.restore_best(learner)
    save()
    journal.phase = "evaluation"
    evaluator = Evaluator(**parts.evaluator())
    try:
        final = evaluator.evaluate(learner.weights(), final=True)
    finally:
        evaluator.close()
    journal.evaluated(final, 0)
    return final


def read_shuffled(run: Run) -> np.ndarray:
    """The states in an order of the run's own, so that those held out are no stretch of one episode."""
    observation = read(Path(run.config.data.file)).observation
    order = np.random.default_rng(run.parts.seed("data", "order")).permutation(len(observation))
    return observation[order].astype(run.parts.spec.observation_dtype)


def _held_out_losses(learner: Learner, lesson: Lesson, temperature: torch.Tensor, names: set[str]) -> dict[str, float]:
    if not names:
        return {}
    losses = [learner.students[name].held_out_loss(lesson, temperature) for name in sorted(names)]
    return dict(zip(sorted(names), torch.stack(losses).tolist(), strict=True))


RUNNER = Runner("offline", train, goes_on_exactly=True)
