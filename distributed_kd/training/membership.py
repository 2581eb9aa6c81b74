"""Who of the rollouts joins and leaves as the cluster's nodes do, and when the core must go elsewhere.

How many are wanted is said by the rules in `elastic.py`; those that die or hang on nodes that stay are `supervision.py`'s.
"""

import logging
import time

from distributed_kd.errors import ResourceError
from distributed_kd.training.calls import Calls
from distributed_kd.training.cluster import Cluster
from distributed_kd.training.connection import draining, object_store_use
from distributed_kd.training.elastic import Shortage, Size
from distributed_kd.training.heart import HEARTBEAT_SECONDS
from distributed_kd.training.run import Run
from distributed_kd.training.supervision import Life, Supervision
from distributed_kd.training.timer import Timer

PATIENCE = 2
"""Looks at which the core may be without room before rollouts give way: mostly it finds other room at once"""

logger = logging.getLogger(__name__)


class Membership:
    """Looks at the nodes now and then, and has rollouts begun and ended by what it sees."""

    def __init__(self, run: Run, crew: Supervision, calls: Calls[Life], cluster: Cluster):
        self._run, self._crew, self._calls, self._cluster = run, crew, calls, cluster
        rollouts = run.config.rollouts
        self._size = Size(rollouts.least, rollouts.most)
        self._shortage = Shortage(rollouts.least_key, rollouts.least)
        self._timer = Timer(HEARTBEAT_SECONDS)
        self._told: set[str] = set()  # nodes that leave, as far as it was told
        self.core_nodes: set[str] = set()
        """where replay and learner stood when they last had room"""
        self._looks_without_room = 0
        self.wants_checkpoint = False
        """a node with something of the run is about to leave, or the core can go elsewhere, and nothing was saved since"""
        self._has_place = False  # the core's node is about to leave, and there is room for it elsewhere

    @property
    def present(self) -> int:
        """Rollouts that can be asked."""
        return self._crew.present

    @property
    def absent(self) -> int:
        """Rollouts that there may be, and are not."""
        return self._size.most - self.present

    def saved(self) -> bool:
        """Note that a moment of the run was saved; gives whether replay and learner go elsewhere from there."""
        moves, self._has_place, self.wants_checkpoint = self._has_place, False, False
        return moves

    def look(self) -> None:
        """See, when it is time, which nodes leave, and begin and end what that calls for.

        Raises ResourceError where the run was stopped, and its core is nowhere to go on from: what was saved before is all.
        """
        if not self._timer.due:
            return
        self._timer.restart()
        core = self._cluster.core_nodes()
        self.core_nodes = core or self.core_nodes
        self._heed(draining(), core)
        self._look_for_room(bool(core))
        if self._core_is_without_room and not core and self._run.stop:
            raise ResourceError(
                "stopped while replay and learner waited for room on the cluster. Resume it when there is some"
            )
        self.grow()
        self._run.journal.rollouts = self.present
        self._run.journal.resident("object_store", object_store_use())
        if told := self._shortage.look(self.present, time.monotonic()):
            logger.warning("warning: %s", told)

    def grow(self) -> None:
        """Begin the rollouts that are wanted; none where the core itself waits for room."""
        if self._core_is_without_room:
            return
        for number in self._size.wanted(*self._numbers()):
            self._crew.begin("rollout", number)

    def _heed(self, leaving: set[str], core: set[str]) -> None:
        """Ask nothing more of rollouts whose nodes leave, end those that are done, and seek another place for the core."""
        if core & leaving:
            self._cluster.seek_place()
        for node in leaving - self._told:
            there = [life for life in self._crew.rollouts if life.node == node]
            if there or node in core:
                self._told.add(node)
                self.wants_checkpoint = True
                who = [life.name for life in there] + ["replay or learner"] * (node in core)
                logger.warning("warning: node %s is about to leave, and with it %s", node[:8], ", ".join(who))
        busy = self._calls.busy
        for life in self._crew.rollouts:
            life.is_leaving = life.node in leaving
            if life.is_leaving and life not in busy:
                self._crew.dismiss(life)

    def _look_for_room(self, is_placed: bool) -> None:
        """Let rollouts give way where the core has found no room for a while."""
        if self._cluster.seeks_place:
            is_placed = self._has_place = self._cluster.has_place
            self.wants_checkpoint |= self._has_place
        self._looks_without_room = 0 if is_placed else self._looks_without_room + 1
        if self._core_is_without_room and (numbers := self._size.giving_way(*self._numbers())):
            logger.warning("warning: replay and learner wait for room: %d rollouts give way", len(numbers))
            for life in [life for life in self._crew.rollouts if life.number in numbers]:
                self._crew.dismiss(life)

    @property
    def _core_is_without_room(self) -> bool:
        return self._looks_without_room > PATIENCE

    def _numbers(self) -> tuple[set[int], set[int]]:
        """Those of the rollouts that were begun, and of those that have not answered yet."""
        rollouts = self._crew.rollouts
        return {life.number for life in rollouts}, {life.number for life in rollouts if not life.is_there}
