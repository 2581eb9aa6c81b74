"""Rollouts with policies whose actions can be foretold, and what their segments say, read row by row."""

import copy

import numpy as np
import torch

from distributed_kd import networks
from distributed_kd.config import EnvConfig
from distributed_kd.data_config import BehaviourConfig, RolloutsConfig
from distributed_kd.envs.spec import read_spec
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.policy_config import ExplorationConfig
from distributed_kd.records import Weights
from distributed_kd.rollouts.exploration import LanePlan
from distributed_kd.rollouts.rollout import Rollout

CARTPOLE = EnvConfig("CartPole-v1")
WALK = EnvConfig("Walk-v0", {"actions": 5})


def policies(spec, *names, hidden=(8,), seed=0, noisy=False):
    """Networks by name, each from a seed of its own; `noisy`: the first one explores by noise on its weights."""
    heads = {names[0]: HeadConfig(noisy=noisy)}
    return {
        name: networks.build(NetworkConfig(hidden=hidden), spec, seed + number, heads.get(name, HeadConfig()))
        for number, name in enumerate(names)
    }


def weights_of(named, version=0, normal=None):
    return Weights(version, {name: networks.to_flat(network) for name, network in named.items()}, normal)


def blank(named):
    """Networks of the same shapes that know nothing: what actors are built with before the first weights come."""
    return {name: constant(copy.deepcopy(network), 0) for name, network in named.items()}


def constant(network, action):
    """The network, now preferring that action everywhere."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.advantage.bias[action] = 1.0
    return network


def build_rollout(
    env=WALK,
    *,
    plan=(0, 0, 0, 1, 1, 2),
    rung=None,
    steps=8,
    seed=0,
    actor=0,
    incarnation=0,
    gamma=0.9,
    start=1.0,
    end=0.05,
    fraction=0.2,
    ladder=1.0,
    student_epsilon=0.02,
    beta=(0.0, 0.0, 0.5),
    sampled=(),
    named=None,
    repeatable=True,
):
    """A rollout of a teacher and two students, and weights for it; beta is (start, end, fraction)."""
    spec = read_spec(env)
    named = named or policies(spec, "teacher", "large", "small")
    rollout = Rollout(
        env=env,
        spec=spec,
        networks=blank(named),
        plan=LanePlan(np.array(plan, np.int16), np.array(rung or np.zeros(len(plan)), float)),
        rollouts=RolloutsConfig(
            steps_per_segment=steps,
            envs_per_actor=len(plan),
            behaviour=BehaviourConfig(0.5, 0.5, *beta),
            student_epsilon=student_epsilon,
        ),
        exploration=ExplorationConfig(start, end, fraction, ladder),
        gamma=gamma,
        seed=np.random.SeedSequence(seed),
        actor=actor,
        incarnation=incarnation,
        sampled=frozenset(sampled),
        repeatable=repeatable,
    )
    return rollout, weights_of(named)


def of_lanes(segment, steps, *names):
    """Columns of a segment's steps, each [N, T]."""
    return [getattr(segment, name)[segment.is_step].reshape(-1, steps) for name in names]


def pieces(segment):
    """The rows up to each row that is no step, that one included: (rows of one lane's part of an episode)."""
    closing = np.flatnonzero(~segment.is_step)
    return np.split(np.arange(len(segment.is_step)), closing[:-1] + 1)


def content(collected):
    """All that is in a segment and its account as bytes, but when it was made and the time that it took."""
    segment, stats = collected
    account = {f"stats.{name}": value for name, value in vars(stats).items() if name not in ("started", "seconds")}
    values = {**vars(segment), **account}
    return {
        name: (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }
