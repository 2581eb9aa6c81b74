import pytest
import torch
from learning_samples import as_stored, learn, network, student_of

from distributed_kd.maths.distillation import LOSSES
from distributed_kd.maths.targets import agreement, target_entropy
from distributed_kd.networks import to_flat
from distributed_kd.student_config import StudentConfig

AUTO = torch.tensor(0.25)


def states(count=128):
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(0))


def teacher_q(observation):
    """Q-values of a fixed teacher, with gaps near 1."""
    with torch.no_grad():
        return 10 * network(32, 32, seed=99)(observation)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_teaches_the_teachers_actions(loss):
    observation = states()
    q = teacher_q(observation)
    assert (q.argmax(1).bincount(minlength=3) > 10).all(), "or one action everywhere would do"
    student = student_of(network(64, 64, seed=7), StudentConfig(loss=loss, temperature="auto", learning_rate=5e-3))
    before = agreement(student.network(observation), q)
    for _ in range(300):
        logged = learn(student, observation, q, AUTO, 0.0, measure=True)
    assert before < 0.8
    assert agreement(student.network(observation), q) > 0.95
    assert logged["agreement"] > 0.95
    assert student.updates == 300


def test_losses_on_values_bring_the_values_and_losses_on_policies_the_policy():
    observation = states(32)
    q = teacher_q(observation)
    for loss, goal in (("mse", q), ("huber", q), ("kl", (q / 2.0).softmax(1)), ("kl_q", (q / 2.0).softmax(1))):
        student = student_of(network(64, 64, seed=7), StudentConfig(loss=loss, temperature=2.0, learning_rate=5e-3))
        for _ in range(400):
            learn(student, observation, q, AUTO, 0.0, measure=False)
        output = student.network(observation)
        reached = {"kl": output.softmax(1), "kl_q": (output / 2.0).softmax(1)}.get(loss, output)
        assert (reached - goal).abs().mean() < 0.05


@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_an_update_worked_by_hand(loss):
    net = network()
    with torch.no_grad():
        net.advantage.weight.zero_()
        net.advantage.bias.zero_()
    student = student_of(net, StudentConfig(loss=loss, temperature=2.0, learning_rate=0.1, max_grad_norm=1e9))
    observation, q = torch.zeros(1, 4), torch.tensor([[2.0, 0.0, -2.0]])
    logged = learn(student, observation, q, AUTO, 0.0, measure=True)
    p = (q / 2).softmax(1)
    # From outputs of 0: the sum of squares 8, or log 3 less the entropy of the target. Gradients -2q, or 1/3 - p.
    entropy = -(p * p.log()).sum()
    expected = {"kl": torch.log(torch.tensor(3.0)) - entropy, "mse": torch.tensor(8.0)}[loss]
    gradient = {"kl": 1 / 3 - p, "mse": -2 * q}[loss]
    assert logged["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert logged["grad_norm"].item() == pytest.approx(gradient.norm().item(), rel=1e-5)
    assert logged["teacher_entropy"].item() == pytest.approx(entropy.item(), rel=1e-5)
    assert logged["temperature"] == 2.0
    assert logged["agreement"] == 1.0  # both take the first action of the best
    # Adam's first step is the learning rate against the gradient's sign; the middle action of mse has none.
    moved = -0.1 * gradient.sign()[0]
    torch.testing.assert_close(net.advantage.bias.detach(), moved, rtol=1e-4, atol=1e-6)


def test_auto_takes_the_running_temperature_and_a_number_stays():
    observation = states(8)
    q = teacher_q(observation)
    for temperature, expected in (("auto", 0.25), (0.7, 0.7)):
        student = student_of(network(8), StudentConfig(temperature=temperature))
        logged = learn(student, observation, q, AUTO, 0.0, measure=True)
        assert logged["temperature"].item() == pytest.approx(expected)
        assert logged["teacher_entropy"].item() == pytest.approx(target_entropy(q, expected).item())


def test_measuring_changes_nothing_and_is_not_done_unasked():
    observation = states(8)
    q = teacher_q(observation)
    measured, unmeasured = (student_of(network(8), StudentConfig()) for _ in range(2))
    for _ in range(5):
        assert learn(measured, observation, q, AUTO, 0.0, measure=True)
        assert learn(unmeasured, observation, q, AUTO, 0.0, measure=False) == {}
    assert to_flat(measured.network).tobytes() == to_flat(unmeasured.network).tobytes()


def test_restored_it_goes_on_to_the_byte():
    config = StudentConfig(temperature="auto", learning_rate_end=0.2)
    first, second = student_of(network(8), config), student_of(network(8, seed=1), config)
    observation = states(16)
    q = teacher_q(observation)
    for number in range(5):
        learn(first, observation, q, AUTO, number / 20, False)
    second.restore(as_stored(first.state()))
    assert second.updates == 5
    for number in range(5, 12):
        for student in (first, second):
            learn(student, observation, q, AUTO, number / 20, False)
        assert to_flat(second.network).tobytes() == to_flat(first.network).tobytes()
