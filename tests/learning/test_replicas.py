"""learning.replicas: several learners, each with a part of every batch, learn what one learns from the whole."""

import dataclasses
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist
from learning_samples import (
    CPU,
    FIVE_STUDENTS,
    SPEC,
    as_stored,
    batches,
    by_priority,
    learner_of,
    scores,
    to_bytes,
    trained,
    with_own_steps,
)
from replica_samples import abreast, replicas

from distributed_kd import networks
from distributed_kd.learning import replicas as module
from distributed_kd.learning.learner import Learner
from distributed_kd.learning.normaliser import Normaliser
from distributed_kd.learning.replicas import ALONE, ReplicaLost, Replicas
from distributed_kd.learning.teacher import Importance
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import Batch, EnvSpec
from distributed_kd.student_config import LossConfig, StudentConfig

pytestmark = pytest.mark.timeout(120)
BY_PRIORITY = Importance(0.4, 1.0)
WEIGHED = {
    "entropy": StudentConfig(temperature=0.1, importance="entropy"),
    "gap": StudentConfig(loss="mse", importance="action_gap"),
    "noisy": StudentConfig(temperature="auto", observation_noise=0.2, target_noise=0.1),
    "td": StudentConfig(loss="kl_q", td_weight=1.0, target_update=2, distillation="performance"),
    "hint": StudentConfig(losses=(LossConfig("kl"), LossConfig("hint", weight=0.1), LossConfig("value", weight=0.1))),
}


def on_a_part_each(make, data, count=2):
    """Learners that `make(replicas)` gives, each after its parts of the batches."""
    places = replicas(count)
    learners = [make(one) for one in places]  # one after the other: PyTorch's own random state is the process's
    abreast(*(lambda learner=learner: trained(learner, data) for learner in learners))
    return learners


def assert_learned_as_one(make, data, count=2, atol=2e-5):
    """Replicas hold the same bits, and what one learner holds that was given the whole batches; gives these all."""
    one, several = trained(make(ALONE), data), on_a_part_each(make, data, count)
    for name, flat in one.weights().flat.items():
        np.testing.assert_allclose(several[0].weights().flat[name], flat, atol=atol, err_msg=name)
    for other in several[1:]:
        assert to_bytes(other) == to_bytes(several[0])
        assert other.updates_of == several[0].updates_of == one.updates_of
    return one, several


# ---- what they do together, by hand


def test_a_learner_alone_has_all_and_shares_nothing():
    rows = torch.arange(6)
    assert ALONE.leads and ALONE.part(rows) is ALONE.whole(rows) is ALONE.mean_(rows) is rows


def test_parts_follow_each_other_along_the_axis_of_the_batch():
    first, second, third = (Replicas(rank, 3) for rank in range(3))
    assert first.leads and not (second.leads or third.leads)
    assert [one.part(torch.arange(6)).tolist() for one in (first, second, third)] == [[0, 1], [2, 3], [4, 5]]
    batches = np.arange(12).reshape(2, 3, 2)  # two of three steps, of two numbers
    assert second.part(batches, axis=1).tolist() == [[[2, 3]], [[8, 9]]]


@pytest.mark.parametrize("count", [2, 3])
def test_they_gather_in_order_and_average(count):
    places = replicas(count)
    wholes = abreast(*(lambda one=one: one.whole(one.part(torch.arange(6.0).reshape(6, 1))) for one in places))
    # 0 and 6, and 0, 6 and 12: means of 3 and 6.
    means = abreast(*(lambda one=one: one.mean_(torch.tensor([6.0 * one.rank, 1.0])) for one in places))
    for whole, mean in zip(wholes, means, strict=True):
        assert whole.tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]]
        assert mean.tolist() == [3.0 * (count - 1), 1.0]
    pixels = abreast(*(lambda one=one: one.whole(torch.full((1, 2), one.rank, dtype=torch.uint8)) for one in places))
    assert pixels[0].dtype == torch.uint8 and pixels[0][-1].tolist() == [count - 1] * 2


# ---- what they learn


@pytest.mark.parametrize("how", ["loop", "together", "auto"])
@pytest.mark.parametrize("count", [2, 4])
def test_plain_networks(how, count):
    assert_learned_as_one(lambda place: learner_of(FIVE_STUDENTS, together=how, replicas=place), batches(10), count)


@pytest.mark.parametrize(
    "teacher",
    [
        TeacherConfig(target_update=3, distribution="c51", atoms=7, v_min=-3.0, v_max=3.0),
        TeacherConfig(target_update=0.1, distribution="quantile", atoms=5, dueling=True),
        TeacherConfig(target_update=3, noisy=True),
        TeacherConfig(target_update=3, munchausen=0.9, teaches="average"),
    ],
    ids=["c51", "quantile and dueling", "noisy", "munchausen, its average teaches"],
)
def test_teachers_of_other_kinds(teacher):
    students = {"kl": FIVE_STUDENTS["kl"], "auto": FIVE_STUDENTS["auto"]}
    assert_learned_as_one(lambda place: learner_of(students, teacher, replicas=place), batches(8))


@pytest.mark.parametrize("apart", [False, True])
def test_what_is_relative_to_the_whole_batch_is_taken_over_all_of_it(apart):
    """Importance weights by the greatest or the mean of the batch, noise by its deviation, and importance by its mean."""
    data = by_priority(batches(8), apart=apart)

    def make(place):
        return learner_of(WEIGHED, importance=BY_PRIORITY, replicas=place)

    one, (leads, other) = assert_learned_as_one(make, data)
    mine, theirs = leads.priorities(), one.priorities()
    np.testing.assert_array_equal(mine.row, theirs.row)
    np.testing.assert_allclose(mine.priority, theirs.priority, rtol=1e-3)
    assert other.priorities() is None, "nobody asks it, so it must not keep them"


def test_students_that_learn_from_their_own_lanes():
    students = {name: StudentConfig(loss="policy_gradient", network=NetworkConfig(hidden=(8, 8))) for name in "ab"}
    data = with_own_steps(batches(6), students)
    assert_learned_as_one(lambda place: learner_of(students, replicas=place), data)


def test_peers():
    students = {name: StudentConfig(loss="kl_q", td_weight=1.0, target_update=2) for name in "abc"}
    assert_learned_as_one(lambda place: learner_of(students, TeacherConfig(source="peers"), replicas=place), batches(6))


def test_one_account_of_what_observations_look_like():
    data = [dataclasses.replace(one, observation=5.0 * one.observation + 2.0) for one in batches(6)]

    def make(place):
        return learner_of(FIVE_STUDENTS, normaliser=Normaliser(SPEC, CPU), replicas=place)

    one, several = assert_learned_as_one(make, data)
    for learner in several:
        assert learner.weights().normal.tobytes() == one.weights().normal.tobytes()


def test_networks_of_convolutions():
    spec = EnvSpec("MinAtar", (10, 10, 4), "uint8", 3, channels="last")
    random = np.random.default_rng(0)
    data = [
        Batch(**{**vars(one), **{name: random.integers(0, 2, (16, 10, 10, 4), np.uint8) for name in seen}})
        for one in batches(5)
        for seen in [("observation", "next_observation")]
    ]

    def make(place):
        config = NetworkConfig("minatar", width=0.25)
        return Learner(
            networks={name: networks.build(config, spec, seed) for seed, name in enumerate(("teacher", "half"))},
            spec=spec,
            teacher=TeacherConfig(network=config, target_update=3),
            students={"half": StudentConfig(network=config, temperature="auto")},
            seeds={"teacher": 0, "half": 1},
            device=CPU,
            replicas=place,
        )

    assert_learned_as_one(make, data)


def test_the_temperature_follows_all_states():
    one, several = assert_learned_as_one(lambda place: learner_of(["auto"], replicas=place), batches(6))
    for learner in several:
        torch.testing.assert_close(learner.state()["temperature"], one.state()["temperature"])
    assert to_bytes(several[0]) == to_bytes(several[1])


def test_the_one_that_leads_tells_of_losses_and_the_others_keep_none():
    _, (leads, other) = assert_learned_as_one(lambda place: learner_of(["kl"], replicas=place), batches(9))
    assert leads.losses()["kl"].keys() >= {"loss", "agreement", "grad_norm"}
    assert other.losses() == {}


def test_what_they_learned_goes_on_with_any_number_of_them():
    def make(place):
        return learner_of(WEIGHED, normaliser=Normaliser(SPEC, CPU), replicas=place)

    def going_on(place):
        learner = make(place)
        learner.restore(state)
        learner.heed(scores(teacher=10.0, **dict.fromkeys(WEIGHED, 4.0)))
        return learner

    data = batches(10)
    state = as_stored(on_a_part_each(make, data[:5])[0].state())
    one, several = trained(going_on(ALONE), data[5:]), on_a_part_each(going_on, data[5:], count=4)
    for name, flat in one.weights().flat.items():
        np.testing.assert_allclose(several[0].weights().flat[name], flat, atol=2e-5, err_msg=name)
    assert len({str(to_bytes(learner)) for learner in several}) == 1


# ---- across processes


def _ends_after_one_exchange(port, sent):
    store = dist.TCPStore("127.0.0.1", port)
    place = Replicas.met(store, 1, 2, CPU, "127.0.0.1")
    sent.send(place.mean_(torch.tensor([1.0, 2.0])).tolist())


def test_one_that_ends_is_noticed_at_once():
    """Two processes, and one exchange; a second one would wait for two minutes if nobody noticed."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = multiprocessing.get_context("spawn")
    received, sent = processes.Pipe(duplex=False)
    other = processes.Process(target=_ends_after_one_exchange, args=(store.port, sent), daemon=True)
    other.start()
    place = Replicas.met(store, 0, 2, CPU, "127.0.0.1")
    assert place.mean_(torch.tensor([3.0, 4.0])).tolist() == received.recv() == [2.0, 3.0]
    with pytest.raises(ReplicaLost, match="the learner's replicas lost each other"):
        place.mean_(torch.zeros(2))
    other.join(60)
    assert other.exitcode == 0


def test_others_that_never_come_are_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(module, "SILENCE", module.SILENCE / 600)
    with pytest.raises(ReplicaLost):
        Replicas.met(dist.HashStore(), 0, 2, CPU, "127.0.0.1")
