"""Networks by name, how they are built from a seed, and their parameters as one flat vector."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distributed_kd.networks.mlp import MLP
from distributed_kd.policy_config import NetworkConfig
from distributed_kd.records import EnvSpec


def build(config: NetworkConfig, spec: EnvSpec, seed: int = 0, dueling: bool = False) -> nn.Module:
    """A network from observations [B, *shape] to one output per action [B, A].

    Its initial parameters depend on `seed` alone, whatever else was built before; the caller's random state is kept.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MLP(int(np.prod(spec.observation_shape)), config.hidden, spec.actions, dueling)


def parameter_count(network: nn.Module) -> int:
    """Numbers that training sets."""
    return sum(parameter.numel() for parameter in network.parameters())


def to_flat(network: nn.Module) -> NDArray[np.float32]:
    """A copy of all parameters as one float32 vector [P], in the order of `parameters()`."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in network.parameters()]).cpu().numpy()


@torch.no_grad()
def load_flat(network: nn.Module, flat: NDArray[np.float32]) -> None:
    """Copy a vector [P] from `to_flat` into the parameters. Raises ValueError where the sizes differ."""
    if flat.shape != (parameter_count(network),):
        raise ValueError(f"a vector of {flat.shape} does not fit a network of {parameter_count(network)} parameters")
    start = 0
    for parameter in network.parameters():
        part = flat[start : start + parameter.numel()]
        # Arrays out of Ray are read-only; torch.tensor copies, where from_numpy would warn and share.
        parameter.copy_(torch.tensor(part).view_as(parameter))
        start += parameter.numel()
