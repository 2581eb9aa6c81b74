"""The states on which an exported file is compared with its policy: those that the run has seen, and others near them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distributed_kd.envs.spec import make
from distributed_kd.exports.saved import Saved
from distributed_kd.rollouts.evaluation import play
from distributed_kd.training import data_set

COUNT = 10_000
BATCH = 256
"""States that are worked on at once: of images, 10,000 as float32 would take a gigabyte"""
EXCHANGED = 0.1
"""Share of a perturbed state's numbers that come from another state"""
NOISE = 0.1
"""Standard deviation of the noise on numbers that are no bytes, as a share of each one's spread over all states"""


@dataclass(frozen=True, eq=False)
class States:
    """Observations [N, *input_shape]; those behind the first `seen` are perturbed ones."""

    observations: NDArray
    seen: int


def draw_states(saved: Saved, count: int = COUNT) -> States:
    """So many states: of the run's replay or, where it saved none, of greedy episodes; filled up with perturbed ones."""
    random = np.random.default_rng(saved.parts.seed("export"))
    replay = saved.checkpoint.parts.get("replay")
    seen = data_set.replayed(replay, saved.spec, count, random) if replay else np.empty(0)
    if not len(seen):
        seen = _played(saved, count, random)
    return States(np.concatenate([seen, perturbed(seen, count - len(seen), random)]), len(seen))


def perturbed(seen: NDArray, count: int, random: np.random.Generator) -> NDArray:
    """So many states near those that were seen [N, ...]: each one of them with numbers of another, floats with noise."""
    made = np.empty((count, *seen.shape[1:]), seen.dtype)
    spread = seen.std(0) if seen.dtype.kind == "f" else None
    for start in range(0, count, BATCH):
        rows = made[start : start + BATCH]
        one, other = (seen[random.integers(len(seen), size=len(rows))] for _ in range(2))
        rows[:] = np.where(random.random(one.shape, np.float32) < EXCHANGED, other, one)
        if spread is not None:
            rows += NOISE * spread * random.standard_normal(one.shape, np.float32)
    return made


def _played(saved: Saved, count: int, random: np.random.Generator) -> NDArray:
    """At most so many states of as many episodes as an evaluation of the run has."""
    act, seeds = saved.outputs(), random.integers(0, 2**32, saved.config.evaluation.episodes).tolist()
    envs = [make(saved.config.env, evaluation=True) for _ in seeds]
    try:
        return play(envs, saved.spec, lambda seen: act(seen).argmax(1), seeds, keep=count).observations
    finally:
        for env in envs:
            env.close()
