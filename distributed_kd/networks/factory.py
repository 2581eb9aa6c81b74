"""Networks of the user's own: made by a function in a module of theirs, and tried once before anything relies on them."""

import importlib

import torch
from torch import Tensor, nn

from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.networks.inputs import Scaled
from distributed_kd.records import EnvSpec

FIX = "Mend the factory: it takes input_shape and actions, and gives a module from float32 [B, *input_shape] to [B, actions]"


class Foreign(nn.Module):
    """A module of the user's own, given observations as float32 in the shape that they have, times the scale."""

    def __init__(self, network: nn.Module, spec: EnvSpec):
        super().__init__()
        self.input, self.network = Scaled(spec), network

    def forward(self, observation: Tensor) -> Tensor:
        """[B, *input_shape] -> [B, A]."""
        return self.network(self.input(observation))

    def trace(self, observation: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outputs [B, A], and no hidden layers: nobody here knows them."""
        return self(observation), ()


def from_factory(kind: str, spec: EnvSpec) -> Foreign:
    """The network that "module:factory" makes for observations and actions like these.

    The caller answers for the import having been allowed. Raises ConfigurationError where it cannot be had or used.
    """
    module, _, name = kind.rpartition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except Exception as error:  # the user's own module may raise anything; it is reported, whatever it is
        raise _bad(kind, f"importing it failed with {_told(error)}", "Give the module and the function in it") from error
    try:
        network = factory(spec.input_shape, spec.actions)
    except Exception as error:
        raise _bad(kind, f"calling it failed with {_told(error)}") from error
    if not isinstance(network, nn.Module):
        raise _bad(kind, f"it gives a {type(network).__name__}, not a torch.nn.Module")
    _try(kind, network, spec)
    return Foreign(network, spec)


@torch.no_grad()
def _try(kind: str, network: nn.Module, spec: EnvSpec) -> None:
    """Raise ConfigurationError unless zeros become one float32 number for each action, and parameters are all it learns."""
    try:
        before = {name: buffer.clone() for name, buffer in network.named_buffers()}
        outputs = network(torch.zeros((2, *spec.input_shape)))
    except Exception as error:
        raise _bad(kind, f"its network failed on zeros of shape {[2, *spec.input_shape]} with {_told(error)}") from error
    if not isinstance(outputs, Tensor):
        raise _bad(kind, f"its network gives a {type(outputs).__name__}, not a tensor")
    if tuple(outputs.shape) != (2, spec.actions) or outputs.dtype != torch.float32:
        given, wanted = list(outputs.shape), [2, spec.actions]
        raise _bad(kind, f"its network gives {outputs.dtype} of shape {given}, not torch.float32 of {wanted}")
    parameters = dict(network.named_parameters())
    if not parameters:
        raise _bad(kind, "its network has no parameters, so that it could not learn")
    others = [name for name, parameter in parameters.items() if parameter.dtype != torch.float32]
    if others:
        raise _bad(kind, f"its parameter {others[0]} is of {parameters[others[0]].dtype}, not torch.float32")
    # Only parameters travel to the actors and into checkpoints: running means, such as of a BatchNorm, would stay behind.
    moving = [name for name, buffer in network.named_buffers() if not torch.equal(buffer, before.get(name, buffer))]
    if moving:
        why = f"its buffer {moving[0]} changes when the network is called, and only parameters are published and saved"
        raise _bad(kind, why, "Use layers without running statistics, such as LayerNorm")


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".removesuffix(": ")


def _bad(kind: str, why: str, fix: str = FIX) -> ConfigurationError:
    return ConfigurationError(Problem("bad network", "network.kind", kind, why, fix))
