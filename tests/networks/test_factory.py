"""Networks of a user's own module: one that serves, and each way in which one does not."""

import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from distributed_kd.errors import ConfigurationError
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import build, layer_shapes, load_flat, parameter_count, to_flat
from distributed_kd.records import EnvSpec

SPEC = EnvSpec("Frames", (2, 3), "uint8", 4, frame_stack=5, scale=0.5)


@pytest.fixture
def make(monkeypatch):
    """Builds the network that a function makes, as if it stood in a module of the user's."""

    def made(factory, seed=0):
        module = ModuleType("their_networks")
        module.make = factory
        monkeypatch.setitem(sys.modules, "their_networks", module)
        return build(NetworkConfig("their_networks:make"), SPEC, seed)

    return made


def good(input_shape, actions):
    inputs = torch.Size(input_shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, actions))


def test_a_good_one(make):
    network = make(good)
    # 5 * 2 * 3 inputs for each of 4 actions, and 4 biases
    assert parameter_count(network) == 124
    observation = torch.arange(60, dtype=torch.uint8).view(2, 5, 2, 3)
    outputs, hidden = network.trace(observation)
    assert torch.equal(outputs, network(observation)) and hidden == ()
    assert layer_shapes(network, SPEC) == []
    linear = network.network[1]
    torch.testing.assert_close(outputs, linear(0.5 * observation.float().flatten(1)))


def test_its_numbers_come_from_the_seed_alone(make):
    before = torch.get_rng_state()
    first = make(good, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.randn(3)
    assert to_flat(make(good, seed=3)).tobytes() == to_flat(first).tobytes()
    other = make(good, seed=4)
    assert not torch.equal(other.network[1].weight, first.network[1].weight)
    load_flat(other, to_flat(first))
    assert torch.equal(other.network[1].weight, first.network[1].weight)


def raises(input_shape, actions):
    raise RuntimeError("no\nmemory")


def of(*modules):
    return lambda input_shape, actions: nn.Sequential(nn.Flatten(), *modules)


class Gives(nn.Module):
    """Gives whatever it was told to, whatever it is given."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs, self.weight = outputs, nn.Parameter(torch.zeros(1))

    def forward(self, observation):
        return self.outputs


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        (raises, "calling it failed with RuntimeError: no memory"),
        (lambda: nn.Linear(1, 1), "calling it failed with TypeError"),
        (None, "calling it failed with TypeError"),
        (lambda input_shape, actions: "net", "it gives a str, not a torch.nn.Module"),
        (of(nn.Linear(31, 4)), "its network failed on zeros of shape [2, 5, 2, 3] with RuntimeError: mat1 and mat2"),
        (of(nn.Linear(30, 3)), "its network gives torch.float32 of shape [2, 3], not torch.float32 of [2, 4]"),
        (lambda *_: Gives(torch.zeros(2, 4, dtype=torch.int64)), "its network gives torch.int64 of shape [2, 4], not"),
        (lambda *_: Gives((torch.zeros(2, 4),)), "its network gives a tuple, not a tensor"),
        (of(nn.AdaptiveAvgPool1d(4)), "its network has no parameters"),
        (of(nn.BatchNorm1d(30), nn.Linear(30, 4)), "its buffer 1.running_var changes when the network is called"),
    ],
)
def test_a_bad_one_is_told_on_one_line(make, factory, why):
    with pytest.raises(ConfigurationError) as caught:
        make(factory)
    (line,) = caught.value.lines
    assert line.startswith(f"bad network (network.kind=their_networks:make): {why}")
    assert line.rpartition(". ")[2].startswith(("Mend the factory", "Use layers"))


def test_parameters_of_another_type_are_refused(make):
    def factory(input_shape, actions):
        network = Gives(torch.zeros(2, 4))
        network.weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        return network

    with pytest.raises(ConfigurationError, match=r"its parameter weight is of torch\.float64, not torch\.float32"):
        make(factory)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("no_such_module_here:make", "importing it failed with ModuleNotFoundError: No module named 'no_such_module_here'"),
        ("torch.nn:no_such_function", "importing it failed with AttributeError: module 'torch.nn' has no attribute"),
    ],
)
def test_what_cannot_be_imported(kind, why):
    with pytest.raises(ConfigurationError) as caught:
        build(NetworkConfig(kind), SPEC)
    assert f"({'network.kind'}={kind}): {why}" in caught.value.lines[0]


def test_a_module_that_fails_when_it_is_imported(tmp_path, monkeypatch):
    (tmp_path / "their_broken_networks.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="importing it failed with ZeroDivisionError: division by zero"):
        build(NetworkConfig("their_broken_networks:make"), SPEC)
