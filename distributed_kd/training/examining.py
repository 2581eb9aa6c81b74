"""Scores of the newest weights, asked of the evaluation: now and then while the run trains, and at its end."""

from collections.abc import Callable
from functools import partial

import ray

from distributed_kd.errors import EnvironmentFault, RunError
from distributed_kd.records import Evaluation
from distributed_kd.training.calls import Call, Calls
from distributed_kd.training.plan import cores
from distributed_kd.training.run import Run
from distributed_kd.training.supervision import Life, Supervision


class Examiner:
    """One evaluation at a time; where whoever was asked is gone, its successor is asked again."""

    def __init__(
        self,
        run: Run,
        crew: Supervision,
        calls: Calls[Life],
        weights: Callable[[], ray.ObjectRef],
        scored: Callable[[ray.ObjectRef], None],
        failed: Callable[[RunError], None],
    ):
        """`weights` gives the newest; `scored` is handed every evaluation while training, `failed` what ends the run."""
        self._run, self._crew, self._calls = run, crew, calls
        self._weights, self._scored, self._failed = weights, scored, failed
        self._is_asked = False
        self.final: Evaluation | None = None

    def ask(self) -> None:
        """Ask for the scores where that is due, and none are under way."""
        if self._run.evaluation_is_due and not self._is_asked:
            self._is_asked = True
            self._ask(partial(self._on_scored, self._run.evaluation_begins()), final=False)

    def ask_finally(self) -> None:
        """Ask for the reported scores, which `final` will hold."""
        self.final = None
        self._ask(self._on_final, final=True)

    def forget(self) -> None:
        """What was asked for will not come: it was of weights that are gone."""
        self._is_asked = False

    def _ask(self, done: Callable[[ray.ObjectRef, Evaluation], None], final: bool) -> None:
        life = self._crew.evaluation
        reference = life.handle.evaluate.remote(self._weights(), final)
        again = partial(self._ask, done, final)
        self._calls.expect(reference, Call(life.name, partial(done, reference), life, self._on_broken, again))

    def _on_scored(self, env_steps: int, reference: ray.ObjectRef, evaluation: Evaluation) -> None:
        self._is_asked = False
        self._crew.at_work(self._crew.evaluation)
        self._scored(reference)
        self._run.evaluated(evaluation, cores(), env_steps)
        try:
            self._run.check_faults("the evaluation", evaluation.faults)
        except EnvironmentFault as fault:
            self._failed(fault)

    def _on_final(self, _: ray.ObjectRef, evaluation: Evaluation) -> None:
        self.final = evaluation

    def _on_broken(self, fault: RunError) -> None:
        self._is_asked = False
        self._failed(fault)
