"""training.saved_policies: networks with the weights of a checkpoint."""

import numpy as np
import pytest
from journals import CONFIG, SPEC

from distributed_kd.errors import CheckpointError
from distributed_kd.networks import to_flat
from distributed_kd.records import RANDOM
from distributed_kd.training.parts import Parts
from distributed_kd.training.saved_policies import saved_networks

STUDENT = next(iter(CONFIG.students))


def learner(parts, names):
    """The learner of a checkpoint that holds these policies, every number of them 2."""
    networks = parts.networks()
    held = {name: {key: np.full(one.shape, 2.0) for key, one in networks[name].state_dict().items()} for name in names}
    states = {name: {"trained": {"network": one}} for name, one in held.items()}
    return {"teacher": states.pop("teacher"), "students": states}


def test_those_that_are_asked_for_have_the_saved_weights():
    parts = Parts(CONFIG, SPEC)
    found = saved_networks(parts, learner(parts, ["teacher", STUDENT]), [STUDENT, RANDOM])
    assert list(found) == [STUDENT]
    assert (to_flat(found[STUDENT]) == 2.0).all()


def test_one_that_joined_since_is_told_in_a_line():
    parts = Parts(CONFIG, SPEC)
    with pytest.raises(CheckpointError) as refused:
        saved_networks(parts, learner(parts, ["teacher"]), ["teacher", STUDENT])
    expected = f"the policy is not in the checkpoint (policy={STUDENT}): it joined after the newest checkpoint"
    assert [line.startswith(expected) for line in refused.value.lines] == [True]
