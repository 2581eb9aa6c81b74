"""Networks by name, how they are built from a seed, and their parameters as one flat vector."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks.bodies import Body
from distributed_kd.networks.factory import Foreign, from_factory
from distributed_kd.networks.inputs import Image, Scaled
from distributed_kd.networks.plain import sizes_of
from distributed_kd.networks.q_network import PLAIN, QNetwork
from distributed_kd.networks.tree import TreeNetwork
from distributed_kd.records import EnvSpec

COMPILATIONS = 256
"""`compile_parts`: PyTorch gives up on a function after 8, and to it all networks are one; each takes about four"""


def build(config: NetworkConfig, spec: EnvSpec, seed: int = 0, head: HeadConfig = PLAIN) -> nn.Module:
    """A network from observations [B, *input_shape] to one output per action [B, A].

    Its initial parameters depend on `seed` alone, whatever else was built before; the caller's random state is kept.
    Raises ConfigurationError where the network does not fit the observations, or a factory gives none that can be used.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.is_tree:
            return TreeNetwork(config.depth, spec)
        return from_factory(config.kind, spec) if config.is_foreign else QNetwork(config, spec, head)


@torch.no_grad()
def layer_shapes(network: nn.Module, spec: EnvSpec) -> list[tuple[int, ...]]:
    """What one observation becomes in each hidden layer, first to last: (width,) or (channels, height, width)."""
    device = next(network.parameters()).device
    _, layers = network.trace(torch.zeros((1, *spec.input_shape), device=device))
    return [tuple(layer.shape[1:]) for layer in layers]


def common_input(networks: Sequence[nn.Module], spec: EnvSpec) -> Scaled:
    """The input part whose `prepared` observations suit all of these networks: that of the first that reads images."""
    modules = (module for network in networks for module in network.modules() if isinstance(module, Scaled))
    return next((module for module in modules if isinstance(module, Image)), Scaled(spec))


def compile_parts(network: nn.Module) -> None:
    """Let PyTorch compile its hidden layers, or all of a network of the user's own, when they are first called.

    Linear layers alone that train are left as they are: `plain` computes those, with nothing left to fuse. A copy of the
    network is not compiled.
    """
    if sizes_of(network):
        return
    limits = torch._dynamo.config
    limits.recompile_limit = limits.accumulated_recompile_limit = COMPILATIONS
    for module in network.modules():
        part = module.network if isinstance(module, Foreign) else module
        if part is not module or isinstance(module, Body):
            part.compile(dynamic=False)


def parameter_count(network: nn.Module) -> int:
    """Numbers that training sets."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def transfer(network: nn.Module, parameters: Mapping[str, NDArray[np.float32]]) -> list[str]:
    """Copy the parameters that fit, by name and shape, into a network; gives the names of those that did not, sorted."""
    own = dict(network.named_parameters())
    fitting = {name for name, one in own.items() if name in parameters and tuple(one.shape) == parameters[name].shape}
    # A weight and its bias are one layer: an output layer for other actions must not keep half of the old one.
    misfits = {_layer_of(name) for name in own if name not in fitting}
    new = sorted(name for name in own if _layer_of(name) in misfits)
    for name in fitting.difference(new):
        own[name].copy_(torch.tensor(parameters[name]))
    return new


def _layer_of(name: str) -> str:
    return name.rpartition(".")[0]


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
