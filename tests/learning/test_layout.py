"""learning.layout: parameters as one vector, and the way back."""

import numpy as np
import pytest
import torch
from learning_samples import network
from torch import nn

from distributed_kd.learning.layout import Layout
from distributed_kd.learning.trainable import Trainable
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import build, to_flat
from distributed_kd.records import EnvSpec

IMAGE = EnvSpec("Image", (10, 10, 2), "uint8", 3, channels="last")


def laid(net):
    parameters = list(net.parameters())
    return Layout.of(net, parameters), parameters


def test_a_bias_stands_behind_the_weights_of_its_output():
    net = network(2)  # 4 numbers in, 2 hidden units, 2 actions
    layout, parameters = laid(net)
    w, b = (parameters[0].detach(), parameters[1].detach())
    vector = layout.gathered(parameters)
    assert vector[:10].tolist() == [*w[0].tolist(), b[0].item(), *w[1].tolist(), b[1].item()]


@pytest.mark.parametrize("dueling", [False, True])
def test_a_network_laid_into_one_vector_computes_as_before(dueling):
    net = network(8, 5, dueling=dueling)
    before, observation = to_flat(net), torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    expected = net(observation)
    layout, parameters = laid(net)
    flat = layout.gathered(parameters)
    np.testing.assert_array_equal(to_flat(net), before)
    np.testing.assert_array_equal(layout.in_order(flat).numpy(), before)
    torch.testing.assert_close(net(observation), expected)
    # The vector is the network: what is written into one is read from the other.
    flat.zero_()
    assert not to_flat(net).any()
    with torch.no_grad():
        net.advantage.bias.fill_(3.0)
    assert flat.sum() == 9.0  # of three actions


@pytest.mark.parametrize("net", [network(8, 5), build(NetworkConfig("minatar", width=0.25), IMAGE)], ids=["plain", "image"])
def test_the_way_to_the_parameters_order_and_back_changes_nothing(net):
    layout, parameters = laid(net)
    beside = nn.Linear(3, 2)  # what trains along with a network stands behind it
    both = [*parameters, *beside.parameters()]
    layout = Layout.of(net, both)
    vector = torch.arange(float(sum(one.numel() for one in both)))
    assert torch.equal(layout.from_order(layout.in_order(vector)), vector)
    assert torch.equal(layout.in_order(layout.from_order(vector)), vector)
    assert torch.equal(layout.first(len(parameters)).in_order(vector[:-8]), layout.in_order(vector)[:-8])
    with pytest.raises(RuntimeError):
        layout.from_order(vector[:-1])


def test_what_is_saved_of_adam_is_in_the_order_of_the_parameters():
    mine, theirs = network(8, 5), network(8, 5)
    observation = torch.randn(16, 4, generator=torch.Generator().manual_seed(0))
    trained = Trainable(mine, 1e-3, 1.0, 1e9)
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    trained.step(mine(observation).square().sum(), 0.0)
    theirs(observation).square().sum().backward()
    adam.step()
    expected = torch.cat([adam.state[one]["exp_avg"].reshape(-1) for one in theirs.parameters()])
    torch.testing.assert_close(trained.state()["adam"]["exp_avg"], expected)
    again = Trainable(network(8, 5), 1e-3, 1.0, 1e9)
    again.restore(trained.state())
    assert torch.equal(again.state()["adam"]["exp_avg"], trained.state()["adam"]["exp_avg"])
