"""Students that learn from the steps of their own lanes, by policy gradient."""

import dataclasses
from math import log

import pytest
import torch
from learning_samples import (
    CPU,
    SPEC,
    as_lesson,
    at_zero,
    batches,
    learner_of,
    network,
    steps,
    student_of,
    to_bytes,
    trained,
)

from distributed_kd.learning.lesson import Lesson, Steps
from distributed_kd.learning.objective import Objective, Sight, Temperatures, Told
from distributed_kd.maths.distillation import LOSSES
from distributed_kd.networks import to_flat
from distributed_kd.student_config import LossConfig, StudentConfig

AUTO = torch.tensor(1.0)
ONLY = StudentConfig(loss="policy_gradient", temperature=1.0)
TEACHER_Q = torch.tensor([[log(2), 0.0, 0.0]])
"""as a policy (1/2, 1/4, 1/4)"""


@pytest.mark.parametrize(
    ("share", "kl_weight", "weight"), [(1.0, 0.0, 1.0), (0.5, 4.0, 1.0), (0.0, 4.0, 1.0), (1.0, 1.0, 3.0)]
)
def test_policy_state_value_and_kl_worked_by_hand(share, kl_weight, weight):
    net = at_zero()  # outputs of 0: each action has 1/3
    both = Objective([LossConfig("policy_gradient", kl_weight=kl_weight, weight=weight)], 0.0, [], [], 4)
    value, value_bias = both.parameters()
    with torch.no_grad():
        value.zero_()
        value_bias.fill_(2.0)
    # Values of 2 everywhere: advantages 2 + .5 * 2 - 2 = 1 and 1 + 0 - 2 = -1, which are standardised already.
    observation = torch.eye(4)[:2]
    own = Steps(
        observation=observation,
        action=torch.tensor([0, 1]),
        n_step_return=torch.tensor([2.0, 1.0]),
        discount=torch.tensor([0.5, 0.0]),
        next_observation=5 * observation,
        probability=torch.tensor([1 / 3, 1 / 3]),
        oversampling=torch.ones(2),
    )
    sight, after = Sight.through(net, own.observation), Sight.through(net, own.next_observation)
    told = Told(TEACHER_Q.repeat(2, 1), (), None)
    loss = both.from_own_steps(own, sight, after, told, Temperatures(1.0, AUTO, 1.0), share, progress=0.0)
    loss.backward()
    # Policy -(1 - 1) / 2; state value .5 * (.5 + .5) / 2; KL 1/2 log(3/2) + 1/2 log(3/4).
    kl = share * kl_weight * (log(1.5) + log(0.75)) / 2
    assert loss.item() == pytest.approx(weight * (0.25 + kl), rel=1e-4)
    # -A (1(a) - pi) / 2 a row, and pi - p_T = (-1/6, 1/12, 1/12) over 2
    drawn = share * kl_weight * torch.tensor([-1 / 12, 1 / 24, 1 / 24])
    rows = torch.tensor([[-1 / 3, 1 / 6, 1 / 6], [-1 / 6, 1 / 3, -1 / 6]]) + drawn
    expected = torch.zeros(3, 4)
    expected[:, :2] = rows.T
    torch.testing.assert_close(net.advantage.weight.grad, weight * expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(net.advantage.bias.grad, weight * rows.sum(0), rtol=1e-4, atol=1e-6)
    # Half of -(error 1) and of -(error -1), over 2; the value of what the steps led to is no variable.
    torch.testing.assert_close(value.grad, weight * torch.tensor([[-0.25, 0.25, 0.0, 0.0]]))
    assert value_bias.grad.item() == 0.0


def test_importance_and_smoothing_reach_its_kl():
    torch.manual_seed(0)
    net, own = network(8), steps(batches(1)[0])
    sight, said = Sight.through(net, own.observation), as_lesson(network(16), own.observation)
    weight, totals = torch.tensor([2.0, 0.0] * 8), []
    for kl_weight in (0.0, 10.0):
        torch.manual_seed(0)
        both = Objective([LossConfig("policy_gradient", kl_weight=kl_weight, temperature=0.1)], 0.3, [(8,)], [(16,)], 8)
        told, temperatures = Told(said.q, (), weight), Temperatures(1.0, AUTO, 1.0)
        totals.append(both.from_own_steps(own, sight, sight, told, temperatures, 1.0, progress=0.0))
    kl = LOSSES["kl"](sight.outputs, said.q, 0.1, weight=weight, smoothing=0.3)
    torch.testing.assert_close(totals[1] - totals[0], 10 * kl)


def test_it_counts_in_its_phase_alone():
    own = steps(batches(1)[0])
    student = student_of(network(8), StudentConfig(losses=(LossConfig("kl"), LossConfig("policy_gradient", until=0.5))))
    told = as_lesson(network(16), own.observation)
    counted = [
        student.update(told, AUTO, progress, True, own, (own, told))["policy_gradient_loss"].item()
        for progress in (0.0, 0.49, 0.5, 1.0)
    ]
    assert [loss != 0 for loss in counted] == [True, True, False, False]


def test_it_counts_beside_what_is_learned_from_the_shared_batch():
    net, (shared, own) = network(8), batches(2)
    student = student_of(net, StudentConfig(losses=(LossConfig("kl", weight=0.5), LossConfig("policy_gradient"))))
    lesson = as_lesson(network(16), steps(shared).observation)
    kl = LOSSES["kl"](net(lesson.observation), lesson.q, 0.01).item()
    said = as_lesson(network(16), steps(own).observation)
    logged = student.update(lesson, AUTO, 0.0, True, steps(shared), (steps(own), said))
    assert logged["policy_gradient_loss"] != 0
    assert logged["loss"].item() == pytest.approx(0.5 * kl + logged["policy_gradient_loss"].item(), rel=1e-5)
    kl = LOSSES["kl"](net(lesson.observation), lesson.q, 0.01).item()
    logged = student.update(lesson, AUTO, 0.0, True, steps(shared))
    assert logged["loss"].item() == pytest.approx(0.5 * kl, rel=1e-5)
    assert student.updates == 2


def test_before_its_first_own_steps_it_does_nothing_and_counts_nothing():
    learner = learner_of({"own": ONLY, "kl": StudentConfig()})
    before = to_bytes(learner)
    trained(learner, batches(4))
    assert learner.updates_of == {"own": 0, "kl": 4}
    assert to_bytes(learner)["own"] == before["own"]
    trained(learner, [dataclasses.replace(batch, own={"own": batches(1, seed=8)[0]}) for batch in batches(2)])
    assert learner.updates_of == {"own": 2, "kl": 6}
    assert to_bytes(learner)["own"] != before["own"]


def test_its_schedules_begin_with_its_first_own_steps():
    student = student_of(network(8), dataclasses.replace(ONLY, temperature_end=0.5))
    (batch,) = batches(1)
    lesson = as_lesson(network(16), steps(batch).observation)
    assert student.update(lesson, AUTO, 0.25, True, steps(batch)) == {}
    for progress, temperature in ((0.5, 1.0), (0.75, 0.75), (1.0, 0.5)):
        logged = student.update(lesson, AUTO, progress, True, steps(batch), (steps(batch), lesson))
        assert logged["temperature"].item() == temperature


def played(net, random, rewarded=2, count=64):
    """Steps of one state, each the whole of an episode that pays 1 for one action."""
    observation = torch.ones(count, *SPEC.observation_shape)
    policy = net(observation).softmax(1).detach()
    action = torch.multinomial(policy, 1, generator=random)
    probability = policy.gather(1, action).squeeze(1)
    action = action.squeeze(1)
    earned, zeros, ones = (action == rewarded).float(), torch.zeros(count), torch.ones(count)
    return Steps(observation, action, earned, zeros, observation, probability, ones)


@pytest.mark.parametrize("kl_weight", [0.0, 100.0])
def test_alone_it_finds_the_action_that_pays_and_held_by_the_teacher_it_stays(kl_weight):
    term = LossConfig("policy_gradient", kl_weight=kl_weight)
    net, random = at_zero(), torch.Generator(CPU).manual_seed(0)
    student = student_of(net, StudentConfig(losses=(term,), temperature=1.0, learning_rate=0.02))
    for _ in range(150):
        own = played(net, random)
        lesson = Lesson(own.observation, TEACHER_Q.repeat(64, 1))
        student.update(lesson, AUTO, 0.0, False, own, (own, lesson))
    policy = net(torch.ones(1, 4)).softmax(1)[0]
    if kl_weight:
        torch.testing.assert_close(policy, torch.tensor([0.5, 0.25, 0.25]), atol=0.03, rtol=0)
    else:
        assert policy[2] > 0.9
    assert student.updates == 150


def test_it_leaves_the_teacher_alone():
    data = [dataclasses.replace(batch, own={"own": batches(1, seed=8)[0]}) for batch in batches(5)]
    with_it, without = trained(learner_of({"own": ONLY}), data), trained(learner_of(), data)
    assert to_flat(with_it.teacher.network).tobytes() == to_flat(without.teacher.network).tobytes()
