"""RLlib's DQN on CartPole-v1 with its defaults (new API stack, prioritised episodes), as a contender."""

import os

from distributed_kd.bench.contenders import Baton

ENVS = 8
"""environments of each runner"""
BATCH_SIZE = 32
CAPACITY, ALPHA, BETA = 50_000, 0.6, 0.4
HIDDEN = (256, 256)
LEARNING_RATE = 5e-4
TARGET_EVERY = 500
"""environment steps between two copies to the target network"""
EPSILON = 0.05
"""its end value, from the start: what is measured is the rate while it learns"""


def train(baton: Baton, runners: int) -> None:
    """Train until told to end, with so many remote runners, 0 = one in this process; a beat is one of its iterations.

    Raises ImportError where a package is missing.
    """
    _hush()
    import ray
    from ray.rllib.algorithms.dqn import DQNConfig

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="error")
    config = (
        DQNConfig()
        .environment("CartPole-v1")
        .framework("torch")
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=ENVS)
        .training(epsilon=EPSILON)
    )
    algorithm = config.build_algo()
    updates = 0
    update = algorithm.learner_group.update

    def counted(*arguments: object, **named: object):
        nonlocal updates
        updates += 1
        return update(*arguments, **named)

    algorithm.learner_group.update = counted
    goes_on = True
    while goes_on:
        steps = algorithm.train()["num_env_steps_sampled_lifetime"]
        goes_on = updates < 2 or baton.beat(int(steps), updates)
    algorithm.stop()
    ray.shutdown()


def _hush() -> None:
    """Its warnings, and what its actors write, are nothing that whoever reads the benchmark can use."""
    import logging
    import warnings

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
