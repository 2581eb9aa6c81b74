"""Networks that PyTorch compiles learn what they learn as they are, but for rounding."""

import numpy as np
import pytest
import torch
from torch import nn

from distributed_kd import networks
from distributed_kd.learning.learner import Learner
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks.bodies import Body
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import Batch, EnvSpec
from distributed_kd.student_config import StudentConfig

SPEC = EnvSpec("Grid", (5, 5, 2), "uint8", 3, channels="last")


def built(kind="minatar", seed=0, **widths):
    return networks.build(NetworkConfig(kind, **widths), SPEC, seed)


def learner(compiled):
    teacher = TeacherConfig(network=NetworkConfig("minatar", width=0.25), target_update=2)
    return Learner(
        networks={
            "teacher": built(width=0.25, seed=1),
            "small": built(width=0.125, seed=2),
            "plain": built("mlp", hidden=(8,), seed=3),
        },
        spec=SPEC,
        teacher=teacher,
        students={name: StudentConfig(loss="kl_q", temperature=1.0) for name in ("small", "plain")},
        seeds={"teacher": 0, "small": 1, "plain": 2},
        device=torch.device("cpu"),
        compiled=compiled,
    )


def batch(random):
    observation, following = random.integers(0, 2, (2, 16, 5, 5, 2), dtype=np.uint8)
    reward, ones = random.normal(size=16).astype(np.float32), np.ones(16, np.float32)
    return Batch(observation, random.integers(0, 3, 16), reward, 0.99 * ones, following, ones, np.arange(16), ones)


def is_compiled(network):
    return [module for module in network.modules() if module._compiled_call_impl is not None]


def test_the_layers_of_convolutional_networks_are_compiled_and_plain_ones_left():
    convolutional, plain = built(width=0.25), built("mlp", hidden=(8,))
    for network in (convolutional, plain):
        networks.compile_parts(network)
    assert [type(module) for module in is_compiled(convolutional)] == [Body]
    assert not is_compiled(plain)
    normed = built("mlp", hidden=(8,), layer_norm=True)
    networks.compile_parts(normed)
    assert is_compiled(normed)


def test_of_a_network_of_ones_own_all_is_compiled():
    module = nn.Sequential(nn.Flatten(), nn.Linear(50, 3))
    foreign = networks.Foreign(module, SPEC)
    networks.compile_parts(foreign)
    assert is_compiled(foreign) == [module]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_compiled_much_the_same_is_learned():
    ours, plain = learner(compiled=True), learner(compiled=False)
    assert is_compiled(ours.teacher.network) and not is_compiled(plain.teacher.network)
    for one in (ours, plain):
        random = np.random.default_rng(0)
        for number in range(12):
            one.update(batch(random), number / 12)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    mine, expected = ours.weights().flat, plain.weights().flat
    for name, flat in expected.items():
        np.testing.assert_allclose(mine[name], flat, atol=1e-5, err_msg=name)
    assert not np.array_equal(expected["small"], learner(compiled=False).weights().flat["small"])
