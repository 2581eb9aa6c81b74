"""Fully connected networks by their widths alone."""

from torch import nn

from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks.q_network import QNetwork
from distributed_kd.records import EnvSpec


def MLP(inputs: int, hidden: tuple[int, ...], actions: int, dueling: bool = False) -> nn.Module:
    """The network `mlp` for observations of that many numbers, from PyTorch's own random state."""
    spec = EnvSpec("", (inputs,), "float32", actions)
    return QNetwork(NetworkConfig(hidden=tuple(hidden)), spec, HeadConfig(dueling=dueling))
