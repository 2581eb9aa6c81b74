"""The policies of a run as one of its checkpoints holds them, for all that plays them, looks into them or exports them."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from distributed_kd.config import RunConfig
from distributed_kd.errors import CheckpointError, Problem
from distributed_kd.networks.tree import TreeNetwork
from distributed_kd.records import EnvSpec, State
from distributed_kd.storage.checkpoints import load_newest
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import policy_parameters, saved_normal
from distributed_kd.training.given import parts_of
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


@dataclass(frozen=True)
class SavedTree:
    """A tree that a run has learned, and the mean and deviation [2, *observation_shape] that it sees observations by."""

    network: TreeNetwork
    normal: NDArray[np.float32] | None


def saved_trees(folder: RunFolder, config: RunConfig, spec: EnvSpec) -> dict[str, SavedTree]:
    """The students of a run that are trees, by name, as its newest checkpoint has them.

    Raises CheckpointError where none is whole.
    """
    names = [name for name, student in config.students.items() if student.network.is_tree]
    if not names:
        return {}
    learner = load_newest(folder.checkpoints_at(config.checkpoint.to)).parts["learner"]
    networks = saved_networks(parts_of(folder, config, spec), learner, names)
    return {name: SavedTree(network, saved_normal(learner)) for name, network in networks.items()}
