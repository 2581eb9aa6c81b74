"""Saved policies at play: what `evaluate` does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from distributed_kd.config import RunConfig
from distributed_kd.envs.disturbed import Disturbed
from distributed_kd.envs.recorded import check_recordable, recorded, recording
from distributed_kd.envs.spec import make
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.records import RANDOM, EnvSpec
from distributed_kd.rollouts.evaluation import Act, Played, play
from distributed_kd.rollouts.policies import Policies
from distributed_kd.run_file import nearest
from distributed_kd.storage.checkpoints import load_newest
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import saved_normal
from distributed_kd.training import data_set
from distributed_kd.training.fitting import check_fits
from distributed_kd.training.given import parts_of
from distributed_kd.training.parts import Parts
from distributed_kd.training.saved_policies import saved_networks

EXACT = 0.0
"""No noise, or no sticky action"""


@dataclass(frozen=True)
class Asked:
    """What is to be played: each policy with each noise and each stickiness, every time on the same seeds."""

    policies: Sequence[str]
    against: str | None = None
    """the policy that each of them is compared with"""
    episodes: int = 20
    seed: int = 0
    noise: Sequence[float] = (EXACT,)
    """of observations: in standard deviations of each of their numbers, of bytes in their range"""
    sticky: Sequence[float] = (EXACT,)
    """probabilities that the action before is taken again"""
    video: Path | None = None
    """folder for a recording of every episode"""


@dataclass(frozen=True)
class Score:
    """How one policy played."""

    policy: str
    noise: float
    sticky: float
    played: Played
    against: Played | None = None
    """the same episodes, played by the policy that it is compared with"""


def play_saved(folder: RunFolder, config: RunConfig, spec: EnvSpec, asked: Asked) -> list[Score]:
    """Play full greedy episodes with a run's newest saved weights.

    Raises ConfigurationError where a policy is unknown, a number is none that can be or nothing can be recorded,
    CheckpointError where no checkpoint is whole or a policy is not in it, StorageError where recordings cannot be written.
    """
    _check(config, asked)
    if asked.video:
        check_recordable(config.env, asked.video)
    checkpoint = load_newest(folder.checkpoints_at(config.checkpoint.to))
    parts = parts_of(folder, config, spec)
    check_fits(checkpoint, parts)
    names = list(dict.fromkeys([*asked.policies, *([asked.against] if asked.against else [])]))
    learner, are_bytes = checkpoint.parts["learner"], spec.observation_dtype == "uint8"
    policies = Policies(saved_networks(parts, learner, names), saved_normal(learner))
    deviation = data_set.spread(config, spec, checkpoint.parts) if any(asked.noise) and not are_bytes else None
    stage = _Stage(parts, asked, policies, deviation)
    scores = []
    for noise, sticky in product(asked.noise, asked.sticky):
        played = {name: stage.play(name, noise, sticky) for name in names}
        against = played[asked.against] if asked.against else None
        scores += [Score(name, noise, sticky, played[name], against) for name in asked.policies]
    return scores


class _Stage:
    """The environments that policies are played in, all on the same seeds."""

    def __init__(self, parts: Parts, asked: Asked, policies: Policies, deviation: NDArray[np.float64] | None):
        """`deviation` that a noise of 1 has, of each number of an observation; None: the range of bytes, or no noise."""
        self._env, self._spec = parts.config.env, parts.spec
        self._policies, self._deviation, self._video = policies, deviation, asked.video
        # Streams of their own: never the seeds of the run's rollouts or evaluations.
        seeds, self._random = (
            np.random.SeedSequence(asked.seed, spawn_key=parts.seed(*name).spawn_key)
            for name in (("evaluate",), ("evaluate", RANDOM))
        )
        self._seeds = seeds.generate_state(asked.episodes)

    def play(self, name: str, noise: float, sticky: float) -> Played:
        act = self._act(name)
        if self._video is None:
            return self._played([self._disturbed(make(self._env, evaluation=True), noise, sticky) for _ in self._seeds],
                                act, self._seeds)  # fmt: skip
        told = "".join(f"-{what}{value:g}" for what, value in (("noise", noise), ("sticky", sticky)) if value)
        one_by_one = []
        for number, seed in enumerate(self._seeds):  # an episode's pictures are held until it is over
            with recording(self._video):
                env = recorded(self._env, self._video, f"{name}{told}-{number}")
                one_by_one.append(self._played([self._disturbed(env, noise, sticky)], act, [seed]))
        returns, lengths = [one.returns[0] for one in one_by_one], [one.lengths[0] for one in one_by_one]
        return Played(tuple(returns), tuple(lengths), np.empty(0))

    def _act(self, name: str) -> Act:
        if name != RANDOM:
            return lambda observation: self._policies.greedy(name, observation)
        random = np.random.default_rng(self._random)
        return lambda observation: random.integers(0, self._spec.actions, len(observation))

    def _disturbed(self, env: gym.Env, noise: float, sticky: float) -> gym.Env:
        if not (noise or sticky):
            return env
        unit = env.observation_space.high.max() if self._deviation is None else self._deviation
        return Disturbed(env, noise * unit if noise else 0.0, sticky)

    def _played(self, envs: list[gym.Env], act: Act, seeds: Sequence[int]) -> Played:
        try:
            return play(envs, self._spec, act, seeds)
        finally:
            for env in envs:
                env.close()


def _check(config: RunConfig, asked: Asked) -> None:
    known = [*config.policies, RANDOM]
    problems = []
    for key, names in (("policy", asked.policies), ("against", [asked.against] if asked.against is not None else [])):
        for name in names:
            if name not in known:
                close = nearest(name, known)
                fix = f"Did you mean {close}?" if close else f"The policies are {', '.join(known)}"
                problems.append(Problem("unknown policy", key, name, "the run has none of this name", fix))
    if asked.episodes < 1:
        why, fix = "it must be at least 1", "Set --episodes 20"
        problems.append(Problem("bad number of episodes", "episodes", asked.episodes, why, fix))
    if asked.seed < 0:
        problems.append(Problem("bad seed", "seed", asked.seed, "it must be at least 0", "Set --seed 0"))
    for value in asked.noise:
        if not 0.0 <= value < math.inf:
            why, fix = "it must be a finite number of at least 0", "Set --observation-noise 0.05"
            problems.append(Problem("bad noise", "observation-noise", value, why, fix))
    for value in asked.sticky:
        if not 0.0 <= value < 1.0:
            why, fix = "it must be a probability below 1", "Set --sticky-actions 0.25"
            problems.append(Problem("bad stickiness", "sticky-actions", value, why, fix))
    if problems:
        raise ConfigurationError.of(problems)
