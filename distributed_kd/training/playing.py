"""Saved policies at play: what `evaluate` does."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import torch

from distributed_kd.config import RunConfig
from distributed_kd.envs.spec import make
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.records import EnvSpec
from distributed_kd.rollouts.evaluation import Played, play
from distributed_kd.rollouts.policies import Policies
from distributed_kd.run_file import nearest
from distributed_kd.storage.checkpoints import load_newest
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import policy_parameters, saved_normal
from distributed_kd.training.fitting import check_fits
from distributed_kd.training.given import parts_of


def play_saved(
    folder: RunFolder, config: RunConfig, spec: EnvSpec, policy: str, episodes: int, seed: int, video: Path | None
) -> Played:
    """Play full greedy episodes with a policy's newest saved weights; with `video`, record each into that folder.

    Raises ConfigurationError where the policy is unknown or nothing can be recorded, CheckpointError where none is whole.
    """
    _check(config, policy, episodes, seed)
    parts = parts_of(folder, config, spec)
    checkpoint = load_newest(folder.checkpoints_at(config.checkpoint.to))
    check_fits(checkpoint, parts)
    network = parts.networks()[policy]
    saved = policy_parameters(checkpoint.parts["learner"], policy)
    network.load_state_dict({key: torch.as_tensor(value) for key, value in saved.items()})
    policies = Policies({policy: network}, saved_normal(checkpoint.parts["learner"]))
    # A stream of its own: never the seeds of the run's rollouts or evaluations.
    seeds = np.random.SeedSequence(seed, spawn_key=parts.seed("evaluate").spawn_key).generate_state(episodes)
    envs = [
        _recorded(config, video, policy, number) if video else make(config.env, evaluation=True)
        for number in range(episodes)
    ]
    try:
        return play(envs, spec, lambda observation: policies.greedy(policy, observation), seeds)
    finally:
        for env in envs:
            env.close()


def _check(config: RunConfig, policy: str, episodes: int, seed: int) -> None:
    problems = []
    if policy not in config.policies:
        close = nearest(policy, config.policies)
        fix = f"Did you mean {close}?" if close else f"The policies are {', '.join(config.policies)}"
        problems.append(Problem("unknown policy", "policy", policy, "the run has none of this name", fix))
    if episodes < 1:
        problems.append(
            Problem("bad number of episodes", "episodes", episodes, "it must be at least 1", "Set --episodes 20")
        )
    if seed < 0:
        problems.append(Problem("bad seed", "seed", seed, "it must be at least 0", "Set --seed 0"))
    if problems:
        raise ConfigurationError.of(problems)


def _recorded(config: RunConfig, folder: Path, policy: str, number: int) -> gym.Env:
    try:
        return gym.wrappers.RecordVideo(
            make(config.env, evaluation=True, render_mode="rgb_array"),
            str(folder),
            episode_trigger=lambda _: True,
            name_prefix=f"{policy}-{number}",
            disable_logger=True,
        )
    except gym.error.DependencyNotInstalled as error:
        problem = Problem(
            "nothing can be recorded", "video", folder, str(error), 'Install it: pip install "distributed-kd[video]"'
        )
        raise ConfigurationError(problem) from error
