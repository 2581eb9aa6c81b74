"""What a run takes of each of its parts, from what a step, a segment and an update cost them. Pure arithmetic.

A part is busy for the sum of what it does, and a run is as fast as the part allows that is busy all the time. That parts
wait for each other is not in it: calls are under way ahead, so that while one is answered the next one is there already.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

PARTS = ("rollouts", "driver", "ray", "replay", "learner")
"""Of a run: its actors, the loop that drives them, and Ray's own processes on each machine"""
ALL_CORES = "all cores of the machine"


@dataclass(frozen=True)
class Size:
    """How large a run is, as far as the model knows it."""

    actors: int
    segment_steps: int
    """environment steps in a segment"""
    updates_per_step: float
    """updates for each environment step; 0: it only acts"""
    shards: int = 1
    cores: float = math.inf
    """that all parts share; infinity where each has one of its own"""


@dataclass(frozen=True)
class Usage:
    """What a run did in a while, and the seconds of a core that each part took for it."""

    seconds: float
    env_steps: float
    segments: float
    updates: float
    cores: Mapping[str, float]


@dataclass(frozen=True)
class Cost:
    """Seconds of a core that a part takes."""

    per_step: float = 0.0
    per_segment: float = 0.0
    per_update: float = 0.0

    def of_a_step(self, size: Size) -> float:
        """With its share of a segment and of the updates that are done for it."""
        return self.per_step + self.per_segment / size.segment_steps + self.per_update * size.updates_per_step


@dataclass(frozen=True)
class Model:
    """What each part costs, and how long a rollout waits for its environment, in seconds for an environment step."""

    costs: Mapping[str, Cost]
    waits: float = 0.0

    def limits(self, size: Size) -> dict[str, float]:
        """Environment steps a second at which each part is busy all the time."""
        each = {part: self.costs[part].of_a_step(size) for part in PARTS}
        several = {"rollouts": size.actors, "replay": size.shards}
        taken = {**each, "rollouts": each["rollouts"] + self.waits}
        limits = {part: several.get(part, 1) / seconds if seconds else math.inf for part, seconds in taken.items()}
        together = sum(each.values())
        return {**limits, ALL_CORES: size.cores / together if together else math.inf}

    def first(self, size: Size) -> tuple[str, float]:
        """The part that is busy all the time first, and the environment steps a second of the run then."""
        return min(self.limits(size).items(), key=lambda limit: limit[1])


def fitted(runs: Sequence[Usage]) -> dict[str, Cost]:
    """What each part costs, so that the runs come out as nearly as can be with no cost below 0: at least three of them that
    differ in the size of segments and in updates. The longest counts no more than the others."""
    did = np.array([(run.env_steps, run.segments, run.updates) for run in runs], float)
    whole = did[:, :1]
    taken = {part: [run.cores[part] / run.env_steps for run in runs] for part in PARTS}
    return {part: Cost(*map(float, nnls(did / whole, seconds)[0])) for part, seconds in taken.items()}
