"""What the heartbeats of one actor say, and how many are asked for theirs at a time."""

from collections.abc import Sequence
from typing import TypeVar

HEARTBEAT_SECONDS = 0.5
"""Time between two looks at who is alive"""
PATIENCE = 5
"""Looks at which an actor may be silent, or twice as many as it has been silent before"""
PATIENCE_WITH_CORE = 24
"""The same of the learner and the replay: with one of them the run goes back, and both may compute for long in one call"""
MOST_AT_ONCE = 50
"""Heartbeats asked for at one look: of more actors each is looked at less often, or the driver would do nothing else"""

Anyone = TypeVar("Anyone")


class Heart:
    """What the heartbeats of one actor say.

    Everything is counted in looks, not in time: a driver that was busy for long has not looked, and nobody was silent.
    """

    def __init__(self, step_timeout: float, patience: int = PATIENCE):
        """`step_timeout` in seconds, as `rollouts.step_timeout`."""
        self._timeout, self._patience = step_timeout, patience
        self._steps = self._silent = self._unmoved = 0

    def look(self, steps: int | None, busy: bool, proven: bool, seconds: float = HEARTBEAT_SECONDS) -> str:
        """Take in the steps that its environments have begun, None where it has not answered since the look before.

        `busy`: it was asked to step them; `proven`: it has done so before, so that whatever it loads is loaded; `seconds`
        between two looks at it. Gives why it is taken to hang, or nothing.
        """
        moved = steps is not None and steps != self._steps
        self._unmoved = 0 if moved or not busy else self._unmoved + 1
        if steps is None:
            self._silent += proven  # while it loads it says nothing of how silent it may be at work
        else:
            # One that is slow to answer, such as in a step that holds Python's lock for long, will be so again.
            self._patience = max(self._patience, 2 * self._silent)
            self._steps, self._silent = steps, 0
        if self._unmoved * seconds > self._timeout:
            return f"hangs: its environment has not moved for {self._timeout:g} s (rollouts.step_timeout)"
        if proven and self._silent > self._patience:
            return f"hangs: it has given no sign of life for {self._silent * seconds:g} s"
        return ""


class Rounds:
    """Who of many is looked at next: all of them in turn, MOST_AT_ONCE at a time."""

    def __init__(self) -> None:
        self._looks = 0

    def next(self, there: Sequence[Anyone]) -> tuple[Sequence[Anyone], float]:
        """Those of now, and the seconds between two looks at one of them."""
        turns = max(1, -(-len(there) // MOST_AT_ONCE))
        self._looks += 1
        return there[self._looks % turns :: turns], turns * HEARTBEAT_SECONDS
