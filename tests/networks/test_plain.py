"""networks.plain: outputs and gradients as automatic differentiation gives them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd import networks
from distributed_kd.learning.layout import Layout
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import prepared
from distributed_kd.networks.plain import EqualNetworks, PlainNetwork, PlainNetworks, sizes_of
from distributed_kd.records import EnvSpec

SPEC = EnvSpec("Numbers", (5,), "float32", 3)


def layout_of(network):
    return Layout.of(network, list(network.parameters()))


def rows_of(members):
    """Equal networks as rows of a matrix with two columns of padding."""
    flats = [layout_of(member).laid([one.detach() for one in member.parameters()]) for member in members]
    return torch.nn.functional.pad(torch.stack(flats), (0, 2), value=7.0)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.lists(st.integers(1, 9), max_size=3), st.integers(1, 3), st.booleans()), min_size=1, max_size=3),
    st.integers(1, 6),
)
def test_outputs_and_gradients_are_those_of_automatic_differentiation(groups, batch):
    inputs = torch.randn(batch, 5, generator=torch.Generator().manual_seed(batch))
    twins, members, gradients = [], [], []
    for place, (hidden, count, dueling) in enumerate(groups):
        config, head = NetworkConfig(hidden=tuple(hidden)), HeadConfig(dueling=dueling)
        equals = [networks.build(config, SPEC, 10 * place + k, head=head) for k in range(count)]
        flat = rows_of(equals)
        gradients.append(torch.full_like(flat, 5.0))
        members.append(EqualNetworks(sizes_of(equals[0]), flat, gradients[-1]))
        twins += equals
    plain = PlainNetworks(members)
    outputs = plain(inputs)
    expected = torch.stack([twin(inputs) for twin in twins])
    torch.testing.assert_close(outputs, expected)
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(1))
    (outputs.sin() * weights).sum().backward()
    (expected.sin() * weights).sum().backward()
    found = [row for gradient in gradients for row in gradient]
    for twin, row in zip(twins, found, strict=True):
        its = layout_of(twin).laid([one.grad for one in twin.parameters()])
        torch.testing.assert_close(row[: len(its)], its)
        assert row[len(its) :].tolist() == [5.0, 5.0]  # what is no parameter is left alone


def test_a_second_backward_overwrites_the_first():
    network = networks.build(NetworkConfig(hidden=(4,)), SPEC)
    flat = rows_of([network])
    gradient = torch.zeros_like(flat)
    plain = PlainNetworks([EqualNetworks(sizes_of(network), flat, gradient)])
    inputs = torch.ones(2, 5)
    plain(inputs).sum().backward()
    first = gradient.clone()
    plain(inputs).sum().backward()
    assert first.any() and torch.equal(gradient, first)


@pytest.mark.parametrize(
    ("config", "head"),
    [
        (NetworkConfig(hidden=(4,), layer_norm=True), {}),
        (NetworkConfig(hidden=(4,)), {"noisy": True}),
        (NetworkConfig(hidden=(4,)), {"distribution": "c51"}),
    ],
)
def test_a_network_of_anything_else_is_not_plain(config, head):
    assert networks.build(config, SPEC, head=HeadConfig(**head)).plain_layers() is None


@pytest.mark.parametrize("dueling", [False, True])
def test_one_network_by_itself_is_what_it_was(dueling):
    network, twin = (
        networks.build(NetworkConfig(hidden=(7, 6)), SPEC, 3, head=HeadConfig(dueling=dueling)) for _ in range(2)
    )
    flat = layout_of(network).gathered(list(network.parameters()))
    gradient = torch.zeros_like(flat)
    plain = PlainNetwork(network, flat, gradient)
    observation = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(plain(observation), twin(observation).detach())
    outputs, layers = plain.trace(observation)
    expected, its_layers = twin.trace(observation)
    torch.testing.assert_close(outputs, expected)
    for mine, theirs in zip(layers, its_layers, strict=True):
        torch.testing.assert_close(mine, theirs.detach())
    plain.backward(2 * outputs)
    expected.square().sum().backward()
    torch.testing.assert_close(gradient, layout_of(twin).laid([one.grad for one in twin.parameters()]))
    flat.zero_()  # it is the network, not a copy of it
    assert not plain(observation).any()


def test_small_networks_keep_all_digits_under_autocast():
    network = networks.build(NetworkConfig(hidden=(7,)), SPEC, 3)
    flat = layout_of(network).gathered(list(network.parameters()))
    plain = PlainNetwork(network, flat, torch.zeros_like(flat))
    observation = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    expected = plain(observation)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(plain(observation), expected)


@pytest.mark.parametrize("by_pytorch", [False, True])
@pytest.mark.parametrize("hidden", [(300, 200), (16, 16)])
def test_large_and_small_products_are_those_of_automatic_differentiation(monkeypatch, by_pytorch, hidden):
    if by_pytorch:
        monkeypatch.setattr(prepared, "by_numpy", lambda *places: False)
    network, twin = (networks.build(NetworkConfig(hidden=hidden), SPEC, 3) for _ in range(2))
    flat = layout_of(network).gathered(list(network.parameters()))
    gradient = torch.zeros_like(flat)
    plain = PlainNetwork(network, flat, gradient)
    for rows in (64, 5, 64):  # a size of batch comes back to the places that it had
        observation = torch.randn(rows, 5, generator=torch.Generator().manual_seed(rows))
        outputs, expected = plain(observation), twin(observation)
        torch.testing.assert_close(outputs, expected.detach())
        plain.backward(2 * outputs)
        twin.zero_grad()
        expected.square().sum().backward()
        torch.testing.assert_close(gradient, layout_of(twin).laid([one.grad for one in twin.parameters()]))


def test_outputs_are_left_alone_by_the_next_forward():
    network = networks.build(NetworkConfig(hidden=(4,)), SPEC)
    plain = PlainNetwork(network, layout_of(network).gathered(list(network.parameters())))
    first = plain(torch.ones(2, 5))
    before = first.clone()
    plain(torch.zeros(2, 5))
    assert torch.equal(first, before)


def test_there_is_no_way_back_behind_another_forward():
    network = networks.build(NetworkConfig(hidden=(4,)), SPEC)
    flat = rows_of([network])
    plain = PlainNetworks([EqualNetworks(sizes_of(network), flat, torch.zeros_like(flat))])
    outputs = plain(torch.ones(2, 5))
    plain.computed(torch.zeros(2, 5))
    with pytest.raises(RuntimeError, match="not those of the last forward"):
        outputs.sum().backward()
