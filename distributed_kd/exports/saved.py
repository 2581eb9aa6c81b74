"""A policy as the newest checkpoint of its run holds it, and the one module that is deployed of it."""

import logging
from dataclasses import dataclass

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distributed_kd.config import RunConfig
from distributed_kd.errors import CheckpointError, Problem
from distributed_kd.maths.normalisation import normalised
from distributed_kd.records import EnvSpec
from distributed_kd.rollouts.policies import Act, Policies
from distributed_kd.storage.checkpoints import Checkpoint, load_newest
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import saved_normal
from distributed_kd.training.fitting import check_fits
from distributed_kd.training.given import parts_of
from distributed_kd.training.parts import Parts
from distributed_kd.training.saved_policies import saved_networks

logger = logging.getLogger(__name__)


class Deployed(nn.Module):
    """A network and what stands before it: from observations as the environment gives them to one output per action."""

    def __init__(self, network: nn.Module, normal: NDArray | None):
        """`normal` [2, *observation_shape]: mean and standard deviation that it sees observations by; None: as they are."""
        super().__init__()
        self.network = network
        self.register_buffer("normal", None if normal is None else torch.tensor(normal))

    def forward(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> [B, A]."""
        return self.network(observation if self.normal is None else normalised(observation, self.normal))


@dataclass(frozen=True, eq=False)
class Saved:
    """A policy of a run, and all that is known of it."""

    run: str
    """the name of the run's folder"""
    name: str
    config: RunConfig
    spec: EnvSpec
    parts: Parts
    checkpoint: Checkpoint
    network: nn.Module
    normal: NDArray | None

    @property
    def origin(self) -> str:
        return f"{self.run}:{self.name}"

    def outputs(self) -> Act:
        """As `evaluate` plays it: observations [N, *input_shape] -> outputs [N, A]."""
        policies = Policies({self.name: self.network}, self.normal)
        return lambda observations: policies.outputs(self.name, observations)

    def deployed(self) -> Deployed:
        return Deployed(self.network, self.normal).eval()


def read_saved(folder: RunFolder, config: RunConfig, spec: EnvSpec, name: str) -> Saved:
    """Read a policy of a run. Raises CheckpointError where no checkpoint is whole, or its parameters are not finite."""
    checkpoint = load_newest(folder.checkpoints_at(config.checkpoint.to))
    for line in checkpoint.skipped:
        logger.warning("warning: a damaged checkpoint was passed over: %s", line)
    parts = parts_of(folder, config, spec)
    check_fits(checkpoint, parts)
    learner = checkpoint.parts["learner"]
    network = saved_networks(parts, learner, [name])[name].eval().requires_grad_(False)
    wrong = [key for key, value in network.state_dict().items() if not torch.isfinite(value).all()]
    if wrong:
        why, fix = f"its {wrong[0]} is not finite", "Export it as it was before it diverged, from an older copy of the run"
        raise CheckpointError(Problem("the policy cannot be used", "policy", name, why, fix))
    return Saved(folder.path.resolve().name, name, config, spec, parts, checkpoint, network, saved_normal(learner))
