"""Who of a run's rollouts and its evaluation is alive: heartbeats, incarnations, replacements, the budget for them.

What becomes of the calls that were under way, and who is asked for what, is the loop's.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from distributed_kd.errors import InternalError
from distributed_kd.training.calls import Call, Calls
from distributed_kd.training.cluster import died
from distributed_kd.training.run import Run, Timer

HEARTBEAT_SECONDS = 0.5
"""Time between two looks at who is alive"""
PATIENCE = 5
"""Looks at which an actor may be silent, or twice as many as it has been silent before"""

logger = logging.getLogger(__name__)


class Heart:
    """What the heartbeats of one actor say.

    Everything is counted in looks, not in time: a driver that was busy for long has not looked, and nobody was silent.
    """

    def __init__(self, step_timeout: float):
        """`step_timeout` in seconds, as `rollouts.step_timeout`."""
        self._timeout, self._patience = step_timeout, PATIENCE
        self._steps = self._silent = self._unmoved = 0

    def look(self, steps: int | None, busy: bool, proven: bool) -> str:
        """Take in the steps that its environments have begun, None where it has not answered since the look before.

        `busy`: it was asked to step them; `proven`: it has done so before, so that whatever it loads is loaded. Gives why it
        is taken to hang, or nothing.
        """
        moved = steps is not None and steps != self._steps
        self._unmoved = 0 if moved or not busy else self._unmoved + 1
        if steps is None:
            self._silent += 1
        else:
            # One that is slow to answer, such as in a step that holds Python's lock for long, will be so again.
            self._patience = max(self._patience, 2 * self._silent)
            self._steps, self._silent = steps, 0
        if self._unmoved * HEARTBEAT_SECONDS > self._timeout:
            return f"hangs: its environment has not moved for {self._timeout:g} s (rollouts.step_timeout)"
        if proven and self._silent > self._patience:
            return f"hangs: it has given no sign of life for {self._silent * HEARTBEAT_SECONDS:g} s"
        return ""


@dataclass(eq=False)
class Life:
    """One incarnation of an actor that steps environments, from its start to its replacement."""

    kind: str
    """rollout or evaluation"""
    number: int
    incarnation: int
    handle: ActorHandle
    heart: Heart
    is_there: bool = False
    """it has answered"""
    proven: bool = False
    """it has stepped environments"""
    is_over: bool = False
    pulse: ray.ObjectRef | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        return f"rollout {self.number}" if self.kind == "rollout" else "the evaluation"


class Supervision:
    """Starts rollouts and the evaluation, looks at them, and replaces those that died or hang."""

    def __init__(
        self,
        run: Run,
        calls: Calls[Life],
        start: Callable[[str, int, int], ActorHandle],
        came: Callable[[Life], None],
    ):
        """`start` makes an actor of a kind, with a number and an incarnation; `came` is told of each that is there."""
        self._run, self._calls, self._start, self._came = run, calls, start, came
        self._lives: list[Life] = []
        self._replaced: deque[float] = deque()
        self._timer = Timer(HEARTBEAT_SECONDS)

    @property
    def evaluation(self) -> Life:
        """Started when it is first asked for: until then its core helps the others to begin."""
        found = [life for life in self._lives if life.kind == "evaluation"]
        return found[0] if found else self.begin("evaluation", 0)

    def begin(self, kind: str, number: int) -> Life:
        """Start an actor. It is watched from its first answer on: until then it may wait for room on the cluster."""
        incarnation = self._run.incarnation
        life = Life(kind, number, incarnation, self._start(kind, number, incarnation), Heart(self._step_timeout))
        self._lives.append(life)
        self._calls.expect(life.handle.pulse.remote(), Call(life.name, partial(self._on_there, life), life))
        return life

    @property
    def _step_timeout(self) -> float:
        return self._run.config.rollouts.step_timeout

    def _on_there(self, life: Life, _: int) -> None:
        life.is_there = True
        self._came(life)

    def end(self, life: Life) -> list[Call]:
        """Let an actor do nothing any more; gives what it was asked for."""
        life.is_over = True
        self._lives.remove(life)
        ray.kill(life.handle, no_restart=True)
        return self._calls.give_up(life)

    def replace(self, life: Life, why: object, *ended: Call) -> None:
        """Give an actor up with all that it was asked for, `ended` too, and start the next incarnation in its place.

        Raises InternalError where the budget is spent.
        """
        given_up = [*ended, *self.end(life)]
        try:
            self.spend(life.kind, f"{life.name} {why}")
            self._run.incarnation += 1
            self.begin(life.kind, life.number)
        finally:
            for call in given_up:
                call.lost()

    def renew(self) -> list[Life]:
        """Begin a new incarnation of every rollout without a new process, and give the evaluation up.

        What they had under way is theirs no more: segments come from the earlier incarnation, scores of weights that are
        gone do not come.
        """
        rollouts = [life for life in self._lives if life.kind == "rollout"]
        for life in [life for life in self._lives if life not in rollouts]:
            self.end(life)
        for life in rollouts:
            life.incarnation = self._run.incarnation
            self._calls.expect(life.handle.renew.remote(life.incarnation), Call(life.name, owner=life))
        return rollouts

    def spend(self, kind: str, what: str) -> None:
        """Count a replacement. Raises InternalError where there were too many of late."""
        now, config = time.monotonic(), self._run.config.supervision
        while self._replaced and self._replaced[0] <= now - config.within_seconds:
            self._replaced.popleft()
        if len(self._replaced) >= config.restarts:
            raise InternalError(
                f"too much has failed (supervision.restarts={config.restarts}): {what}, after {len(self._replaced)} "
                f"replacements within {config.within_seconds:g} s. Mend the cause, or allow more"
            )
        self._replaced.append(now)
        self._run.journal.restarted(kind)
        logger.warning("warning: %s. It is replaced", what)

    def hanging(self) -> list[tuple[Life, str]]:
        """Look at all, when it is time: those that hang or are gone, and why."""
        if not self._timer.due:
            return []
        self._timer.restart()
        watched, busy = [life for life in self._lives if life.is_there], self._calls.busy
        asked = [life.pulse for life in watched if life.pulse is not None]
        answered = set(ray.wait(asked, num_returns=len(asked), timeout=0, fetch_local=False)[0]) if asked else set()
        found = []
        for life in watched:
            if life.pulse is None:
                life.pulse = life.handle.pulse.remote()
                continue
            steps = None
            if life.pulse in answered:
                try:
                    steps = ray.get(life.pulse)
                except RayActorError as error:
                    found.append((life, died(error)))
                    continue
                life.pulse = life.handle.pulse.remote()
            if why := life.heart.look(steps, life in busy, life.proven):
                found.append((life, why))
        return found
