"""The teacher: a DQN that learns from batches and tells its Q-values to whoever asks."""

import copy

import torch
from torch import Tensor, nn

from distributed_kd.learning.trainable import Trainable, as_one_vector
from distributed_kd.maths.temporal_difference import double_q_learning_target, q_learning_target, td_loss
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import State


class Teacher:
    """Deep Q-learning (Mnih et al. 2015) with a target network; double (van Hasselt et al. 2016) and n-step as set."""

    def __init__(self, network: nn.Module, config: TeacherConfig):
        self._double, self._target_update = config.double, config.target_update
        self._target = copy.deepcopy(network).requires_grad_(False)
        self._target_flat = as_one_vector(self._target)
        self._trained = Trainable(network, config.learning_rate, config.learning_rate_end, config.max_grad_norm)
        self.network = network
        self.updates = 0

    def update(
        self,
        observation: Tensor,
        action: Tensor,
        n_step_return: Tensor,
        discount: Tensor,
        next_observation: Tensor,
        progress: float,
    ) -> dict[str, Tensor]:
        """One DQN update from a batch: observation [B, *shape], the others as in `records.Batch`. Returns 0-d tensors."""
        with torch.no_grad():
            q_t = self._target(next_observation)
            if self._double:
                target = double_q_learning_target(q_t, self.network(next_observation), n_step_return, discount)
            else:
                target = q_learning_target(q_t, discount, n_step_return)
        q_tm1 = self.network(observation)
        loss = td_loss(q_tm1, action, target)
        norm = self._trained.step(loss, progress)
        self.updates += 1
        self._follow()
        return {"loss": loss.detach(), "grad_norm": norm, "q_mean": q_tm1.detach().mean()}

    @torch.no_grad()
    def targets(self, observation: Tensor) -> Tensor:
        """Q-values [B, A] as the teacher has them now; no gradient leads back to it."""
        return self.network(observation)

    @torch.no_grad()
    def _follow(self) -> None:
        """Bring the target network nearer: whole, every so many updates, or by a Polyak share at every one."""
        if self._target_update < 1:
            self._target_flat.lerp_(self._trained.flat, self._target_update)
        elif self.updates % int(self._target_update) == 0:
            self._target_flat.copy_(self._trained.flat)

    def state(self) -> State:
        target = {name: value.clone() for name, value in self._target.state_dict().items()}
        return {"trained": self._trained.state(), "target": target, "updates": self.updates}

    def restore(self, state: State) -> None:
        self._trained.restore(state["trained"])
        self._target.load_state_dict({name: torch.as_tensor(value) for name, value in state["target"].items()})
        self.updates = state["updates"]
