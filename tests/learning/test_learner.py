import dataclasses

import numpy as np
import pytest
import torch
from learning_samples import FIVE_STUDENTS, as_stored, batches, learner_of, steps, to_bytes, trained

from distributed_kd.learning.learner import MEASURE_EVERY
from distributed_kd.maths.distillation import kl
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import StudentConfig


def test_students_never_change_the_teacher():
    alone, among = trained(learner_of(), batches(30)), trained(learner_of(FIVE_STUDENTS), batches(30))
    assert to_bytes(among)["teacher"] == to_bytes(alone)["teacher"]
    np.testing.assert_equal(as_stored(among.teacher.state()), as_stored(alone.teacher.state()))
    assert to_bytes(alone)["teacher"] != to_bytes(learner_of())["teacher"]


@pytest.mark.parametrize("name", FIVE_STUDENTS)
def test_a_student_learns_alone_as_among_five(name):
    among, alone = trained(learner_of(FIVE_STUDENTS), batches(20)), trained(learner_of([name]), batches(20))
    assert to_bytes(among)[name] == to_bytes(alone)[name]
    reverse = learner_of(dict(reversed(FIVE_STUDENTS.items())))
    assert to_bytes(trained(reverse, batches(20)))[name] == to_bytes(alone)[name]
    assert to_bytes(alone)[name] != to_bytes(learner_of([name]))[name]


def test_students_learn_from_what_the_teacher_said_in_its_own_update():
    config = StudentConfig(temperature=0.5)
    learner, (batch,) = learner_of({"tiny": config}, TeacherConfig(learning_rate=0.1, target_update=1000)), batches(1)
    observation = torch.tensor(batch.observation)
    student = learner.students["tiny"].network(observation).detach()
    old_q = learner.teacher.lesson(observation).q
    learner.update(batch, 0.0)
    new_q = learner.teacher.lesson(observation).q
    loss = learner.losses()["tiny"]["loss"]
    assert loss == pytest.approx(kl(student, old_q, 0.5).item(), rel=1e-4)
    assert loss != pytest.approx(kl(student, new_q, 0.5).item(), rel=1e-2)


def test_one_teacher_forward_serves_all_students(monkeypatch):
    learner = learner_of(FIVE_STUDENTS)
    asked = []
    trace = learner.teacher._learns.trace
    monkeypatch.setattr(learner.teacher._learns, "trace", lambda observation: asked.append(1) or trace(observation))
    trained(learner, batches(3))
    assert len(asked) == 3  # and it is the one that its own update took


@pytest.mark.parametrize("teaches", ["target", "average", "best"])
def test_where_another_copy_teaches_it_is_asked_itself(teaches):
    config = TeacherConfig(learning_rate=0.1, target_update=1000, teaches=teaches, average_rate=0.01)
    learner, (batch,) = learner_of({"tiny": StudentConfig(temperature=0.5)}, config), batches(1)
    learned = learner.teacher.update(steps(batch), 0.0)
    assert learned.lesson is None


def test_weights_are_named_by_the_updates_and_stay_as_they_were_published():
    learner = learner_of(["kl", "mse"])
    first = learner.weights()
    assert first.version == 0
    assert list(first.flat) == ["teacher", "kl", "mse"]
    kept = {name: flat.copy() for name, flat in first.flat.items()}
    trained(learner, batches(4))
    second = learner.weights()
    assert second.version == learner.updates == 4
    for name, flat in first.flat.items():
        assert flat.dtype == np.float32
        np.testing.assert_array_equal(flat, kept[name])
        assert not np.array_equal(flat, second.flat[name])
        in_order = [parameter.detach().numpy().ravel() for parameter in network_of(learner, name).parameters()]
        np.testing.assert_array_equal(second.flat[name], np.concatenate(in_order))
        # Nor is the learner moved by what a reader does to his copy.
        second.flat[name][:] = 0
        assert learner.weights().flat[name].any()


def network_of(learner, name):
    return learner.teacher.network if name == "teacher" else learner.students[name].network


def test_losses_are_means_over_the_measured_updates_since_the_last_call():
    learner = learner_of(["kl", "auto"])
    assert learner.losses() == {}
    data = batches(2 * MEASURE_EVERY)
    # Updates 0 and MEASURE_EVERY are measured; each by itself, and then both in one mean.
    singles = []
    for part in (data[:MEASURE_EVERY], data[MEASURE_EVERY:]):
        trained(learner, part)
        singles.append(learner.losses())
    together = trained(learner_of(["kl", "auto"]), data).losses()
    assert list(together) == ["teacher", "kl", "auto"]
    assert set(together["teacher"]) == {"loss", "grad_norm", "q_mean"}
    assert set(together["kl"]) == {"loss", "grad_norm", "temperature", "teacher_entropy", "agreement"}
    for name, values in together.items():
        for key, value in values.items():
            assert value == pytest.approx((singles[0][name][key] + singles[1][name][key]) / 2, rel=1e-5)
    assert learner.losses() == {}
    assert singles[0]["teacher"]["loss"] != singles[1]["teacher"]["loss"]


def test_temperature_auto_follows_the_teachers_action_gap():
    learner = learner_of(["auto", "kl"], TeacherConfig(learning_rate=1e-9))
    (batch,) = batches(1)
    learner.update(batch, 0.0)
    best = learner.teacher.lesson(torch.tensor(batch.observation)).q.sort(1).values
    gap = (best[:, 2] - best[:, 1]).mean().item()
    assert learner.losses()["auto"]["temperature"] == pytest.approx(gap / 3, rel=1e-4)
    with torch.no_grad():
        for parameter in learner.teacher.network.advantage.parameters():
            parameter *= 100
    trained(learner, [batch] * (100 * MEASURE_EVERY - 1))
    learner.losses()
    trained(learner, [batch])
    losses = learner.losses()
    # .99 ** 800 = .0003 of the old gap is left of one a hundred times as large.
    assert losses["auto"]["temperature"] == pytest.approx(100 * gap / 3, rel=0.02)
    assert losses["kl"]["temperature"] == pytest.approx(0.1)


@pytest.mark.parametrize("target_update", [5, 0.1])
def test_restored_in_the_middle_it_goes_on_to_the_byte(target_update):
    config = TeacherConfig(target_update=target_update, learning_rate_end=0.3)
    data = batches(24)
    first, second = learner_of(FIVE_STUDENTS, config), learner_of(FIVE_STUDENTS, config)
    for number, batch in enumerate(data[:11]):
        first.update(batch, number / 24)
    state = first.state()
    stored = as_stored(state)
    trained(second, batches(3, seed=5))  # a past of its own, which must leave nothing behind
    second.losses()
    second.restore(stored)
    assert second.updates == 11
    first.losses()
    for number, batch in enumerate(data[11:], start=11):
        for learner in (first, second):
            learner.update(batch, number / 24)
    assert to_bytes(second) == to_bytes(first)
    np.testing.assert_equal(as_stored(second.state()), as_stored(first.state()))
    assert second.losses() == first.losses()
    np.testing.assert_equal(as_stored(state), stored)  # a snapshot: no training since has written into it


def test_a_student_that_the_state_does_not_have_begins_anew():
    state = trained(learner_of(["kl"]), batches(5)).state()
    joined = learner_of(["kl", "mse"])
    joined.restore(state)
    assert joined.updates_of == {"kl": 5, "mse": 0}
    assert to_bytes(joined)["mse"] == to_bytes(learner_of(["mse"]))["mse"]


def test_a_state_of_another_shape_is_refused():
    state = learner_of(["kl"]).state()
    with pytest.raises(RuntimeError):
        learner_of(["kl"], hidden=(17,)).restore(state)


def test_the_batch_is_not_written_into():
    learner, data = learner_of(FIVE_STUDENTS), batches(3)
    kept = [dataclasses.asdict(batch) for batch in batches(3)]
    for batch in data:
        for column in [column for column in vars(batch).values() if isinstance(column, np.ndarray)]:
            column.flags.writeable = False  # as it comes out of Ray
    trained(learner, data)
    np.testing.assert_equal([dataclasses.asdict(batch) for batch in data], kept)


def test_in_half_the_digits_much_the_same_is_learned_and_values_keep_all_of_theirs():
    data = batches(8)
    quantiles = {"distribution": "quantile", "atoms": 5}  # none of the small networks that keep all digits
    teacher = TeacherConfig(**quantiles, target_update=3)
    whole, half = (trained(learner_of(["kl", "mse"], teacher, precision=of), data) for of in ("float32", "bfloat16"))
    for name, flat in whole.weights().flat.items():
        theirs = half.weights().flat[name]
        assert theirs.dtype == np.float32 and not np.array_equal(theirs, flat)
        moved = np.abs(flat - learner_of(["kl", "mse"], teacher).weights().flat[name]).max()
        assert np.abs(theirs - flat).mean() < 0.2 * moved
    with torch.autocast("cpu", torch.bfloat16):
        assert half.teacher.network(torch.tensor(data[0].observation)).dtype == torch.float32
