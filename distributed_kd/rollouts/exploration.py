"""Who drives which lane, and how curious it is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distributed_kd.config import BehaviourConfig


@dataclass(frozen=True)
class LanePlan:
    """One actor's lanes, those of one policy side by side.

    policy [N] int16, ascending: the number of the policy that drives each lane, 0 for the teacher. rung [N] float: the
    place of a teacher's lane on the epsilon ladder, 0 (most curious) to 1, over the lanes of all actors.
    """

    policy: NDArray[np.int16]
    rung: NDArray[np.float64]


def plan_lanes(behaviour: BehaviourConfig, students: int, actors: int, envs_per_actor: int) -> list[LanePlan]:
    """Share all lanes out between the teacher and its students by largest remainder, and deal them to the actors."""
    lanes = actors * envs_per_actor
    shares = [behaviour.teacher] + [behaviour.students / students] * students if students else [1.0]
    counts = _apportion(shares, lanes)
    policy = np.repeat(np.arange(len(counts)), counts).astype(np.int16)
    rung = np.zeros(lanes)
    rung[: counts[0]] = np.linspace(0.0, 1.0, counts[0])
    # Dealt like cards, so that every actor has its share of each policy and of the ladder.
    return [LanePlan(policy[actor::actors], rung[actor::actors]) for actor in range(actors)]


def _apportion(shares: list[float], lanes: int) -> list[int]:
    exact = np.array(shares) * lanes
    counts = np.floor(exact + 1e-9).astype(int)
    most_short = np.argsort(counts - exact, kind="stable")
    counts[most_short[: lanes - counts.sum()]] += 1
    return counts.tolist()
