"""What kinds of values a teacher learns: each comes to the known values of a small chain, and teaches Q-values."""

import dataclasses

import numpy as np
import pytest
import torch
from learning_samples import (
    CPU,
    FIVE_STUDENTS,
    SPEC,
    as_stored,
    at_zero,
    batches,
    by_priority,
    learner_of,
    network,
    steps,
    to_bytes,
    trained,
)

from distributed_kd.learning.normaliser import Normaliser
from distributed_kd.learning.teacher import Importance, Teacher
from distributed_kd.maths.priorities import SMALLEST_PRIORITY
from distributed_kd.networks import to_flat
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import Batch

GAMMA = 0.9
OBSERVATION = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
# Two states, three actions: (state, action, reward, state after, or None at an end). The last pays -1 or .6, each as often.
CHAIN = [
    (0, 0, 0.0, 1), (0, 1, 0.5, None), (0, 2, 0.0, 0), (1, 0, 1.0, None), (1, 1, 0.0, 0),
    (1, 2, -1.0, None), (1, 2, 0.6, None),
]  # fmt: skip
STATES = torch.eye(4)[:2]
# By hand: 1 is the best of the second state, .9 * 1 that of the first, and .9 * .9 what staying or going back brings.
Q = np.array([[0.9, 0.5, 0.81], [1.0, 0.81, -0.2]])


def chain() -> Batch:
    """Every step of the chain once."""
    state, action, reward, after = zip(*CHAIN, strict=True)
    return Batch(
        observation=np.eye(4, dtype=np.float32)[list(state)],
        action=np.array(action),
        n_step_return=np.array(reward, np.float32),
        discount=np.array([0.0 if one is None else GAMMA for one in after], np.float32),
        next_observation=np.eye(4, dtype=np.float32)[[one or 0 for one in after]],
        probability=np.ones(len(CHAIN), np.float32),
        row=np.arange(len(CHAIN)),
        oversampling=np.ones(len(CHAIN), np.float32),
    )


def soft_values(factor, temperature):
    """Munchausen values of the chain, from its equation gone over until nothing changes (Vieillard et al. 2020)."""
    q = np.zeros((2, 3))
    for _ in range(500):
        log_pi = q / temperature - np.log(np.exp(q / temperature).sum(1, keepdims=True))
        value = (np.exp(log_pi) * (q - temperature * log_pi)).sum(1)
        sums, counts = np.zeros((2, 3)), np.zeros((2, 3))
        for state, action, reward, after in CHAIN:
            earned = reward + factor * np.clip(temperature * log_pi[state, action], -1, 0)
            sums[state, action] += earned + (0.0 if after is None else GAMMA * value[after])
            counts[state, action] += 1
        q = sums / counts
    return q


LEARN = {"learning_rate": 0.05, "learning_rate_end": 0.02, "target_update": 15.0}
KINDS = {
    "plain": (TeacherConfig(**LEARN), Q),
    "single": (TeacherConfig(**LEARN, double=False), Q),
    "c51": (TeacherConfig(**LEARN, distribution="c51", atoms=41, v_min=-2.0, v_max=2.0), Q),
    "c51, single, dueling": (
        TeacherConfig(**LEARN, distribution="c51", atoms=41, v_min=-2.0, v_max=2.0, double=False, dueling=True), Q,
    ),
    "quantile": (TeacherConfig(**LEARN, distribution="quantile", atoms=8), Q),
    "quantile, dueling": (TeacherConfig(**LEARN, distribution="quantile", atoms=8, dueling=True), Q),
    "Munchausen": (TeacherConfig(**LEARN, munchausen=0.9, munchausen_temperature=0.1), soft_values(0.9, 0.1)),
    "Munchausen, warm": (TeacherConfig(**LEARN, munchausen=0.5, munchausen_temperature=0.5), soft_values(0.5, 0.5)),
}  # fmt: skip


@pytest.mark.parametrize(("config", "expected"), KINDS.values(), ids=KINDS)
def test_each_comes_to_the_values_of_a_chain_and_teaches_them(config, expected):
    teacher = Teacher(network(**vars(config.head)), config)
    batch = steps(chain())
    for number in range(500):
        teacher.update(batch, number / 500)
    lesson = teacher.lesson(STATES)
    assert lesson.q.shape == (2, 3) and not lesson.q.requires_grad
    np.testing.assert_allclose(lesson.q.numpy(), expected, atol=0.03)


def test_a_munchausen_error_worked_by_hand():
    # One step by hand, at a temperature of .1 and all actions alike: .1 * log(1/3) = -.109861, so that the action that ends
    # with .5 is worth .5 - .9 * .109861 = .401125.
    teacher = Teacher(at_zero(), TeacherConfig(munchausen=0.9, munchausen_temperature=0.1), Importance(0.0, 0.0))
    one = batches(1, size=1)[0]
    one = dataclasses.replace(one, n_step_return=np.array([0.5], np.float32), discount=np.zeros(1, np.float32))
    learned = teacher.update(steps(one), 0.0)
    assert learned.priority.item() == pytest.approx(0.401125 + SMALLEST_PRIORITY, rel=1e-4)
    assert np.abs(soft_values(0.9, 0.1) - Q).max() > 0.1, "or the chain would not tell it from plain values"


def test_c51_learns_how_the_return_is_spread_and_not_its_mean_alone():
    config, _ = KINDS["c51"]
    teacher = Teacher(network(**vars(config.head)), config)
    for _ in range(400):
        teacher.update(steps(chain()), 0.0)
    likely = teacher.network.distribution(STATES)[1, 2].softmax(0).detach().numpy()
    at = {round(-2 + 0.1 * place, 1): likely[place] for place in range(41)}
    assert at[-1.0] == pytest.approx(0.5, abs=0.05)
    assert at[0.6] == pytest.approx(0.5, abs=0.05)


def test_quantiles_lie_on_both_of_two_returns():
    config, _ = KINDS["quantile"]
    teacher = Teacher(network(**vars(config.head)), config)
    for number in range(500):
        teacher.update(steps(chain()), number / 500)
    quantiles = teacher.network.distribution(STATES)[1, 2].sort().values
    # Errors below 1 count by their squares, which draws the quantiles together: the outermost ones lie nearest the returns.
    assert quantiles[0] < -0.7
    assert quantiles[-1] > 0.3


def test_the_priority_of_a_distribution_is_its_loss():
    for config in (KINDS["c51"][0], KINDS["quantile"][0]):
        teacher = Teacher(network(**vars(config.head)), config, Importance(0.0, 0.0))
        learned = teacher.update(steps(batches(1)[0]), 0.0)
        assert learned.priority.shape == (16,) and not learned.priority.requires_grad
        assert learned.priority.mean().item() == pytest.approx(learned.logged["loss"].item() + SMALLEST_PRIORITY, rel=1e-5)
        assert (learned.priority > 0).all()


# ---- noise on the weights

NOISY = {
    "noisy": TeacherConfig(noisy=True, target_update=3),
    "noisy, dueling": TeacherConfig(noisy=True, dueling=True, target_update=0.1),
    "noisy, dueling c51": TeacherConfig(noisy=True, dueling=True, distribution="c51", atoms=11, target_update=3),
    "noisy average": TeacherConfig(noisy=True, teaches="average", average_rate=0.2, target_update=3),
    "noisy target": TeacherConfig(noisy=True, teaches="target", target_update=3),
}


def noisy_teacher(config, seed=0, net=0):
    return Teacher(network(8, seed=net, **vars(config.head)), config, seed=seed)


@pytest.mark.parametrize("config", [NOISY["noisy"], NOISY["noisy, dueling"], NOISY["noisy, dueling c51"]])
def test_a_lesson_has_no_noise(config):
    teacher = noisy_teacher(config)
    for batch in batches(5):
        teacher.update(steps(batch), 0.0)
        said = teacher.lesson(OBSERVATION).q
        mean = network(8, **{**vars(config.head), "noisy": False})
        mean.load_state_dict({n: v for n, v in teacher.network.state_dict().items() if not n.endswith("sigma")})
        torch.testing.assert_close(said, mean(OBSERVATION).detach())


def test_it_learns_under_noise_that_its_seed_decides():
    config = NOISY["noisy"]
    flats = {}
    for seed in (0, 0, 1):
        teacher = noisy_teacher(config, seed)
        before = teacher.network.advantage.weight_sigma.detach().clone()
        for batch in batches(4):
            teacher.update(steps(batch), 0.0)
        assert not torch.equal(teacher.network.advantage.weight_sigma, before), "how much noise there is is learned"
        flats.setdefault(seed, set()).add(to_flat(teacher.network).tobytes())
    assert [len(found) for found in flats.values()] == [1, 1]
    assert flats[0] != flats[1]


def test_every_update_draws_anew_for_both_networks():
    teacher = noisy_teacher(NOISY["noisy"])
    seen = []
    net, target = teacher.network, teacher._target.network
    for one in (net, target):
        one.register_forward_pre_hook(lambda module, _: seen.append(module.advantage.noise_in.clone()))
    for batch in batches(3):
        teacher.update(steps(batch), 0.0)
    distinct = {noise.numpy().tobytes() for noise in seen}
    assert len(distinct) == 6, "online and target network, in each of three updates"
    assert all(noise.any() for noise in seen)


@pytest.mark.parametrize("config", NOISY.values(), ids=NOISY)
def test_noisy_and_restored_it_goes_on_to_the_byte(config):
    first, second = noisy_teacher(config), noisy_teacher(config, seed=7, net=1)
    data = [steps(batch) for batch in batches(10)]
    for batch in data[:4]:
        first.update(batch, 0.1)
    second.update(data[9], 0.0)  # a past of its own
    second.restore(as_stored(first.state()))
    for batch in data[4:]:
        for teacher in (first, second):
            teacher.update(batch, 0.5)
        assert to_flat(second.network).tobytes() == to_flat(first.network).tobytes()
    assert torch.equal(second.lesson(OBSERVATION).q, first.lesson(OBSERVATION).q)
    np.testing.assert_equal(as_stored(second.state()), as_stored(first.state()))


# ---- beside students

ALL_AT_ONCE = {
    "noisy dueling c51": TeacherConfig(noisy=True, dueling=True, distribution="c51", atoms=11, n_step=3, target_update=3),
    "noisy quantile": TeacherConfig(noisy=True, distribution="quantile", atoms=6, teaches="average", target_update=0.1),
    "Munchausen": TeacherConfig(munchausen=0.9, noisy=True, dueling=True, target_update=3),
}


@pytest.mark.parametrize("apart", [False, True], ids=["corrected", "uniform"])
@pytest.mark.parametrize("config", ALL_AT_ONCE.values(), ids=ALL_AT_ONCE)
def test_with_all_of_it_on_students_never_change_the_teacher(config, apart):
    def learned(students):
        more = {"importance": Importance(0.4, 1.0), "normaliser": Normaliser(SPEC, CPU)}
        learner = trained(learner_of(students, config, **more), by_priority(batches(12), apart=apart))
        return learner, learner.priorities()

    (alone, drawn), (among, beside) = learned(()), learned(FIVE_STUDENTS)
    assert to_bytes(among)["teacher"] == to_bytes(alone)["teacher"]
    assert beside.priority.tobytes() == drawn.priority.tobytes()
    np.testing.assert_equal(as_stored(among.teacher.state()), as_stored(alone.teacher.state()))
    assert to_bytes(learned(["kl"])[0])["kl"] == to_bytes(among)["kl"] != to_bytes(learner_of(["kl"]))["kl"]
