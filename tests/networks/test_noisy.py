"""Layers with noise: still by default, drawn from numbers that are given, worked by hand."""

import pytest
import torch

from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import build, to_flat
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.networks.noisy import NoisyLinear, draw_noise, is_noisy, silence
from distributed_kd.records import EnvSpec

SPEC = EnvSpec("Numbers", (4,), "float32", 3)
OBSERVATION = torch.linspace(-1, 1, 20).view(5, 4)


def network(seed=0, **head):
    return build(NetworkConfig(hidden=(6,)), SPEC, seed, HeadConfig(**{"noisy": True, **head}))


def numbers(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda count: torch.randn(count, generator=generator)


def test_a_layer_worked_by_hand():
    layer = NoisyLinear(2, 1)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), ([[1.0, 2.0]], [3.0], [[0.5, 0.25]], [2.0]), strict=True):
            parameter.copy_(torch.tensor(value))
    features = torch.tensor([[1.0, 10.0]])
    assert layer(features).tolist() == [[24.0]]
    draw_noise(layer, lambda count: torch.tensor([4.0, -9.0, 16.0]))
    # Noise (2, -3) of the inputs, 4 of the output: weight (1 + .5 * 8, 2 - .25 * 12) = (5, -1), bias 3 + 2 * 4 = 11.
    assert layer(features).tolist() == [[6.0]]
    silence(layer)
    assert layer(features).tolist() == [[24.0]]


def test_how_it_starts():
    torch.manual_seed(0)
    layer = NoisyLinear(16, 200)
    # 0.5 / sqrt(16) for every sigma; the means are uniform within 1 / sqrt(16).
    assert layer.weight_sigma.unique().tolist() == layer.bias_sigma.unique().tolist() == [0.125]
    for mean in (layer.weight, layer.bias):
        assert mean.abs().max() <= 0.25
        assert mean.max() > 0.24 and mean.min() < -0.24
    assert sorted(dict(layer.named_parameters())) == ["bias", "bias_sigma", "weight", "weight_sigma"]
    assert "noise_in" not in layer.state_dict()  # noise is no part of what is saved


@pytest.mark.parametrize("dueling", [False, True])
def test_without_a_draw_it_acts_by_its_means(dueling):
    quiet, plain = network(dueling=dueling), network(dueling=dueling, noisy=False)
    assert torch.equal(quiet(OBSERVATION), plain(OBSERVATION))
    # Its parameters begin as those of a network without noise.
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, dict(quiet.named_parameters())[name])
    draw_noise(quiet, numbers(1))
    assert not torch.isclose(quiet(OBSERVATION), plain(OBSERVATION)).any()
    silence(quiet)
    assert torch.equal(quiet(OBSERVATION), plain(OBSERVATION))


def test_a_draw_is_repeated_by_its_numbers_and_changes_no_parameter():
    first, second = network(dueling=True), network(dueling=True)
    before = to_flat(first)
    draw_noise(first, numbers(1))
    draw_noise(second, numbers(1))
    assert torch.equal(first(OBSERVATION), second(OBSERVATION))
    draw_noise(second, numbers(2))
    assert not torch.isclose(first(OBSERVATION), second(OBSERVATION)).any()
    assert to_flat(first).tobytes() == before.tobytes()


def test_streams_have_noise_of_their_own_and_all_numbers_are_asked_for_at_once():
    asked = []
    one = network(dueling=True)
    draw_noise(one, lambda count: asked.append(count) or torch.arange(1.0, count + 1).square())
    # advantage: 6 inputs and 3 outputs; value: 6 and 1. The root of a square is the number's place.
    assert asked == [16]
    assert [one.advantage.noise_in.tolist(), one.advantage.noise_out.tolist()] == [[1, 2, 3, 4, 5, 6], [7, 8, 9]]
    assert [one.value.noise_in.tolist(), one.value.noise_out.tolist()] == [[10, 11, 12, 13, 14, 15], [16]]


def test_the_spread_of_the_outputs():
    layer = NoisyLinear(4, 1)
    draws, normal = [], numbers(3)
    for _ in range(4_000):
        draw_noise(layer, normal)
        draws.append(layer(torch.zeros(1, 4)).item() - layer.bias.item())
    # bias_sigma is 0.5 / 2; the noise f(x) has mean 0 and variance E|x| = sqrt(2 / pi) = 0.798: deviation 0.25 * 0.893.
    assert abs(torch.tensor(draws).mean()) < 0.02
    assert 0.21 < torch.tensor(draws).std() < 0.24


def test_sigmas_learn_only_from_noise():
    one = network()
    one(OBSERVATION).sum().backward()
    assert not one.advantage.weight_sigma.grad.any() and one.advantage.weight.grad.any()
    draw_noise(one, numbers(1))
    one(OBSERVATION).sum().backward()
    assert one.advantage.weight_sigma.grad.any() and one.advantage.bias_sigma.grad.all()


def test_who_has_noise():
    assert is_noisy(network()) and is_noisy(Ensemble([network(noisy=False), network()]))
    plain = network(noisy=False)
    assert not is_noisy(plain)
    draw_noise(plain, lambda count: pytest.fail("no numbers are needed"))
