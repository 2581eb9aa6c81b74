"""How long it took until what failed was at work again."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np

Key = tuple[str, int]
"""Kind and number of an actor; of replay and learner, which come back together, the number is 0"""


class Recoveries:
    """Seconds from a loss to the successor's first work, by kind of actor.

    A loss begins where it is noticed, or where it was brought about on purpose, which is known to have been earlier.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._since: dict[Key, float] = {}
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self.struck: Counter[str] = Counter()
        """losses brought about on purpose, by what was done to which kind"""

    def strike(self, what: str, who: Key) -> None:
        """One is being brought about."""
        self.struck[f"{what} {who[0]}"] += 1
        self._since[who] = self._clock()

    def is_under_way(self, who: Key) -> bool:
        """It is missing since it was brought about, or noticed."""
        return who in self._since

    def lost(self, who: Key) -> None:
        """It is noticed."""
        self._since.setdefault(who, self._clock())

    def back(self, who: Key) -> None:
        """It, or its successor, does its work."""
        if who in self._since:
            self._seconds[who[0]].append(self._clock() - self._since.pop(who))

    def forget(self, who: Key) -> None:
        """It is not missed any more."""
        self._since.pop(who, None)

    def told(self) -> dict[str, dict[str, float]]:
        """As the summary tells it: count, median, 95th percentile and largest of the seconds, by kind."""
        return {
            kind: {
                "count": len(seconds),
                "p50": float(np.percentile(seconds, 50)),
                "p95": float(np.percentile(seconds, 95)),
                "max": max(seconds),
            }
            for kind, seconds in sorted(self._seconds.items())
        }
