import copy

import numpy as np
import pytest
import torch
from learning_samples import as_stored, network

from distributed_kd.learning.trainable import Trainable, selected
from distributed_kd.networks import to_flat


def loss_of(net, factor=1.0):
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(8, 4, generator=generator)
    return factor * net(observation).square().sum()


def first_move(progress, end=1.0, rate=0.01):
    """By how much Adam's first step moves each parameter: the learning rate, wherever there is a gradient."""
    net = network(8)
    before = to_flat(net)
    Trainable(net, rate, end, 1e9).step(loss_of(net), progress)
    moved = np.abs(to_flat(net) - before)
    return moved[moved > 0]


@pytest.mark.parametrize(
    ("end", "progress", "rate"),
    [(1.0, 0.0, 0.01), (1.0, 1.0, 0.01), (0.2, 0.0, 0.01), (0.2, 0.5, 0.006), (0.2, 1.0, 0.002), (0.0, 0.75, 0.0025)],
)
def test_the_learning_rate_falls_linearly_to_its_end(end, progress, rate):
    moved = first_move(progress, end)
    assert len(moved) > 30
    np.testing.assert_allclose(moved, rate, rtol=1e-3)


def test_at_the_end_of_a_decay_to_nothing_nothing_moves():
    assert len(first_move(1.0, end=0.0)) == 0


def test_the_same_steps_as_plain_adam_with_a_clip():
    net, limit = network(16, 16), 0.5
    twin = copy.deepcopy(net)
    ours, plain = Trainable(net, 1e-3, 1.0, limit), torch.optim.Adam(twin.parameters(), lr=1e-3)
    clipped = 0
    for turn in range(20):
        factor = 0.02 * 1.3**turn  # the norm grows past the limit on the way
        norm = ours.step(loss_of(net, factor), 0.5)
        plain.zero_grad()
        loss_of(twin, factor).backward()
        expected = sum(p.grad.square().sum() for p in twin.parameters()).sqrt()
        assert norm.item() == pytest.approx(expected.item(), rel=1e-4), "before the clip"
        if expected > limit:
            clipped += 1
            for p in twin.parameters():
                p.grad *= limit / expected
        plain.step()
        np.testing.assert_allclose(to_flat(net), to_flat(twin), rtol=1e-4, atol=1e-6)
    assert 3 < clipped < 17


def test_gradients_are_those_of_one_loss_only():
    net = network(8)
    trainable = Trainable(net, 1e-9, 1.0, 1e9)
    norms = [trainable.step(loss_of(net), 0.0).item() for _ in range(3)]
    assert norms == pytest.approx([norms[0]] * 3, rel=1e-4)


@pytest.mark.parametrize("before", [0, 1, 7])
def test_restored_from_what_was_stored_it_goes_on_to_the_byte(before):
    def fresh(seed):
        return Trainable(network(8, 8, seed=seed), 1e-2, 0.1, 1.0)

    first, second = fresh(0), fresh(1)
    for turn in range(before):
        first.step(loss_of(first.network), turn / 20)
    second.step(loss_of(second.network), 0.0)  # a past of its own, which must leave nothing behind
    state = first.state()
    stored = as_stored(state)
    second.restore(stored)
    for turn in range(before, before + 10):
        first.step(loss_of(first.network), turn / 20)
        second.step(loss_of(second.network), turn / 20)
        assert to_flat(second.network).tobytes() == to_flat(first.network).tobytes()
        assert second.layout.in_order(second.flat.detach()).numpy().tobytes() == to_flat(first.network).tobytes()
    np.testing.assert_equal(as_stored(state), stored)  # a snapshot: neither training has written into it


def test_another_networks_state_is_refused():
    with pytest.raises(RuntimeError):
        Trainable(network(8), 1e-2, 1.0, 1.0).restore(Trainable(network(9), 1e-2, 1.0, 1.0).state())


@pytest.mark.parametrize(
    ("trainable", "names"),
    [
        ("head", ["advantage.weight", "advantage.bias", "value.weight", "value.bias"]),
        ("body.0.*", ["body.0.weight", "body.0.bias"]),
        ("*.bias", ["body.0.bias", "advantage.bias", "value.bias"]),
        ("Head", []),
    ],
)
def test_parameters_by_name(trainable, names):
    net = network(8, dueling=True)
    assert list(selected(net, trainable)) == names
    assert list(selected(net, "all")) == [name for name, _ in net.named_parameters()]


def test_what_trains_along_takes_part_in_the_clip_and_not_in_the_network():
    net, extra = network(), torch.nn.Linear(1, 1, bias=False)
    size, before = len(to_flat(net)), extra.weight.item()
    trainable = Trainable(net, 0.01, 1.0, 1.0, "*.bias", extra)
    # Gradients of 2, 0 and 0 for the biases and 1.5 beside them: 2.5 in all, scaled down to 1.
    norm = trainable.step(2 * net(torch.ones(1, 4))[0, 0] + 1.5 * extra.weight.sum(), 0.0)
    assert norm.item() == pytest.approx(2.5)
    assert net.advantage.bias.grad.tolist() == pytest.approx([0.8, 0.0, 0.0])
    assert extra.weight.grad.item() == pytest.approx(0.6)
    assert extra.weight.item() == pytest.approx(before - 0.01, abs=1e-6)
    assert net.advantage.weight.grad is None
    assert len(to_flat(net)) == size
    assert len(trainable.flat) == 3 + 1
    other = torch.nn.Linear(1, 1, bias=False)
    Trainable(network(seed=1), 0.01, 1.0, 1.0, "*.bias", other).restore(as_stored(trainable.state()))
    assert torch.equal(other.weight, extra.weight)
