import dataclasses
from math import log
from typing import get_args

import numpy as np
import pytest
import torch
from learning_samples import (
    as_lesson,
    as_stored,
    at_zero,
    bare_dqn,
    batches,
    learn,
    learner_of,
    network,
    scores,
    steps,
    student_of,
    to_bytes,
    trained,
)

from distributed_kd.learning.lesson import Lesson, Steps
from distributed_kd.maths.distillation import LOSSES
from distributed_kd.maths.targets import agreement
from distributed_kd.networks import to_flat
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import LossConfig, LossName, StudentConfig

AUTO = torch.tensor(0.25)
OBSERVATION = torch.randn(128, 4, generator=torch.Generator().manual_seed(0))
FROZEN = TeacherConfig(source="other")
BESIDE_KL = ("hint", "relational", "similarity", "value")


def taught():
    """A teacher, and what it says of OBSERVATION, with gaps near 1."""
    teacher = network(32, 32, seed=99)
    with torch.no_grad():
        for parameter in teacher.advantage.parameters():
            parameter *= 10
    return teacher, as_lesson(teacher, OBSERVATION)


def test_every_loss_but_one_is_learned_from_here_or_beside():
    # The output losses are in test_students, attention with its convolutions in test_objective.
    assert {*get_args(LossName)} == {*LOSSES, *BESIDE_KL, "policy_gradient", "attention"}


@pytest.mark.parametrize("loss", [*BESIDE_KL, "policy_gradient"])
def test_the_short_form_teaches_the_teachers_actions(loss):
    teacher, lesson = taught()
    net = network(64, 64, seed=7)
    student = student_of(net, StudentConfig(loss=loss, temperature="auto", learning_rate=5e-3), teacher)
    column = torch.zeros(128)
    # Steps that all pay nothing: there the teacher alone has something to say.
    own = Steps(OBSERVATION, column.long(), column, column, OBSERVATION, column + 1, column + 1), lesson
    assert agreement(net(OBSERVATION), lesson.q) < 0.8
    for _ in range(300):
        student.update(lesson, AUTO, 0.0, measure=False, own=own if loss == "policy_gradient" else None)
    assert agreement(net(OBSERVATION), lesson.q) > 0.9


@pytest.mark.parametrize("temperature", [2.0, "auto"])
def test_the_temperature_falls_from_the_students_first_update_on(temperature):
    student = student_of(network(8), StudentConfig(temperature=temperature, temperature_end=0.25))
    full = 0.25 if temperature == "auto" else 2.0
    _, lesson = taught()
    # From half the run on: a quarter of what is left of it, a half, all.
    for progress, share in ((0.5, 1.0), (0.625, 0.8125), (0.75, 0.625), (1.0, 0.25)):
        logged = student.update(lesson, AUTO, progress, measure=True)
        assert logged["temperature"].item() == pytest.approx(share * full)
        student.restore(as_stored(student.state()))
    held_out = LOSSES["kl"](student.network(OBSERVATION), lesson.q, 0.25 * full).item()
    assert student.held_out_loss(lesson, AUTO).item() == pytest.approx(held_out)


def test_the_learning_rate_falls_from_the_students_first_update_on():
    net = at_zero()
    student = student_of(net, StudentConfig(loss="mse", learning_rate=1e-4, learning_rate_end=0.0))
    # Far from its goal its gradient stays what it is, so each step of Adam is as long as the learning rate.
    observation, q, rates = torch.zeros(2, 4), torch.full((2, 3), 1000.0), []
    for progress in (0.5, 0.75, 1.0):
        before = net.advantage.bias.detach().clone()
        learn(student, observation, q, AUTO, progress, measure=False)
        rates.append((net.advantage.bias - before).max().item())
    np.testing.assert_allclose(rates, [1e-4, 0.5e-4, 0.0], rtol=1e-3)


def test_one_that_begins_at_the_end_of_the_run_is_at_the_end_of_its_schedules():
    student = student_of(network(8), StudentConfig(temperature=1.0, temperature_end=0.5))
    assert student.update(taught()[1], AUTO, 1.0, measure=True)["temperature"] == 0.5


def test_during_its_warm_up_it_is_left_as_it_is_and_then_learns_as_if_it_began():
    data = batches(12)
    learner = learner_of({"late": StudentConfig(warmup=5), "now": StudentConfig()}, FROZEN)
    before = to_bytes(learner)
    trained(learner, data[:5])
    assert learner.updates_of == {"late": 0, "now": 5}
    assert to_bytes(learner)["late"] == before["late"]
    assert to_bytes(learner)["now"] != before["now"]
    # Begun in the middle of the run or anew: with a teacher that stands still there is no difference.
    trained(learner, data[5:], progress=0.7)
    assert learner.updates_of == {"late": 7, "now": 12}
    assert (
        to_bytes(learner)["late"] == to_bytes(trained(learner_of({"late": StudentConfig()}, FROZEN), data[5:], 0.0))["late"]
    )


def heard(monkeypatch, config, observation, q, updates=1):
    """What a student of the loss mse, at 0 and without hidden layers, saw and was told at its last update."""
    told, seen, net = [], [], at_zero()
    mse = LOSSES["mse"]
    monkeypatch.setitem(LOSSES, "mse", lambda outputs, q, *rest, **named: told.append(q) or mse(outputs, q, *rest, **named))
    net.advantage.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    student = student_of(net, config)
    seen.clear()  # what its layers were measured with
    for _ in range(updates):
        learn(student, observation, q, AUTO, 0.0, measure=False)
    monkeypatch.setitem(LOSSES, "mse", mse)
    return seen[-1], told[-1]


def spread(columns, count=20_000):
    return torch.randn(count, len(columns), generator=torch.Generator().manual_seed(5)) * torch.tensor(columns) + 3.0


@pytest.mark.parametrize("share", [0.1, 2.0])
def test_noise_on_what_the_student_sees_is_in_deviations_of_each_number(monkeypatch, share):
    observation, q = spread([1.0, 2.0, 0.0, 0.1]), spread([1.0, 0.0, 5.0])
    config = StudentConfig(loss="mse", observation_noise=share)
    seen, told = heard(monkeypatch, config, observation, q)
    noise = seen - observation
    torch.testing.assert_close(noise.std(0), share * torch.tensor([1.0, 2.0, 0.0, 0.1]), rtol=0.03, atol=1e-6)
    assert (noise.mean(0).abs() <= 0.03 * share * torch.tensor([1.0, 2.0, 0.0, 0.1])).all()
    assert torch.equal(told, q), "the teacher's view is clean"
    assert not torch.equal(heard(monkeypatch, config, observation, q, updates=2)[0], seen)


@pytest.mark.parametrize("share", [0.1, 2.0])
def test_noise_on_the_targets_is_in_deviations_of_each_action(monkeypatch, share):
    observation, q = spread([1.0, 2.0, 0.0, 0.1]), spread([1.0, 0.0, 5.0])
    seen, told = heard(monkeypatch, StudentConfig(loss="mse", target_noise=share), observation, q)
    torch.testing.assert_close((told - q).std(0), share * torch.tensor([1.0, 0.0, 5.0]), rtol=0.03, atol=1e-6)
    assert torch.equal(seen, observation)


def test_without_noise_none_is_drawn_and_nothing_is_changed(monkeypatch):
    observation, q = spread([1.0, 1.0, 1.0, 1.0], 8), spread([1.0, 1.0, 1.0], 8)
    seen, told = heard(monkeypatch, StudentConfig(loss="mse"), observation, q)
    assert torch.equal(seen, observation)
    assert torch.equal(told, q)


def test_a_noisy_student_restored_in_the_middle_goes_on_to_the_byte():
    config = StudentConfig(observation_noise=0.5, target_noise=0.5, td_weight=1.0, target_update=4, loss="kl_q")
    first, second = (learner_of({"noisy": config}) for _ in range(2))
    trained(second, batches(3, seed=4))
    trained(first, batches(6))
    second.restore(as_stored(first.state()))
    for batch in batches(6, seed=1):
        for learner in (first, second):
            learner.update(batch, 0.7)
        assert to_bytes(second) == to_bytes(first)
    quiet = trained(learner_of({"noisy": dataclasses.replace(config, observation_noise=0.0)}), batches(6))
    assert to_bytes(quiet)["noisy"] != to_bytes(trained(learner_of({"noisy": config}), batches(6)))["noisy"]


def test_held_out_states_are_seen_without_noise():
    student = student_of(network(8), StudentConfig(observation_noise=1.0, target_noise=1.0, loss="mse"))
    _, lesson = taught()
    random = student.state()["random"]
    expected = LOSSES["mse"](student.network(OBSERVATION), lesson.q, 0.01)
    torch.testing.assert_close(student.held_out_loss(lesson, AUTO), expected)
    assert torch.equal(student.state()["random"], random)


def test_a_state_without_a_gap_weighs_nothing():
    net = at_zero()
    student = student_of(net, StudentConfig(loss="mse", importance="action_gap"))
    # Gaps of 1 and 0 weigh 2 and 0: the loss is 2 * 1 / 2, the gradient of the biases 2 * 2 * (0 - 1) / 2 for the first.
    logged = learn(student, torch.zeros(2, 4), torch.tensor([[1.0, 0.0, 0.0], [5.0, 5.0, 5.0]]), AUTO, 0.0, measure=True)
    assert logged["loss"] == 1.0
    assert net.advantage.bias.grad.tolist() == [-2.0, 0.0, 0.0]


def test_a_sure_state_weighs_more_by_entropy():
    student = student_of(at_zero(), StudentConfig(loss="mse", importance="entropy", temperature=2.0))
    # Targets (1/2, 1/4, 1/4) and (1/3, 1/3, 1/3): entropies of 3/2 log 2 and log 3, each with .1 added. The errors are
    # (2 log 2)^2 and 0, so the first state's share of the weight is its share of the loss.
    sure, unsure = 1 / (1.5 * log(2) + 0.1), 1 / (log(3) + 0.1)
    q = torch.tensor([[2 * log(2), 0.0, 0.0], [0.0, 0.0, 0.0]])
    logged = learn(student, torch.zeros(2, 4), q, AUTO, 0.0, measure=True)
    assert logged["loss"].item() == pytest.approx(4 * log(2) ** 2 * sure / (sure + unsure))


@pytest.mark.parametrize("target_update", [4, 0.3])
def test_a_student_that_plays_as_well_as_its_teacher_is_a_bare_dqn(target_update):
    config = StudentConfig(
        loss="kl_q", distillation="performance", td_weight=1.0, target_update=target_update, learning_rate=0.02,
        learning_rate_end=0.5,
    )  # fmt: skip
    dqn = TeacherConfig(target_update=target_update, learning_rate=0.02, learning_rate_end=0.5)
    progresses, student = np.linspace(0, 1, 15), student_of(network(16), config)
    student.heed(1.0)
    bare = bare_dqn(network(16), dqn, batches(15, scale=2.0), progresses)
    for batch, progress, (expected, loss) in zip(batches(15, scale=2.0), progresses, bare, strict=True):
        lesson = as_lesson(network(16, seed=9), steps(batch).observation)
        logged = student.update(lesson, AUTO, progress, True, steps(batch))
        np.testing.assert_allclose(to_flat(student.network), expected, rtol=1e-3, atol=1e-5)
        assert logged["loss"].item() == pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize(
    ("distillation", "heeded", "shares"),
    [
        ("constant", [], None),
        ("constant", [0.75], None),
        ("linear", [], [1.0, 0.5, 0.0]),
        ("linear", [0.75], [1.0, 0.5, 0.0]),
        ("performance", [], [1.0, 1.0, 1.0]),
        ("performance", [0.75], [0.25, 0.25, 0.25]),
        ("performance", [0.75, float("nan")], [0.25, 0.25, 0.25]),
        ("performance", [0.75, 0.5], [0.5, 0.5, 0.5]),
        ("performance", [1.5], [0.0, 0.0, 0.0]),
    ],
)
def test_what_comes_from_the_teacher_fades(distillation, heeded, shares):
    config = StudentConfig(loss="kl_q", temperature=1.0, distillation=distillation, td_weight=3.0)
    student, restored = (student_of(network(8), config) for _ in range(2))
    for score in heeded:
        student.heed(score)
    for place, batch in enumerate(batches(3)):
        lesson = as_lesson(network(16), steps(batch).observation)
        kl = LOSSES["kl_q"](student.network(lesson.observation), lesson.q, 1.0).item()
        restored.restore(as_stored(student.state()))
        logged = student.update(lesson, AUTO, place / 2, True, steps(batch))
        again = restored.update(lesson, AUTO, place / 2, True, steps(batch))
        share = shares[place] if shares else 1.0
        assert logged["loss"].item() == pytest.approx(share * kl + 3 * logged["td_loss"].item(), rel=1e-5)
        assert logged.get("distillation", torch.tensor(1.0)).item() == share
        assert ("distillation" in logged) == bool(shares)
        assert again == logged


def test_the_score_is_how_far_it_has_come_from_random_play_to_the_teachers():
    learner = learner_of({"a": StudentConfig(loss="kl_q", distillation="performance", td_weight=1.0)})
    trained(learner, batches(1))
    assert learner.losses()["a"]["distillation"] == 1.0
    learner.heed(scores(teacher=10.0, a=4.0))
    trained(learner, batches(8))
    # A teacher no better than random (0) says nothing of how far anyone has come.
    assert learner.losses()["a"]["distillation"] == pytest.approx(0.6)
    learner.heed(scores(teacher=0.0, a=4.0))
    trained(learner, batches(8))
    assert learner.losses()["a"]["distillation"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("trainable", "moving"),
    [
        ("head", ["advantage.weight", "advantage.bias"]),
        ("body.2.*", ["body.2.weight", "body.2.bias"]),
        ("*.bias", ["body.0.bias", "body.2.bias", "advantage.bias"]),
        ("all", ["body.0.weight", "body.0.bias", "body.2.weight", "body.2.bias", "advantage.weight", "advantage.bias"]),
    ],
)
def test_only_what_may_train_moves(trainable, moving):
    config = StudentConfig(losses=(LossConfig(), LossConfig("hint")), trainable=trainable)
    first, second = (learner_of({"a": config}, FROZEN) for _ in range(2))
    before = first.state()["students"]["a"]["trained"]["network"]
    trained(first, batches(4))
    after = first.state()["students"]["a"]["trained"]["network"]
    assert [name for name in before if not torch.equal(before[name], after[name])] == moving
    trained(second, batches(2, seed=6))
    second.restore(as_stored(first.state()))
    assert to_bytes(trained(second, batches(3))) == to_bytes(trained(first, batches(3)))
    np.testing.assert_equal(as_stored(second.state()), as_stored(first.state()))


def test_a_lesson_addressed_to_nobody_is_for_all():
    lesson = Lesson(OBSERVATION, torch.zeros(128, 3), q_for={"a": torch.ones(128, 3)})
    assert not lesson.addressed_to("b").q.any()
    assert lesson.addressed_to("a").q.all()
    shared = Lesson(OBSERVATION, torch.zeros(128, 3))
    assert shared.addressed_to("b") is shared
    assert [Lesson(OBSERVATION, lesson.q, leader="a").addressed_to(name).heard for name in "ab"] == [False, True]
