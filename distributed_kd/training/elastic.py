"""How many rollouts a run wants on a cluster that grows and shrinks, and what of its losses it has to answer for.

Rules alone, on numbers and names of nodes, without Ray; who is started and ended by them is in `membership.py`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from distributed_kd.config import SupervisionConfig
from distributed_kd.errors import InternalError

MOST_PENDING = 8
"""Further rollouts that wait for room at once: what an autoscaler sees asked for, and what can join together"""
SHORTAGE_SECONDS = 30.0
"""How long fewer than the least are there before it is told: to be started takes less"""


@dataclass(frozen=True)
class Size:
    """From `least` to `most` rollouts, numbered from 0; the same number twice where there are exactly so many."""

    least: int
    most: int

    def wanted(self, begun: Collection[int], pending: Collection[int]) -> list[int]:
        """The numbers to begin now. `pending` are those of the `begun` that have not answered.

        The least are begun at once, whatever room there is; of the further ones a few may wait for it.
        """
        first = [number for number in range(self.least) if number not in begun]
        waiting = sum(number >= self.least for number in pending)
        further = [number for number in range(self.least, self.most) if number not in begun]
        return first + further[: max(0, MOST_PENDING - waiting)]

    def giving_way(self, begun: Collection[int], pending: Collection[int]) -> list[int]:
        """The numbers to end where the core finds no room: those that wait for room themselves, and all beyond the least."""
        return [number for number in begun if number in pending or number >= self.least]


@dataclass
class Shortage:
    """Tells once when fewer than the least are there for a while, and once when they are there again."""

    key: str
    """of the run file, as `rollouts.actors.min`"""
    least: int
    _since: float | None = None
    _is_told: bool = False

    def look(self, there: int, now: float) -> str:
        """What is to be told at this moment, in seconds; mostly nothing."""
        if there >= self.least:
            told, self._since, self._is_told = self._is_told, None, False
            return f"{there} rollouts are there again" if told else ""
        if self._since is None:
            self._since = now
        if self._is_told or now - self._since < SHORTAGE_SECONDS:
            return ""
        self._is_told = True
        return f"{there} of {self.least} rollouts are there ({self.key}={self.least}): the run waits for the others"


@dataclass
class Budget:
    """Replacements that are held against a run. What a node took with it when it left is not."""

    config: SupervisionConfig
    is_gone: Callable[[str], bool]
    """whether a node, by its id, has left"""
    _spent: list[tuple[float, frozenset[str]]] = field(default_factory=list)

    def spend(self, what: str, nodes: Collection[str], now: float) -> None:
        """Count what was lost at a moment, in seconds, on one of these nodes; none where it was not yet anywhere.

        Raises InternalError where there was too much of late.
        """
        gone = {node for node in nodes if self.is_gone(node)}
        recent = now - self.config.within_seconds
        # Some may have been counted before their node was seen to be gone.
        self._spent = [(at, there) for at, there in self._spent if at > recent and not gone & there]
        if gone:
            return
        if len(self._spent) >= self.config.restarts:
            raise InternalError(
                f"too much has failed (supervision.restarts={self.config.restarts}): {what}, after {len(self._spent)} "
                f"replacements within {self.config.within_seconds:g} s. Mend the cause, or allow more"
            )
        self._spent.append((now, frozenset(nodes)))
