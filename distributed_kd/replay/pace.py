"""How many steps may be drawn for each step inserted. Pure arithmetic on counts; who waits, and how, is the loop's."""

import math
from dataclasses import dataclass

FREE = 2**62
"""A limit that is never reached."""


@dataclass(frozen=True)
class Pace:
    """Samples-per-insert limits in both directions, after Reverb's rate limiter (Cassirer et al. 2021, 2102.04736).

    Drawing may never run ahead of `samples_per_insert * inserted`, and inserting may run at most `slack` steps ahead of
    what has been drawn. So with inserting ended and the learner caught up the ratio is exact to one batch.
    """

    samples_per_insert: float
    warmup: int
    batch_size: int
    slack: int

    def batches(self, inserted: int, sampled: int) -> int:
        """Batches that may be drawn now."""
        if inserted < self.warmup:
            return 0
        if self.samples_per_insert == 0:
            return FREE
        # The small constant keeps a product such as 0.1 * 30 from falling just below a whole number of batches.
        return max(0, math.floor((inserted * self.samples_per_insert - sampled) / self.batch_size + 1e-9))

    def insert_limit(self, sampled: int) -> int:
        """How far the count of inserts may run now. It never falls as `sampled` grows."""
        if self.samples_per_insert == 0:
            return FREE
        return self.slack + max(self.warmup, math.floor(sampled / self.samples_per_insert))

    @classmethod
    def between(cls, samples_per_insert: float, warmup: int, batch_size: int, segment_steps: int, actors: int) -> "Pace":
        """A pace with room for two segments of every actor, and for the inserts that one batch waits for.

        Less would let the learner run dry while segments are made; more would only make the samples older.
        """
        one_batch = math.ceil(batch_size / samples_per_insert) if samples_per_insert else 0
        return cls(samples_per_insert, warmup, batch_size, 2 * actors * segment_steps + one_batch)
