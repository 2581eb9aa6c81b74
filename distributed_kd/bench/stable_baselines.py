"""Stable-Baselines3's DQN on CartPole-v1 with rl-baselines3-zoo's settings, as a contender."""

from distributed_kd.bench.contenders import Baton

HIDDEN = (256, 256)
BATCH_SIZE = 64
CAPACITY = 100_000
LEARNING_RATE = 2.3e-3
TRAIN_EVERY, UPDATES = 256, 128
"""environment steps between two rounds of learning, and updates in each"""
EPSILON = 0.04
"""the settings' end value, from the start: what is measured is the rate while it learns"""
LEARNING_STARTS = 1_000


def train(baton: Baton) -> None:
    """Train until told to end, on one thread of PyTorch. Raises ImportError where the package is missing."""
    import torch
    from stable_baselines3 import DQN
    from stable_baselines3.common.callbacks import BaseCallback

    torch.set_num_threads(1)

    class Beats(BaseCallback):
        """A beat before each round of collecting."""

        goes_on = True

        def _on_rollout_start(self) -> None:
            if self.model._n_updates:
                self.goes_on = baton.beat(self.num_timesteps, self.model._n_updates)

        def _on_step(self) -> bool:
            return self.goes_on

    model = DQN(
        "MlpPolicy",
        "CartPole-v1",
        learning_rate=LEARNING_RATE,
        batch_size=BATCH_SIZE,
        buffer_size=CAPACITY,
        learning_starts=LEARNING_STARTS,
        gamma=0.99,
        target_update_interval=10,
        train_freq=TRAIN_EVERY,
        gradient_steps=UPDATES,
        exploration_initial_eps=EPSILON,
        exploration_final_eps=EPSILON,
        policy_kwargs={"net_arch": list(HIDDEN)},
        device="cpu",
    )
    model.learn(10**9, callback=Beats())
