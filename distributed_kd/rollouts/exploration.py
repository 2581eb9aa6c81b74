"""Who drives which lane, how curious it is, and how a policy is sampled. The schedules are in `maths`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distributed_kd.data_config import BehaviourConfig


@dataclass(frozen=True)
class LanePlan:
    """One actor's lanes, those of one policy side by side.

    policy [N] int16, ascending: the number of the policy that drives each lane, 0 for the teacher. rung [N] float: the
    place of a teacher's lane on the epsilon ladder, 0 (most curious) to 1, over the lanes of all actors.
    """

    policy: NDArray[np.int16]
    rung: NDArray[np.float64]


def plan_lanes(behaviour: BehaviourConfig, drivers: Sequence[int], actors: int, envs_per_actor: int) -> list[LanePlan]:
    """Share all lanes out between the teacher and the students that drive, and deal them to the actors.

    drivers: the policy numbers of those students, from 1, ascending; they share evenly, and without any the teacher drives
    all lanes. Shares are rounded by largest remainder, so that with few lanes a driver may get none.
    """
    lanes = actors * envs_per_actor
    shares = [behaviour.teacher] + [behaviour.students / len(drivers)] * len(drivers) if drivers else [1.0]
    counts = _apportion(shares, lanes)
    policy = np.repeat([0, *drivers], counts).astype(np.int16)
    rung = np.zeros(lanes)
    rung[: counts[0]] = np.linspace(0.0, 1.0, counts[0])
    # Dealt like cards, so that every actor has its share of each policy and of the ladder.
    return [LanePlan(policy[actor::actors], rung[actor::actors]) for actor in range(actors)]


def sample_softmax(
    outputs: NDArray[np.float32], random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Actions [N] drawn from softmax(outputs), outputs [N, A], and the probability [N] of each.

    The best after Gumbel noise: Gumbel 1954; Maddison, Tarlow and Minka 2014, 1411.0030.
    """
    action = (outputs + random.gumbel(size=outputs.shape)).argmax(1)
    likelihood = np.exp(outputs.astype(np.float64) - outputs.max(1, keepdims=True))
    return action, likelihood[np.arange(len(action)), action] / likelihood.sum(1)


def _apportion(shares: list[float], lanes: int) -> list[int]:
    exact = np.array(shares) * lanes
    counts = np.floor(exact + 1e-9).astype(int)
    most_short = np.argsort(counts - exact, kind="stable")
    counts[most_short[: lanes - counts.sum()]] += 1
    return counts.tolist()
