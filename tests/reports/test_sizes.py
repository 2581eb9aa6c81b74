"""What networks are made of: figures worked by hand, the text to the letter, lines that fit."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import build, parameter_count
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.networks.factory import Foreign
from distributed_kd.records import EnvSpec
from distributed_kd.reports.sizes import WIDTH, Layer, aligned, as_json, describe, layers_of

CARTPOLE = EnvSpec("CartPole-v1", (4,), "float32", 2)
GRID = EnvSpec("Grid", (10, 10, 4), "float32", 6, channels="last")


def mlp(*hidden, spec=CARTPOLE, layer_norm=False, **head):
    return build(NetworkConfig(hidden=hidden, layer_norm=layer_norm), spec, 0, HeadConfig(**head))


def test_layers_of_a_convolutional_network():
    assert layers_of(build(NetworkConfig("minatar"), GRID), GRID) == [
        # 8*8 places of 16 channels, each of 4*9 numbers and a bias
        Layer("body.0", (16, 8, 8), 16 * 37, 16 * 64 * 36),
        Layer("body.3", (128,), 1_024 * 128 + 128, 1_024 * 128),
        Layer("advantage", (6,), 128 * 6 + 6, 128 * 6),
    ]


def test_normalisation_and_noise_are_parameters_without_arithmetic():
    assert layers_of(mlp(8, layer_norm=True, dueling=True, noisy=True), CARTPOLE) == [
        Layer("body.0", (8,), 40, 32),
        Layer("body.1", (8,), 16, 0),
        # A mean and a sigma for each of 8 * 2 weights and 2 biases, and of 8 weights and a bias
        Layer("advantage", (2,), 36, 16),
        Layer("value", (1,), 18, 8),
    ]


def test_stacks_in_the_order_in_which_they_are_passed():
    spec = EnvSpec("Frames", (8, 8), "uint8", 3)
    layers = layers_of(build(NetworkConfig("impala", channels=(2,), hidden=(5,)), spec), spec)
    blocks = [f"body.0.blocks.{block}.{one}" for block in (0, 1) for one in ("first", "second")]
    # The first convolution sees 8x8 places of one channel, the others 4x4 of two.
    assert layers[0] == Layer("body.0.convolution", (2, 8, 8), 20, 2 * 64 * 9)
    assert layers[1:5] == [Layer(name, (2, 4, 4), 38, 2 * 16 * 18) for name in blocks]
    assert layers[5:] == [Layer("body.3", (5,), 165, 160), Layer("advantage", (3,), 18, 15)]


class Own(nn.Module):
    """Passes one linear layer twice, not in the order of the names, and has a scale and a recurrent layer besides."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.twice = nn.Linear(4, 4)
        self.memory = nn.GRU(4, 4)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, observation):
        return self.last(self.memory(self.twice(self.twice(observation)))[0] * self.scale.mean())


def test_what_is_not_known_is_counted_as_other():
    network = Foreign(Own(), CARTPOLE)
    # A GRU has three gates of 4 * (4 + 4) weights and 2 * 4 biases.
    assert layers_of(network, CARTPOLE) == [
        Layer("network.twice", (4,), 20, 32),
        Layer("network.last", (2,), 10, 8),
        Layer("other", (), 3 * 40 + 3, None),
    ]
    told = as_json({"a": network}, {"a": "own:make"}, CARTPOLE)["networks"]["a"]
    assert told["multiply_adds"] is None and told["parameters"] == 153 and told["parameter_share"] is None


def test_a_shared_parameter_counts_once():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    assert layers_of(network, CARTPOLE) == [Layer("0", (4,), 20, 16), Layer("1", (4,), 4, 16)]


def test_an_ensemble_is_its_members_and_their_weights():
    assert layers_of(Ensemble([mlp(), mlp(3)]), CARTPOLE) == [
        Layer("members.0.advantage", (2,), 10, 8),
        Layer("members.1.body.0", (3,), 15, 12),
        Layer("members.1.advantage", (2,), 8, 6),
        Layer("mixture", (2,), 2, 4),
    ]


@settings(deadline=None, max_examples=15)
@given(
    kind=st.sampled_from(["mlp", "minatar", "nature", "impala"]),
    head=st.builds(HeadConfig, st.booleans(), st.booleans(), st.sampled_from(["none", "c51", "quantile"]), st.just(3)),
    layer_norm=st.booleans(),
)
def test_the_rows_sum_to_the_network_and_leave_nothing_behind(kind, head, layer_norm):
    spec = EnvSpec("Frames", (36, 36), "uint8", 3, frame_stack=2)
    network = build(NetworkConfig(kind, width=0.0625, layer_norm=layer_norm), spec, 0, head)
    layers = layers_of(network, spec)
    assert sum(layer.parameters for layer in layers) == parameter_count(network)
    assert all(layer.multiply_adds is not None for layer in layers)
    assert layers_of(network, spec) == layers  # the hooks are gone
    assert not any(module._forward_hooks for module in network.modules())


NETWORKS = {"teacher": mlp(256, 256), "half": mlp(128, 128)}
LABELS = {"teacher": "mlp 256 256", "half": "mlp 128 128"}


def test_the_text_to_the_letter():
    assert describe(NETWORKS, LABELS, CARTPOLE) == (
        "teacher: mlp 256 256\n"
        "layer      output  parameters  multiply-adds\n"
        "body.0        256       1,280          1,024\n"
        "body.2        256      65,792         65,536\n"
        "advantage       2         514            512\n"
        "\n"
        "half: mlp 128 128\n"
        "layer      output  parameters  multiply-adds\n"
        "body.0        128         640            512\n"
        "body.2        128      16,512         16,384\n"
        "advantage       2         258            256\n"
        "\n"
        "network  kind and widths  parameters  of teacher  multiply-adds    bytes\n"
        "teacher  mlp 256 256          67,586     100.0 %         67,072  270,344\n"
        "half     mlp 128 128          17,410      25.8 %         17,152   69,640\n"
    )


def test_the_same_as_data():
    told = as_json(NETWORKS, LABELS, CARTPOLE)
    assert json.loads(json.dumps(told)) == told
    assert (told["env"], told["input"], told["actions"]) == ("CartPole-v1", [4], 2)
    half = told["networks"]["half"]
    assert half.pop("layers")[1] == {"name": "body.2", "output": [128], "parameters": 16_512, "multiply_adds": 16_384}
    assert half == {"network": "mlp 128 128", "parameters": 17_410, "parameter_share": 17_410 / 67_586,
                    "multiply_adds": 17_152, "bytes": 69_640}  # fmt: skip
    assert told["networks"]["teacher"]["parameter_share"] == 1.0


def test_dashes_for_what_is_not_known():
    text = describe({"a": Foreign(Own(), CARTPOLE)}, {"a": "own:make"}, CARTPOLE)
    assert "other               –         123              –\n" in text
    assert text.splitlines()[-1].split() == ["a", "own:make", "153", "–", "–", "612"]


@pytest.mark.parametrize("letters", [8, 30, 45, 200])
def test_no_line_is_wider_than_it_may_be_and_figures_stay_whole(letters):
    name, label = "n" * letters, "mlp" + " 8" * letters
    spec = EnvSpec("Frames", (84, 84), "uint8", 18, frame_stack=4)
    network = build(NetworkConfig("nature"), spec)
    text = describe({"teacher": network, name: network}, {"teacher": "nature", name: label}, spec)
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    # Multiply-adds: 400*32*256 + 81*64*512 + 49*64*576 + 3,136*512 + 512*18
    assert lines[-1].split()[-5:] == ["1,693,362", "100.0", "%", "9,352,192", "6,773,448"]


def test_the_longest_words_are_clipped_and_no_others():
    row = ["short", "w" * 120, "1,234"]
    (line,) = aligned(["a", "b", "c"], [row], words=2).splitlines()[1:]
    # 100 letters less 5 of each other column and two gaps of 2
    assert line == f"short  {'w' * 85}…  1,234"
