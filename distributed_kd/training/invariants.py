"""What must hold of a run's data whatever fails, checked while it runs: a comparison or two for each event.

I1  of each incarnation of a rollout every segment comes once, but for those in flight when it ended
I2  nothing is accepted from an incarnation that was fenced off, and all else is
I3  steps inserted = held + evicted; steps drawn = updates * batch
I4  no episode goes on behind its end: the replay takes no such segment, and counts its steps
I5  updates rise, each told once, but for a rollback
I6  the versions of the weights that a rollout plays with rise, but for a rollback
I7  teacher and students go on from where the checkpoint has them, all of one moment
I9  a run that joined a cluster leaves nothing of itself there

That the inline runner repeats itself to the bit (I8) takes two runs to see, and is left to the tests.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from distributed_kd.records import EpisodeStats, LearnerReport, Receipt
from distributed_kd.replay.segments import STITCHED

NAMES = ("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I9")


@dataclass
class _Life:
    """What came of one incarnation of a rollout."""

    first: int
    last: int
    version: int
    segments: int = 0


class Invariants:
    """Counts how often each was found broken."""

    def __init__(self) -> None:
        self._broken: Counter[str] = Counter()
        self._updates = self._newest = 0  # those told one by one, and what the newest report says there are
        self._lives: dict[tuple[int, int], _Life] = {}

    def check(self, name: str, holds: bool) -> None:
        self._broken[name] += not holds

    def collected(self, stats: EpisodeStats) -> None:
        name = stats.actor, stats.incarnation
        life = self._lives.setdefault(name, _Life(stats.sequence, stats.sequence, stats.version))
        life.first, life.last = min(life.first, stats.sequence), max(life.last, stats.sequence)
        life.segments += 1
        self.check("I6", stats.version >= life.version)
        life.version = stats.version

    def counted(self, receipt: Receipt) -> None:
        self.check("I3", receipt.inserted == receipt.size + receipt.evicted)
        self._broken["I4"] = max(self._broken["I4"], receipt.dropped.get(STITCHED, 0))

    def learned(self, report: LearnerReport) -> None:
        self._updates += report.done
        self._newest = max(self._newest, report.updates)
        # An answer that was lost on the way and sent again comes behind a later one: for so long there are too few.
        self.check("I5", self._updates <= self._newest)

    def went_to(self, updates: int) -> None:
        """The run goes on from so many updates, as a checkpoint has them."""
        self._updates = self._newest = updates

    def resumed(self, updates: Mapping[str, int], learner: Mapping | None) -> None:
        """Networks, by name, of so many updates each, go on from a learner's state, None: from the beginning.

        A student that joins is not in it, and has none.
        """
        saved = {"teacher": learner["teacher"], **learner["students"]} if learner else {}
        self.check("I7", all(count == (saved[name]["updates"] if name in saved else 0) for name, count in updates.items()))

    def ended(self, receipt: Receipt, updates: int, batch_size: int) -> None:
        """Nothing is under way any more."""
        self.check("I3", not receipt.inserted or receipt.sampled == updates * batch_size)
        self.check("I5", self._updates == self._newest == updates)

    def told(self) -> dict[str, int]:
        """How often each was broken, as the summary tells it."""
        gaps = sum(abs(life.last - life.first + 1 - life.segments) for life in self._lives.values())
        return {**{name: self._broken[name] for name in NAMES}, "I1": gaps}
