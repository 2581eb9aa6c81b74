"""The policies of a run as one of its checkpoints holds them, for all that plays them, looks into them or exports them."""

from collections.abc import Collection

import torch
from torch import nn

from distributed_kd.errors import CheckpointError, Problem
from distributed_kd.records import State
from distributed_kd.storage.sources import policy_parameters
from distributed_kd.training.parts import Parts


def saved_networks(parts: Parts, learner: State, names: Collection[str]) -> dict[str, nn.Module]:
    """The networks of these policies, with the weights in a checkpoint's learner; names that have no network are left out.

    The checkpoint fits the run (`fitting.check_fits`). Raises CheckpointError where a student is not in it yet.
    """
    networks = {name: network for name, network in parts.networks().items() if name in names}
    for name, network in networks.items():
        saved = policy_parameters(learner, name)
        if saved is None:
            why, fix = "it joined after the newest checkpoint", "Go on with that run until its next checkpoint"
            raise CheckpointError(Problem("the policy is not in the checkpoint", "policy", name, why, fix))
        network.load_state_dict({key: torch.as_tensor(value) for key, value in saved.items()})
    return networks
