import copy

import numpy as np
import pytest
import torch
from learning_samples import as_stored, bare_dqn, batches, network, steps

from distributed_kd.learning.lesson import Steps
from distributed_kd.learning.teacher import Teacher
from distributed_kd.networks import to_flat
from distributed_kd.policy_config import TeacherConfig

CONFIGS = {
    "double, copied": TeacherConfig(double=True, target_update=4),
    "single, copied": TeacherConfig(double=False, target_update=4),
    "double, polyak": TeacherConfig(double=True, target_update=0.3),
    "single, polyak": TeacherConfig(double=False, target_update=0.05),
    "copied at every update": TeacherConfig(target_update=1),
    "clipped": TeacherConfig(target_update=4, max_grad_norm=0.3),
    "decaying": TeacherConfig(target_update=4, learning_rate_end=0.0),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("dueling", [False, True], ids=["plain", "dueling"])
def test_the_same_updates_as_bare_dqn(config, dueling):
    config = TeacherConfig(**{**vars(config), "learning_rate": 0.02})
    net, progresses = network(16, dueling=dueling), np.linspace(0, 1, 15)
    teacher = Teacher(copy.deepcopy(net), config)
    bare = bare_dqn(net, config, batches(15, scale=2.0), progresses)
    for batch, progress, (expected, loss) in zip(batches(15, scale=2.0), progresses, bare, strict=True):
        logged = teacher.update(steps(batch), progress).logged
        np.testing.assert_allclose(to_flat(teacher.network), expected, rtol=1e-3, atol=1e-5)
        assert logged["loss"].item() == pytest.approx(loss, rel=1e-3)
    assert teacher.updates == 15


def test_the_configurations_above_are_told_apart_by_it():
    ends = []
    for config in CONFIGS.values():
        config = TeacherConfig(**{**vars(config), "learning_rate": 0.02})
        *_, (flat, _) = bare_dqn(network(16), config, batches(15, scale=2.0), np.linspace(0, 1, 15))
        ends.append(flat)
    for one in range(len(ends)):
        for other in range(one):
            assert np.abs(ends[one] - ends[other]).max() > 1e-3


def one_step(observation, action, n_step_return, discount, following):
    columns = (torch.tensor([value]) for value in (action, n_step_return, discount))
    return Steps(observation, *columns, following, torch.ones(1), torch.ones(1))


def linear(weights):
    """Q-values of three actions that are multiples of the first input."""
    net = network()
    with torch.no_grad():
        net.advantage.weight.zero_()
        net.advantage.weight[:, 0] = torch.tensor(weights)
        net.advantage.bias.zero_()
    return net


@pytest.mark.parametrize("double", [False, True])
def test_an_n_step_target_worked_by_hand(double):
    teacher = Teacher(linear([1.0, 2.0, 3.0]), TeacherConfig(double=double, gamma=0.5))
    one = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    # Target 0.4 + 0.5^2 * 3 * 2 = 1.9; Q(1, action 0) = 1; the error of .9 costs .5 * .81.
    logged = teacher.update(one_step(one, 0, 0.4, 0.25, 2 * one), 0.0).logged
    assert logged["loss"].item() == pytest.approx(0.405)
    assert logged["q_mean"].item() == pytest.approx(2.0)
    # Its gradient: -.9 for the one weight and for the bias.
    assert logged["grad_norm"].item() == pytest.approx(0.9 * 2**0.5)


def test_double_q_learning_takes_the_online_networks_action_and_the_targets_value():
    teacher = Teacher(linear([1.0, 2.0, 3.0]), TeacherConfig(double=True))
    with torch.no_grad():
        teacher.network.advantage.weight[:, 0] = torch.tensor([5.0, 2.0, 0.0])
    one = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    logged = teacher.update(one_step(one, 1, 0.0, 0.5, one), 0.0).logged
    # The online network picks action 0, which the target network values at 1: 0.5 against Q = 2, so 1.5 - .5.
    assert logged["loss"].item() == pytest.approx(1.0)


def test_the_target_network_starts_as_the_online_one_and_is_no_part_of_it():
    net = network(8)
    teacher = Teacher(net, TeacherConfig(target_update=1000))
    before = to_flat(net)
    teacher.update(steps(batches(1)[0]), 0.0)
    target = np.concatenate([value.numpy().ravel() for value in teacher.state()["target"].values()])
    np.testing.assert_array_equal(target, before)
    assert not np.array_equal(to_flat(teacher.network), before)


def test_targets_are_the_q_values_now_without_a_gradient():
    teacher = Teacher(network(8), TeacherConfig(target_update=1000))
    batch = steps(batches(1)[0])
    for _ in range(3):
        teacher.update(batch, 0.0)
        q = teacher.lesson(batch.observation).q
        assert torch.equal(q, teacher.network(batch.observation))
        assert not q.requires_grad


@pytest.mark.parametrize("target_update", [4, 0.2])
def test_restored_it_goes_on_to_the_byte(target_update):
    config = TeacherConfig(target_update=target_update, learning_rate_end=0.1)
    first, second = Teacher(network(8), config), Teacher(network(8, seed=1), config)
    data = [steps(batch) for batch in batches(14)]
    for number, batch in enumerate(data[:6]):
        first.update(batch, number / 20)
    second.restore(as_stored(first.state()))
    assert second.updates == 6
    for number, batch in enumerate(data[6:], start=6):
        for teacher in (first, second):
            teacher.update(batch, number / 20)
        assert to_flat(second.network).tobytes() == to_flat(first.network).tobytes()
    np.testing.assert_equal(as_stored(second.state()), as_stored(first.state()))
