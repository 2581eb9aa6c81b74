"""learning.recorded: updates that are recorded and repeated learn what they would learn each by itself."""

from typing import get_args

import numpy as np
import pytest
import torch
from learning_samples import (
    CPU,
    FIVE_STUDENTS,
    SPEC,
    as_stored,
    batches,
    by_priority,
    learner_of,
    scores,
    trained,
    with_own_steps,
)
from tape import Tape, WaitsForDevice, as_on_a_gpu, without_waiting

from distributed_kd.errors import ConfigurationError
from distributed_kd.learning import adam
from distributed_kd.learning import learner as of_learner
from distributed_kd.learning.lesson import Taken
from distributed_kd.learning.normaliser import Normaliser
from distributed_kd.learning.recorded import WARM_UPS, CudaGraphs
from distributed_kd.learning.teacher import Importance
from distributed_kd.networks import to_flat
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import LossConfig, LossName, StudentConfig

TEACHERS = {
    "copied": TeacherConfig(target_update=3),
    "polyak": TeacherConfig(target_update=0.1, double=False),
    "dueling": TeacherConfig(target_update=3, dueling=True),
    "noisy": TeacherConfig(target_update=3, noisy=True),
    "c51": TeacherConfig(target_update=3, distribution="c51", atoms=5),
    "quantile": TeacherConfig(target_update=3, distribution="quantile", atoms=5),
    "munchausen": TeacherConfig(target_update=3, munchausen=0.9),
    "target teaches": TeacherConfig(target_update=5, teaches="target"),
    "average teaches": TeacherConfig(target_update=5, teaches="average", average_rate=0.1),
    "best teaches": TeacherConfig(target_update=5, teaches="best"),
    "frozen": TeacherConfig(source="elsewhere.zip"),
    "peers": TeacherConfig(source="peers"),
    "policies of peers": TeacherConfig(source="peers", combine="logsumexp"),
    "best of peers": TeacherConfig(source="peers", combine="best"),
}
EVERY_LOSS = {
    name: StudentConfig(loss=name, temperature="auto" if name == "kl_q" else 1.0)
    for name in get_args(LossName)
    if name != "attention"  # there are no convolutions here
}
MODIFIERS = {
    "td": StudentConfig(loss="kl_q", td_weight=1.0, target_update=4),
    "noise": StudentConfig(observation_noise=0.1, target_noise=0.1),
    "entropy": StudentConfig(importance="entropy", smoothing=0.1),
    "head": StudentConfig(trainable="head", target_update=2, td_weight=0.5, loss="mse"),
    "late": StudentConfig(warmup=4, temperature="auto"),
    "phases": StudentConfig(losses=(LossConfig("kl", until=0.6), LossConfig("mse", since=0.3, target="scaled"))),
}
MOVING = {
    "rate": StudentConfig(learning_rate_end=0.1),
    "temperature": StudentConfig(temperature="auto", temperature_end=0.2),
    "less and less": StudentConfig(distillation="linear", td_weight=1.0, loss="kl_q"),
    "by score": StudentConfig(distillation="performance"),
    "late": StudentConfig(warmup=4, learning_rate_end=0.2, temperature_end=0.5),
    "switch": StudentConfig(losses=(LossConfig("hard_soft", switch=0.5),), learning_rate_end=0.3),
}
PEERS = {name: StudentConfig(loss="kl_q", temperature=1.0, td_weight=1.0, target_update=4) for name in "abc"}


@pytest.fixture(autouse=True)
def _measured_often(monkeypatch):
    monkeypatch.setattr(of_learner, "MEASURE_EVERY", 3)
    as_on_a_gpu(monkeypatch)


def students_of(teacher):
    return PEERS if teacher.is_peers else {**FIVE_STUDENTS, "td": MODIFIERS["td"]}


def course(learner, data):
    """What comes of learning from these batches, with an evaluation on the way: all that a run would see of it."""
    given, lost = [], []
    means = {name: 3.0 + place for place, name in enumerate(learner.students)}
    for number, batch in enumerate(data):
        learner.update(batch, number / len(data))
        if number % 7 == 6:
            given.append(learner.priorities())
            lost.append(learner.losses())
        if number == len(data) // 2:
            learner.heed(scores(to_flat(learner.teacher.network), teacher=5.0, **means))
    return given, lost, learner.updates_of, as_stored(learner.state())


def both(students, teacher, data, **more):
    """The course of a learner that records, that of one that does not, and the tape."""
    tape = Tape()
    made = []
    for recorder in (tape, None):
        normaliser = {"normaliser": Normaliser(SPEC, CPU)} if more.get("normalise") else {}
        others = {key: value for key, value in more.items() if key != "normalise"}
        made.append(course(learner_of(students, teacher, recorder=recorder, **normaliser, **others), data))
    return *made, tape


def assert_the_same(ours, theirs):
    for (mine, lost, counts, state), (priorities, losses, updates_of, expected) in [(ours, theirs)]:
        np.testing.assert_equal(
            [vars(one) for one in mine if one is not None], [vars(one) for one in priorities if one is not None]
        )
        assert (lost, counts) == (losses, updates_of)
        np.testing.assert_equal(state, expected)


@pytest.mark.parametrize("kind", TEACHERS)
def test_every_kind_of_teacher_learns_and_teaches_the_same_to_the_byte(kind):
    teacher = TEACHERS[kind]
    ours, theirs, tape = both(students_of(teacher), teacher, batches(24))
    assert_the_same(ours, theirs)
    assert tape.replayed >= 5 and tape.recorded >= 2


def test_students_of_every_loss_learn_the_same_to_the_byte():
    data = with_own_steps(batches(20), ["policy_gradient"])
    ours, theirs, tape = both(EVERY_LOSS, TEACHERS["copied"], data)
    assert_the_same(ours, theirs)
    assert tape.replayed == 20 - 1 - 2 * (WARM_UPS + 1)  # all but the first, and those by which each kind was recorded


@pytest.mark.parametrize("together", ["loop", "together"])
def test_students_with_every_modifier_learn_the_same_to_the_byte(together):
    ours, theirs, tape = both(MODIFIERS, TEACHERS["copied"], batches(40), together=together)
    assert_the_same(ours, theirs)
    assert tape.recorded >= 5  # anew where a student begins, and in each phase of another


@pytest.mark.parametrize("together", ["loop", "together"])
def test_numbers_that_move_over_the_run_are_those_of_the_update(together):
    teacher = TeacherConfig(target_update=3, learning_rate_end=0.1)
    ours, theirs, tape = both(MOVING, teacher, batches(40), together=together)
    assert tape.replayed > 10
    still = both(MOVING, TeacherConfig(target_update=3), batches(40), together=together)[0]
    for name in ("teacher", *MOVING):
        mine, expected = (
            whose[3]["teacher"] if name == "teacher" else whose[3]["students"][name] for whose in (ours, theirs)
        )
        for key, value in expected["trained"]["network"].items():
            np.testing.assert_allclose(mine["trained"]["network"][key], value, atol=1e-6, err_msg=f"{name} {key}")
    assert not np.allclose(
        still[3]["teacher"]["trained"]["network"]["body.0.weight"],
        theirs[3]["teacher"]["trained"]["network"]["body.0.weight"],
        atol=1e-4,
    )
    for mine, expected in zip(ours[1], theirs[1], strict=True):
        for name, values in expected.items():
            assert mine[name] == pytest.approx(values, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("apart", [False, True])
def test_priorities_and_observations_that_are_normalised(apart):
    data = by_priority(batches(24), apart=apart)
    still = both(FIVE_STUDENTS, TEACHERS["copied"], data, normalise=True, importance=Importance(0.5, 0.5))
    assert_the_same(*still[:2])
    assert still[2].replayed > 5
    assert all(one is not None for one in still[0][0])
    ours, theirs, _ = both(FIVE_STUDENTS, TEACHERS["copied"], data, normalise=True, importance=Importance(0.4, 1.0))
    for mine, expected in zip(ours[0], theirs[0], strict=True):
        np.testing.assert_array_equal(mine.row, expected.row)
        np.testing.assert_allclose(mine.priority, expected.priority, rtol=1e-4)


def test_in_half_the_digits_too():
    teacher = TeacherConfig(dueling=True, target_update=3)
    ours, theirs, tape = both(["kl", "mse"], teacher, batches(20), precision="bfloat16")
    assert_the_same(ours, theirs)
    assert tape.replayed > 5


def test_a_learner_that_goes_on_records_anew():
    data, tape = batches(40), Tape()
    whole = trained(learner_of(FIVE_STUDENTS), data)
    first = trained(learner_of(FIVE_STUDENTS), data[:20])
    second = trained(learner_of(FIVE_STUDENTS, recorder=tape), batches(20, seed=9))  # a past of its own, recorded
    before = tape.recorded
    second.restore(as_stored(first.state()))
    trained(second, data[20:])
    assert before == 2 and tape.recorded == 4
    np.testing.assert_equal(as_stored(second.state()), as_stored(whole.state()))


def test_batches_of_another_size_are_recorded_for_themselves():
    data, tape = [*batches(14), *batches(14, size=9), *batches(3)], Tape()
    learner = trained(learner_of(FIVE_STUDENTS, recorder=tape), data)
    assert tape.recorded == 4  # both kinds of updates of both sizes; the last three batches were too few
    np.testing.assert_equal(as_stored(learner.state()), as_stored(trained(learner_of(FIVE_STUDENTS), data).state()))


@pytest.mark.usefixtures("as_far")
@pytest.mark.parametrize("kind", TEACHERS)
def test_no_update_waits_for_the_device_whoever_teaches(kind):
    teacher = TEACHERS[kind]
    learner = trained(learner_of(students_of(teacher), teacher), batches(3))
    _learn_without_waiting(learner, batches(3))


@pytest.mark.usefixtures("as_far")
@pytest.mark.parametrize("together", ["loop", "together"])
def test_no_update_waits_for_the_device_whatever_is_learned(together):
    students = {**EVERY_LOSS, **MODIFIERS, **MOVING}
    more = {"importance": Importance(0.4, 1.0), "normaliser": Normaliser(SPEC, CPU), "together": together}
    data = with_own_steps(by_priority(batches(8)), ["policy_gradient"])
    learner = trained(learner_of(students, TEACHERS["copied"], **more), data[:5])
    _learn_without_waiting(learner, data[5:])


@pytest.fixture
def as_far(monkeypatch):
    """The processor is taken for a GPU, whose numbers are not at hand."""
    monkeypatch.setattr(adam, "at_hand", lambda device: False)


def _learn_without_waiting(learner, data):
    before = learner.updates
    for batch in data:  # one of three is measured
        taken = Taken.of(batch, CPU)
        without_waiting(lambda taken=taken: learner.learn(taken, 0.5))
    assert learner.updates == before + len(data)
    assert learner.losses()


@pytest.mark.parametrize(
    "waits",
    [
        lambda values: values.sum().item(),
        lambda values: bool(values[0]),
        lambda values: float(values[0]),
        lambda values: values.tolist(),
        lambda values: values.numpy(),
        lambda values: values.cpu(),
        lambda values: values.to("cpu"),
        lambda values: values[values > 0],
        lambda values: values.nonzero(),
        lambda values: torch.tensor(0.5),
        lambda values: torch.as_tensor(0.5),
        lambda values: torch.from_numpy(np.ones(3)),
        lambda values: torch.equal(values, values),
    ],
)
def test_what_waits_is_told(waits):
    values = torch.ones(3)
    with pytest.raises(WaitsForDevice):
        without_waiting(lambda: waits(values))


def test_an_update_that_no_graph_can_hold_is_told():
    with pytest.raises(
        ConfigurationError, match=r"^an update .* \(learner.cuda_graph=true\): .*\. Set --learner.cuda_graph false$"
    ):
        CudaGraphs().record(lambda: None, [])


def test_what_the_host_forgot_to_tell_is_seen_by_the_tape():
    """A number of the host's own stays as it was: were the tape to run Python again, nothing here would be proven."""
    numbers, tape = iter([1.0, 2.0]), Tape()
    held = torch.zeros(())
    _, again = tape.record(lambda: held.add_(next(numbers)), [])
    again()
    assert held == 2.0
