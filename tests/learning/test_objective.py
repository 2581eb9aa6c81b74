import dataclasses
from math import log

import pytest
import torch
from learning_samples import as_lesson, learn, network, student_of
from torch import nn

from distributed_kd.learning.objective import Objective, Sight, Temperatures, Told
from distributed_kd.maths import representation
from distributed_kd.maths.distillation import LOSSES
from distributed_kd.networks import parameter_count, to_flat
from distributed_kd.student_config import LossConfig, StudentConfig

AUTO = torch.tensor(0.25)
ONE = Temperatures(1.0, AUTO, 1.0)
STUDENT, TEACHER = [(8,), (6,)], [(12,), (5,)]
OBSERVATION = torch.randn(16, 4, generator=torch.Generator().manual_seed(3))


def objective(*terms, smoothing=0.0):
    torch.manual_seed(0)
    return Objective(terms, smoothing, STUDENT, TEACHER, 6)


def seen(seed=1):
    """A student, and what it makes of OBSERVATION."""
    net = network(8, 6, seed=seed)
    return net, Sight.through(net, OBSERVATION)


def told(weight=None):
    lesson = as_lesson(network(12, 5, seed=2), OBSERVATION)
    return Told(10 * lesson.q, lesson.layers, weight)


def test_several_losses_are_the_weighted_sum_of_single_ones():
    terms = [
        LossConfig("kl", weight=2.0), LossConfig("mse", weight=0.5), LossConfig("nll", weight=0.0),
        LossConfig("similarity", weight=3.0, layer=0), LossConfig("kl", weight=0.25, temperature=4.0),
    ]  # fmt: skip
    _, sight = seen()
    singles = [objective(dataclasses.replace(term, weight=1.0)).from_teacher(sight, told(), ONE, 0.5) for term in terms]
    expected = 2 * singles[0] + 0.5 * singles[1] + 3 * singles[3] + 0.25 * singles[4]
    torch.testing.assert_close(objective(*terms).from_teacher(sight, told(), ONE, 0.5), expected)
    assert min(single.item() for single in singles) > 0


@pytest.mark.parametrize("name", ["kl", "kl_q", "mse"])
def test_the_gradient_in_closed_form_is_that_of_the_loss_times_its_weight(name):
    one = objective(LossConfig(name, weight=3.0))
    outputs = torch.randn(16, 3, generator=torch.Generator().manual_seed(4), requires_grad=True)
    weight = torch.linspace(0.5, 1.5, 16)
    one.from_teacher(Sight(outputs, (), outputs), told(weight), ONE, 0.5).backward()
    torch.testing.assert_close(one.gradient(outputs.detach(), told(weight), ONE), outputs.grad)


@pytest.mark.parametrize(
    ("progress", "kl_counts", "mse_counts"),
    [
        (0.0, 0, 1), (0.2499, 0, 1), (0.25, 1, 1), (0.4999, 1, 1), (0.5, 1, 0), (0.7499, 1, 0), (0.75, 0, 0), (1.0, 0, 0),
    ],
)  # fmt: skip
def test_a_loss_counts_from_since_up_to_until(progress, kl_counts, mse_counts):
    terms = LossConfig("kl", since=0.25, until=0.75), LossConfig("mse", until=0.5)
    net, sight = seen()
    q = told().q
    expected = kl_counts * LOSSES["kl"](sight.outputs, q, 1.0) + mse_counts * LOSSES["mse"](sight.outputs, q, 1.0)
    loss = objective(*terms).from_teacher(sight, told(), ONE, progress)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    moves = any(parameter.grad.any() for parameter in net.parameters())
    assert moves == bool(kl_counts or mse_counts)


def test_until_the_end_of_the_run_is_until_after_it():
    _, sight = seen()
    loss = objective(LossConfig("kl", since=0.5)).from_teacher(sight, told(), ONE, 1.0)
    assert loss.item() == LOSSES["kl"](sight.outputs, told().q, 1.0).item() > 0


def test_a_loss_that_reaches_nothing_that_trains_moves_nothing():
    phases = LossConfig("kl", until=0.5), LossConfig("relational", since=0.5)
    teacher, net = network(16, seed=2), network(8, seed=1)
    student = student_of(net, StudentConfig(losses=phases, trainable="head"), teacher)
    student.update(as_lesson(teacher, OBSERVATION), AUTO, 0.0, measure=False)
    logged = student.update(as_lesson(teacher, OBSERVATION), AUTO, 0.75, measure=True)
    assert logged["grad_norm"] == 0
    assert logged["loss"] > 0


@pytest.mark.parametrize(
    ("own", "asked", "share", "expected"),
    [(0.5, 0.0, 1.0, 0.5), (0.5, 2.0, 1.0, 2.0), (0.5, 2.0, 0.1, 0.2), ("auto", 0.0, 0.5, 0.125), (3.0, "auto", 1.0, 0.25)],
)
def test_a_loss_may_have_a_temperature_of_its_own(own, asked, share, expected):
    _, sight = seen()
    loss = objective(LossConfig("kl_q", temperature=asked)).from_teacher(sight, told(), Temperatures(own, AUTO, share), 0.0)
    torch.testing.assert_close(loss, LOSSES["kl_q"](sight.outputs, told().q, expected))


@pytest.mark.parametrize(
    ("switch", "progress", "soft_weight", "hard_weight"),
    [(0.0, 0.0, 2.0, 3.0), (0.0, 1.0, 2.0, 3.0), (0.5, 0.4999, 2.0, 0.0), (0.5, 0.5, 0.0, 3.0), (0.5, 1.0, 0.0, 3.0)],
)
def test_hard_and_soft_targets_weighted_or_one_after_the_other(switch, progress, soft_weight, hard_weight):
    term = LossConfig("hard_soft", soft="kl_q", hard="margin", soft_weight=2.0, hard_weight=3.0, switch=switch)
    _, sight = seen()
    soft, hard = (LOSSES[name](sight.outputs, told().q, 1.0) for name in ("kl_q", "margin"))
    loss = objective(term).from_teacher(sight, told(), ONE, progress)
    torch.testing.assert_close(loss, soft_weight * soft + hard_weight * hard)
    assert soft > 0.1
    assert hard > 0.1


@pytest.mark.parametrize(
    "term",
    [LossConfig("dkd", alpha=2.0, beta=0.5), LossConfig("margin", margin=3.0)],
    ids=["dkd", "margin"],
)
def test_options_of_a_loss_are_passed_on(term):
    options = {"dkd": {"alpha": 2.0, "beta": 0.5}, "margin": {"margin": 3.0}}[term.name]
    _, sight = seen()
    loss = objective(term).from_teacher(sight, told(), ONE, 0.0).item()
    assert loss == LOSSES[term.name](sight.outputs, told().q, 1.0, **options).item()
    assert loss != pytest.approx(LOSSES[term.name](sight.outputs, told().q, 1.0).item(), rel=0.01)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in ("mse", "huber", "margin")])
def test_smoothing_and_importance_reach_the_loss(name):
    _, sight = seen()
    weight = torch.tensor([2.0, 0.0] * 8)
    loss = objective(LossConfig(name), smoothing=0.3).from_teacher(sight, told(weight), ONE, 0.0).item()
    assert loss == LOSSES[name](sight.outputs, told().q, 1.0, weight=weight, smoothing=0.3).item()
    for other in ({"weight": weight}, {"smoothing": 0.3}):
        assert loss != pytest.approx(LOSSES[name](sight.outputs, told().q, 1.0, **other).item(), rel=1e-4)


def of_layers(mine, theirs, weight=None):
    """Student and teacher of whom nothing but a layer each is known."""
    nothing = torch.zeros(len(mine), 2)
    return Sight(nothing, (mine,), mine.flatten(1)), Told(nothing, (theirs,), weight)


def test_a_hint_worked_by_hand():
    both = Objective([LossConfig("hint")], 0.0, [(2,)], [(3,)], 2)
    (projection,) = both.parameters()
    with torch.no_grad():
        projection.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    # (1, 2) becomes (1, 2, 3): 2^2 + 1 + 3^2 = 14
    loss = both.from_teacher(*of_layers(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 1.0, 0.0]])), ONE, 0.0)
    assert loss.item() == 14.0
    loss.backward()
    # 2 * (projected - teacher) times the student's layer
    torch.testing.assert_close(projection.grad, torch.tensor([[-4.0, -8.0], [2.0, 4.0], [6.0, 12.0]]))


def test_attention_and_similarity_worked_by_hand():
    # Squares (3, 4) and (4, 3), of length 1 (.6, .8) and (.8, .6): .2^2 at each place.
    mine, theirs = torch.tensor([[[[3**0.5, 2.0]]]]), torch.tensor([[[[2.0, 3**0.5]]]])
    loss = Objective([LossConfig("attention")], 0.0, [(1, 1, 2)], [(1, 1, 2)], 2)
    assert loss.from_teacher(*of_layers(mine, theirs), ONE, 0.0).item() == pytest.approx(0.04)
    # Rows (1, 0), (0, 1) against (1, 1) / sqrt 2 twice: each row (1 - 1/sqrt 2)^2 + 1/2, their sum over 2^2
    mine, theirs = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    loss = Objective([LossConfig("similarity")], 0.0, [(2,)], [(2,)], 2)
    assert loss.from_teacher(*of_layers(mine, theirs), ONE, 0.0).item() == pytest.approx(1 - 0.5**0.5)


@pytest.mark.parametrize("name", ["hint", "attention"])
def test_importance_reaches_a_loss_of_each_state(name):
    both = Objective([LossConfig(name)], 0.0, [(1, 1, 2)], [(1, 1, 2)], 2)
    generator = torch.Generator().manual_seed(0)
    mine, theirs = (torch.rand(2, 1, 1, 2, generator=generator) for _ in range(2))
    first, second = (both.from_teacher(*of_layers(mine[i : i + 1], theirs[i : i + 1]), ONE, 0.0) for i in range(2))
    assert first != second
    loss = both.from_teacher(*of_layers(mine, theirs, torch.tensor([0.5, 1.5])), ONE, 0.0)
    torch.testing.assert_close(loss, (0.5 * first + 1.5 * second) / 2)


@pytest.mark.parametrize("layer", [0, 1, -1])
@pytest.mark.parametrize("teacher_layer", [0, -1])
def test_the_layers_asked_for_are_compared(layer, teacher_layer):
    _, sight = seen()
    for name in ("relational", "similarity"):
        loss = objective(LossConfig(name, layer=layer, teacher_layer=teacher_layer)).from_teacher(sight, told(), ONE, 0.0)
        expected = getattr(representation, name)(sight.layers[layer], told().layers[teacher_layer])
        assert loss.item() == expected.item()


@pytest.mark.parametrize("name", ["hint", "relational", "similarity"])
@pytest.mark.parametrize(("layer", "reached"), [(0, {"body.0"}), (-1, {"body.0", "body.2"})])
def test_a_loss_on_a_layer_trains_what_leads_up_to_it(name, layer, reached):
    net, sight = seen()
    objective(LossConfig(name, layer=layer)).from_teacher(sight, told(), ONE, 0.0).backward()
    moved = {key.rpartition(".")[0] for key, one in net.named_parameters() if one.grad is not None and one.grad.any()}
    assert moved == reached


def test_a_hint_trains_student_and_projection_and_leaves_the_teacher():
    teacher, net = network(12, 5, seed=2), network(8, 6, seed=1)
    before, size = to_flat(teacher), parameter_count(net)
    student = student_of(net, StudentConfig(losses=(LossConfig("kl"), LossConfig("hint", layer=0))), teacher)
    lesson = as_lesson(teacher, OBSERVATION)
    first = student.state()["trained"]
    student.update(lesson, AUTO, 0.0, measure=False)
    second = student.state()["trained"]
    assert not torch.equal(first["extra"]["_projections.1.weight"], second["extra"]["_projections.1.weight"])
    # From 8 to the teacher's last 5; what trains beside the network is no part of it.
    assert second["extra"]["_projections.1.weight"].shape == (5, 8)
    assert all(not torch.equal(value, second["network"][name]) for name, value in first["network"].items())
    assert to_flat(teacher).tobytes() == before.tobytes()
    assert parameter_count(net) == size == len(to_flat(net))


def test_a_state_value_worked_by_hand():
    both = Objective([LossConfig("value")], 0.0, [(1,)], [(1,)], 1)
    weight, bias = both.parameters()
    with torch.no_grad():
        weight.fill_(2.0)
        bias.fill_(1.0)
    features, q = torch.tensor([[0.0], [3.0]]), torch.tensor([[4.0, -9.0], [5.0, 6.0]])
    # Values 1 and 7 against 4 and 6: 9 and 1
    sight = Sight(torch.zeros(2, 2), (features,), features)
    assert both.from_teacher(sight, Told(q, (), None), ONE, 0.0).item() == 5.0
    loss = both.from_teacher(sight, Told(q, (), torch.tensor([0.5, 1.5])), ONE, 0.0)
    assert loss.item() == (0.5 * 9 + 1.5 * 1) / 2
    loss.backward()
    # 2 w (v - q) / 2: -1.5 and 1.5; the second times its feature of 3
    assert (weight.grad.item(), bias.grad.item()) == (4.5, 0.0)


def test_a_value_head_is_no_part_of_the_network_that_acts():
    net = network(8, seed=1)
    size, q = parameter_count(net), torch.zeros(16, 3)
    student = student_of(net, StudentConfig(loss="value", learning_rate=0.01))
    before = student.state()["trained"]["extra"]
    learn(student, OBSERVATION, q, AUTO, 0.0, measure=False)
    after = student.state()["trained"]["extra"]
    assert {name: tuple(value.shape) for name, value in after.items()} == {"_value.weight": (1, 8), "_value.bias": (1,)}
    assert not torch.equal(before["_value.weight"], after["_value.weight"])
    assert parameter_count(net) == size == len(to_flat(net))


def test_what_trains_beside_a_network_depends_on_its_seed_alone():
    config = StudentConfig(losses=(LossConfig("kl"), LossConfig("hint"), LossConfig("value")))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, same, other = (student_of(network(8), config, seed=seed).state()["trained"]["extra"] for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in one.items():
        assert torch.equal(value, same[name])
        assert not torch.equal(value, other[name])


class Pictures(nn.Module):
    """Observations of four numbers as pictures of 2 x 2, through one convolution."""

    def __init__(self, channels):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4 * channels, 3)

    def trace(self, observation):
        layer = self.body(observation.view(-1, 1, 2, 2))
        return self.head(layer.flatten(1)), (layer,)


def test_attention_draws_the_maps_of_convolutions_together():
    torch.manual_seed(0)
    teacher, net = Pictures(5), Pictures(3)
    before = to_flat(teacher)
    losses = LossConfig("kl"), LossConfig("attention", weight=100.0)
    student = student_of(net, StudentConfig(losses=losses, temperature=1.0, learning_rate=1e-2), teacher)
    lesson = as_lesson(teacher, OBSERVATION)

    def apart():
        return representation.attention(net.trace(OBSERVATION)[1][0], lesson.layers[0]).item()

    start = apart()
    logged = student.update(lesson, AUTO, 0.0, measure=True)
    kl = logged["loss"].item() - 100 * start
    assert 0 < kl < log(3)
    for _ in range(200):
        student.update(lesson, AUTO, 0.0, measure=False)
    assert apart() < 0.2 * start
    assert to_flat(teacher).tobytes() == before.tobytes()
