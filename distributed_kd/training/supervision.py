"""Who of a run's actors is alive: heartbeats, incarnations, replacements.

What becomes of the calls that were under way, and who is asked for what, is the loop's; how many rollouts there are to be is
said in `membership.py`.
"""

import logging
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError

from distributed_kd.actors.pulsed import Pulse
from distributed_kd.errors import EnvironmentFault, InternalError, RunError
from distributed_kd.training.calls import Call, Calls
from distributed_kd.training.cluster import ActorLost, Cluster, Core, GivenLost, calmly, died, nodes_named
from distributed_kd.training.elastic import Budget
from distributed_kd.training.heart import HEARTBEAT_SECONDS, PATIENCE_WITH_CORE, Heart, Rounds
from distributed_kd.training.recoveries import Key
from distributed_kd.training.run import Run
from distributed_kd.training.timer import Timer

NAMES = {"evaluation": "the evaluation", "replay": "the replay", "learner": "the learner"}

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Life:
    """One incarnation of an actor, from its start to its end."""

    kind: str
    """rollout, evaluation, replay or learner"""
    number: int
    incarnation: int
    handle: ActorHandle
    heart: Heart
    is_there: bool = False
    """it has answered"""
    sign: Pulse | None = None
    """the newest of life"""
    proven: bool = False
    """it has done its work once"""
    is_leaving: bool = False
    """its node is about to leave: nothing more is asked of it"""
    is_over: bool = False
    pulse: ray.ObjectRef | None = field(default=None, init=False)

    @property
    def node(self) -> str | None:
        """The id of the node that it answered from."""
        return self.sign and self.sign.node

    @property
    def name(self) -> str:
        return NAMES.get(self.kind) or f"{self.kind} {self.number}"

    @property
    def key(self) -> Key:
        return self.kind, 0 if self.is_core else self.number

    @property
    def is_core(self) -> bool:
        """It holds what the run has learned: it is not replaced alone."""
        return self.kind in ("replay", "learner")


class Supervision:
    """Looks at all actors; starts rollouts and the evaluation, and replaces those of them that died or hang."""

    def __init__(
        self,
        run: Run,
        calls: Calls[Life],
        cluster: Cluster,
        came: Callable[[Life], None],
        failed: Callable[[RunError], None],
    ):
        """`came` is told of each that is there, `failed` of why the run cannot go on."""
        self._run, self._calls, self._start, self._came, self._failed = run, calls, cluster.start, came, failed
        self.recoveries = run.journal.account.recoveries
        self._lives: list[Life] = []
        self.present = 0
        """rollouts that can be asked"""
        self._budget = Budget(run.config.supervision, cluster.is_gone)
        self._timer, self._rounds = Timer(HEARTBEAT_SECONDS), Rounds()

    @property
    def rollouts(self) -> list[Life]:
        """Those that were begun and are not over; some may not have answered yet."""
        return [life for life in self._lives if life.kind == "rollout"]

    @property
    def evaluation(self) -> Life:
        """Started when it is first asked for: until then its core helps the others to begin."""
        found = self.lives("evaluation")
        return found[0] if found else self.begin("evaluation", 0)

    def begin(self, kind: str, number: int) -> Life:
        """Start an actor. It is watched from its first answer on: until then it may wait for room on the cluster."""
        incarnation = self._run.incarnation
        life = Life(
            kind, number, incarnation, self._start(kind, number, incarnation), Heart(self._run.config.rollouts.step_timeout)
        )
        self._lives.append(life)
        self._calls.expect(life.handle.pulse.remote(), Call(life.name, partial(self._on_there, life), life))
        return life

    def _on_there(self, life: Life, pulse: Pulse) -> None:
        life.is_there, life.sign = True, pulse
        self.present += life.kind == "rollout"
        if life.kind == "evaluation":  # it may be long until it is asked for the next scores
            self.recoveries.back(life.key)
        self._came(life)

    def watch(self, core: Core) -> None:
        """Look at these too from now on, in place of those that were there before."""
        self._lives = [life for life in self._lives if not life.is_core]
        handles = [("learner", 0, core.learner), *(("replay", shard, handle) for shard, handle in enumerate(core.replays))]
        for kind, number, handle in handles:
            heart = Heart(math.inf, PATIENCE_WITH_CORE)
            life = Life(kind, number, self._run.incarnation, handle, heart, is_there=True)
            self._lives.append(life)

    def at_work(self, *lives: Life) -> None:
        """They have done what they are there for."""
        for life in lives:
            if not life.proven:
                life.proven = True
                self.recoveries.back(life.key)

    def lives(self, *kinds: str) -> list[Life]:
        return [life for life in self._lives if life.kind in kinds]

    def at_work_of(self, kind: str) -> list[Life]:
        """Those of a kind that have done their work, and that nothing is known to have befallen."""
        return [life for life in self.lives(kind) if life.proven and not self.recoveries.is_under_way(life.key)]

    # ---- events

    def attend(self, seconds: float) -> None:
        """Wait at most so long for the next call to end, and see to it; then to those that hang, when it is time to look.

        Raises ActorLost where the replay or the learner is gone or hangs.
        """
        for reference, call in self._calls.ended(seconds):
            try:
                value = calmly(reference, call.who)
            except EnvironmentFault as fault:
                call.broken(fault)
            except ActorLost as lost:
                if isinstance(lost, GivenLost) and call.given_lost:
                    call.given_lost()
                elif isinstance(lost, GivenLost) or call.owner is None:
                    raise
                else:
                    self._replace_or_fail(call.owner, lost.why, call)
            else:
                call.done(value)
        for life, why in self._hanging():
            if life.is_core:
                raise ActorLost(life.name, why)
            self._replace_or_fail(life, why)

    def _replace_or_fail(self, life: Life, why: str, *ended: Call) -> None:
        try:
            self.replace(life, why, *ended)
        except InternalError as spent:
            self._failed(spent)

    def end(self, life: Life) -> list[Call]:
        """Let an actor do nothing any more; gives what it was asked for."""
        life.is_over = True
        self.present -= life.is_there and life.kind == "rollout"
        self._lives.remove(life)
        ray.kill(life.handle, no_restart=True)
        return self._calls.give_up(life)

    def dismiss(self, life: Life, *ended: Call) -> None:
        """Give an actor up with all that it was asked for, `ended` too; who comes in its place is another incarnation."""
        given_up = [*ended, *self.end(life)]
        self.recoveries.forget(life.key)
        self._run.incarnation += 1
        for call in given_up:
            call.lost()

    def replace(self, life: Life, why: object, *ended: Call) -> None:
        """Give up an actor that was lost, and make good for it: the evaluation here, a rollout as far as it is wanted.

        Raises InternalError where the budget is spent.
        """
        given_up = [*ended, *self.end(life)]
        try:
            self.spend(life.key, f"{life.name} {why}", {life.node} - {None})
            self._run.incarnation += 1
            if life.kind == "evaluation":
                self.begin(life.kind, life.number)
        finally:
            for call in given_up:
                call.lost()

    def renew(self) -> list[Life]:
        """Begin a new incarnation of every rollout without a new process, and give the evaluation up.

        What they had under way is theirs no more: segments come from the earlier incarnation, scores of weights that are
        gone do not come.
        """
        rollouts = self.rollouts
        for life in self.lives("evaluation"):
            self.end(life)
            self.recoveries.forget(life.key)  # it is started when there are weights to score
        for life in rollouts:
            life.incarnation = self._run.incarnation
            self._calls.expect(life.handle.renew.remote(life.incarnation), Call(life.name, owner=life))
        return rollouts

    def spend(self, who: Key, what: str, nodes: Collection[str]) -> None:
        """Count a replacement of what was on one of these nodes.

        Raises InternalError where there were too many of late that nobody brought about.
        """
        if not self.recoveries.is_under_way(who):
            self._budget.spend(what, {*nodes, *nodes_named(what)}, time.monotonic())
        self.recoveries.lost(who)
        self._run.journal.restarted(who[0])
        logger.warning("warning: %s. It is replaced", what)

    def _hanging(self) -> list[tuple[Life, str]]:
        """Look at all, when it is time: those that hang or are gone, and why."""
        if not self._timer.due:
            return []
        self._timer.restart()
        there, busy = [life for life in self._lives if life.is_there], self._calls.busy
        some, seconds = self._rounds.next([life for life in there if not life.is_core])
        watched = [*(life for life in there if life.is_core), *some]
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
                    life.sign = ray.get(life.pulse)
                    steps = life.sign.steps
                    self._run.journal.resident(life.kind, life.sign.resident)
                except RayActorError as error:
                    found.append((life, died(error)))
                    continue
                life.pulse = life.handle.pulse.remote()
            if why := life.heart.look(steps, life in busy, life.proven, seconds):
                if life.sign:
                    life.sign.end()
                found.append((life, why))
        return found
