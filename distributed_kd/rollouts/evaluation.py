"""Full greedy episodes on seeds of their own: scores, agreement with the teacher, time per decision."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distributed_kd.config import EnvConfig
from distributed_kd.envs.faults import checked, checked_reward, fault_of
from distributed_kd.envs.progress import begin
from distributed_kd.envs.spec import make
from distributed_kd.errors import EnvironmentFault
from distributed_kd.maths.targets import action_gap
from distributed_kd.records import RANDOM, EnvSpec, Evaluation, Fault, PolicyScore, Weights
from distributed_kd.rollouts.frames import Frames
from distributed_kd.rollouts.policies import Policies

HELD_OUT_STATES = 1_000
TIMED_DECISIONS = 300
MOST_FAULTS = 10
"""Environments that may fail while one policy plays its episodes"""

Act = Callable[[NDArray], NDArray[np.int64]]


@dataclass(frozen=True)
class Played:
    """Episodes of one policy: returns [E], lengths [E], and some of the observations that it acted on [S, *input_shape]."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    observations: NDArray
    faults: tuple[Fault, ...] = ()


def play(
    envs: list[gym.Env],
    spec: EnvSpec,
    act: Act,
    seeds: Sequence[int],
    keep: int = 0,
    remake: Callable[[], gym.Env] | None = None,
) -> Played:
    """Play one whole episode in each environment, all side by side, with true rewards and the environment's own ends.

    Up to `keep` of the observations are kept, drawn uniformly from all, without order. Where an environment fails, its
    episode is played again from the beginning in one that `remake` makes, which takes its place in `envs`. Raises
    EnvironmentFault where there is no `remake`, where that one cannot begin either, or once MOST_FAULTS have failed.
    """
    frames, kept = Frames(spec, len(envs)), _Sample(keep, seeds)
    now = np.zeros((len(envs), *spec.observation_shape), spec.observation_dtype)
    faults: list[Fault] = []

    def begun(lane: int) -> NDArray:
        begin()
        return checked(envs[lane].reset(seed=int(seeds[lane]))[0], now[lane])

    def begun_again(lane: int, error: Exception) -> NDArray:
        fault = fault_of(error, lane, int(seeds[lane]), steps=0)
        if remake is None or len(faults) == MOST_FAULTS:
            raise _failed(fault) from error
        faults.append(fault)
        with suppress(Exception):  # it is broken already, and nothing more is asked of it
            envs[lane].close()
        envs[lane] = remake()
        try:
            return begun(lane)
        except Exception as again:  # whatever the user's environment raises
            raise _failed(fault_of(again, lane, int(seeds[lane]), steps=0)) from again

    for lane in range(len(envs)):
        try:
            now[lane] = begun(lane)
        except Exception as error:  # whatever the user's environment raises
            now[lane] = begun_again(lane, error)
    frames.begin(now)
    returns, lengths = np.zeros(len(envs)), np.zeros(len(envs), np.int64)
    playing = np.arange(len(envs))
    while len(playing):
        observation = frames.seen[playing]
        kept.take(observation)
        ended, again = np.zeros(len(playing), np.bool_), []
        for place, (lane, action) in enumerate(zip(playing, act(observation), strict=True)):
            begin()
            try:
                seen, reward, terminated, truncated, _ = envs[lane].step(int(action) + spec.action_start)
                now[lane], reward = checked(seen, now[lane]), checked_reward(reward)
            except Exception as error:  # whatever the user's environment raises
                now[lane] = begun_again(lane, error)
                returns[lane] = lengths[lane] = 0
                again.append(lane)
                continue
            returns[lane] += reward
            lengths[lane] += 1
            ended[place] = terminated or truncated
        frames.push(now)
        if again:
            frames.begin(now[again], np.array(again))
        playing = playing[~ended]
    return Played(tuple(returns.tolist()), tuple(lengths.tolist()), kept.observations(), tuple(faults))


def _failed(fault: Fault) -> EnvironmentFault:
    """The end of an evaluation, with the seed to find the fault again."""
    return EnvironmentFault(f"the environment failed (seed={fault.seed}): in an evaluation, {fault.why}. Mend it")


def decision_times(deciding: Mapping[str, Callable[[NDArray], object]], observations: NDArray) -> dict[str, float]:
    """Median microseconds of one decision for one of the observations [N, *input_shape], on one thread, of each.

    They take turns, so that whatever else the machine does for a while falls on all of them.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        taken: dict[str, list[float]] = {name: [] for name in deciding}
        for turn in range(TIMED_DECISIONS):
            one = observations[turn % len(observations)][None]
            for name, decide in deciding.items():
                began = time.perf_counter()
                decide(one)
                taken[name].append(time.perf_counter() - began)
        return {name: float(np.median(times) * 1e6) for name, times in taken.items()}
    finally:
        torch.set_num_threads(threads)


class _Sample:
    """Up to `size` of all observations that come by, each as likely as any other: those with the smallest random keys."""

    def __init__(self, size: int, seeds: Sequence[int]):
        self._size, self._random = size, np.random.default_rng(np.asarray(seeds))
        self._keys, self._kept, self._bound = np.empty(0), [], 1.0

    def take(self, observations: NDArray) -> None:
        keys = self._random.random(len(observations))
        chosen = np.flatnonzero(keys < self._bound) if self._size else ()
        self._kept += [observations[place].copy() for place in chosen]
        self._keys = np.append(self._keys, keys[chosen]) if len(chosen) else self._keys
        if len(self._kept) > 2 * self._size:
            self._prune()

    def _prune(self) -> None:
        places = np.argsort(self._keys)[: self._size]
        self._keys, self._kept = self._keys[places], [self._kept[place] for place in places]
        self._bound = float(self._keys[-1]) if self._size and len(places) == self._size else 1.0

    def observations(self) -> NDArray:
        self._prune()
        return np.stack(self._kept) if self._kept else np.empty(0)


class Evaluator:
    """Scores all policies of a run, the random one among them, on the same seeds.

    Evaluations while training share one set of seeds; the last one, which is reported, has a set that nothing was chosen on.
    """

    def __init__(
        self,
        *,
        env: EnvConfig,
        spec: EnvSpec,
        networks: Mapping[str, nn.Module],
        episodes: int,
        seed: np.random.SeedSequence,
    ):
        self._spec = spec
        self._policies = Policies(networks)
        self._make = partial(make, env, evaluation=True)
        self._envs = [self._make() for _ in range(episodes)]
        self._faults: list[Fault] = []
        progress, final = seed.spawn(2)
        self._seeds = {False: progress.generate_state(episodes), True: final.generate_state(episodes)}
        self._random_scores: dict[bool, PolicyScore] = {}

    def evaluate(self, weights: Weights, final: bool) -> Evaluation:
        """Play every policy; `final` takes the held-out seeds and also times decisions on one CPU thread."""
        began = time.perf_counter()
        self._policies.load(weights)
        seeds = self._seeds[final]
        teacher = self._play("teacher", seeds, keep=HELD_OUT_STATES)
        held_out = teacher.observations
        taught = self._policies.outputs("teacher", held_out)
        gaps = action_gap(torch.from_numpy(taught)).double().numpy()
        deciding = {name: partial(self._policies.greedy, name) for name in self._policies.names}
        microseconds = decision_times(deciding, held_out) if final else {}
        scores = {RANDOM: self._random_score(final)}
        for name in self._policies.names:
            played = teacher if name == "teacher" else self._play(name, seeds)
            agrees = self._policies.greedy(name, held_out) == taught.argmax(1)
            scores[name] = PolicyScore(
                played.returns,
                played.lengths,
                weights.version,
                agreement=float(agrees.mean()),
                gap_weighted_agreement=float(np.average(agrees, weights=gaps if gaps.any() else None)),
                decision_microseconds=microseconds.get(name, float("nan")),
            )
        faults, self._faults = tuple(self._faults), []
        return Evaluation(weights.version, time.perf_counter() - began, scores, weights.flat["teacher"], faults)

    def _play(self, name: str, seeds: NDArray, keep: int = 0) -> Played:
        return self._played(lambda observation: self._policies.greedy(name, observation), seeds, keep)

    def _played(self, act: Act, seeds: NDArray, keep: int = 0) -> Played:
        played = play(self._envs, self._spec, act, seeds, keep, self._make)
        self._faults += played.faults
        return played

    def _random_score(self, final: bool) -> PolicyScore:
        if final not in self._random_scores:
            random = np.random.default_rng(self._seeds[final])
            played = self._played(lambda seen: random.integers(0, self._spec.actions, len(seen)), self._seeds[final])
            self._random_scores[final] = PolicyScore(played.returns, played.lengths, version=-1)
        return self._random_scores[final]

    def close(self) -> None:
        for env in self._envs:
            env.close()
