"""The parts cut out of a run's configuration, and their seeds."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from journals import CONFIG, SPEC

from distributed_kd import networks
from distributed_kd.data_config import ElasticConfig, ReplayConfig
from distributed_kd.errors import ConfigurationError
from distributed_kd.learning.learner import Learner
from distributed_kd.learning.recorded import CudaGraphs
from distributed_kd.learning.teacher import Importance
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.replay.replay import Replay
from distributed_kd.storage.sources import Source
from distributed_kd.student_config import StudentConfig
from distributed_kd.training.parts import Parts, device_of


def words(sequence):
    return tuple(sequence.generate_state(4).tolist())


def test_every_stream_is_one_of_its_own():
    parts = Parts(CONFIG, SPEC)
    streams = [parts.seed("replay"), parts.seed("evaluation"), parts.seed("evaluate")]
    streams += [parts.seed("network", name) for name in CONFIG.policies]
    streams += [parts.seed("rollout", actor, life) for actor in range(3) for life in range(3)]
    assert len({words(stream) for stream in streams}) == len(streams)


def test_further_actors_have_the_lanes_of_those_that_the_run_begins_with():
    elastic = replace(CONFIG, rollouts=replace(CONFIG.rollouts, actors=ElasticConfig(2, 5)))
    parts, fixed = Parts(elastic, SPEC), Parts(CONFIG, SPEC)
    plans = [parts.rollout(actor, 0, repeatable=False)["plan"] for actor in range(5)]
    for actor, plan in enumerate(plans):
        assert plan.policy.tolist() == fixed.plans[actor % 2].policy.tolist()
        assert plan.rung.tolist() == fixed.plans[actor % 2].rung.tolist()
    # Two segments of 16 steps for each that there may be, and the inserts that a batch of 10 waits for at 4 draws each.
    assert (parts.pace.slack, fixed.pace.slack) == (5 * 2 * 16 + 3, 2 * 2 * 16 + 3)


def test_streams_follow_the_seed_and_nothing_else():
    again = Parts(replace(CONFIG, students={"other": StudentConfig()}), SPEC)
    other = Parts(replace(CONFIG, seed=1), SPEC)
    for name in (("replay",), ("rollout", 1, 0), ("network", "teacher")):
        assert words(Parts(CONFIG, SPEC).seed(*name)) == words(again.seed(*name))
        assert words(Parts(CONFIG, SPEC).seed(*name)) != words(other.seed(*name))


def test_networks_are_the_same_alone_and_among_others():
    among = Parts(CONFIG, SPEC).networks()
    alone = Parts(replace(CONFIG, students={"small": CONFIG.students["small"]}), SPEC).networks()
    assert list(among) == ["teacher", "big", "small"]
    for name in ("teacher", "small"):
        assert np.array_equal(networks.to_flat(among[name]), networks.to_flat(alone[name]))
    assert networks.parameter_count(among["teacher"]) == 7 * 8 + 2


def test_a_rollout_begins_a_new_life_with_another_stream():
    parts = Parts(CONFIG, SPEC)
    first, second = (parts.rollout(0, life, repeatable=True) for life in (0, 1))
    assert words(first["seed"]) != words(second["seed"])
    third = parts.rollout(1, 2, repeatable=False)
    assert (third["actor"], third["incarnation"], third["repeatable"]) == (1, 2, False)


def test_lanes_are_dealt_out_over_the_actors():
    parts = Parts(CONFIG, SPEC)
    policies = np.concatenate([parts.rollout(actor, 0, True)["plan"].policy for actor in range(2)])
    assert np.bincount(policies).tolist() == [4, 2, 2]  # half for the teacher, the rest for two students


def test_a_network_that_does_not_fit_is_told_by_its_table():
    image = NetworkConfig("minatar")
    for key, config in (
        ("teacher.network", replace(CONFIG, teacher=TeacherConfig(network=image))),
        ("students.big.network", replace(CONFIG, students={"big": StudentConfig(network=image)})),
    ):
        with pytest.raises(ConfigurationError) as error:
            Parts(config, SPEC).networks()
        assert error.value.lines == (
            f"network does not fit ({key}.kind=minatar): observations of shape [4] are no images. Choose mlp",
        )


def test_the_teachers_network_ends_as_it_is_to_learn():
    config = replace(CONFIG, teacher=replace(CONFIG.teacher, dueling=True, noisy=True, distribution="quantile", atoms=5))
    shapes = {name: tuple(one.shape) for name, one in Parts(config, SPEC).networks()["teacher"].named_parameters()}
    # 2 actions of 5 numbers each, and 5 for the value; as many sizes of noise.
    assert shapes["advantage.weight"] == shapes["advantage.weight_sigma"] == (10, 8)
    assert shapes["value.weight"] == shapes["value.weight_sigma"] == (5, 8)
    students = Parts(config, SPEC).networks()
    assert {name.partition(".")[0] for name, _ in students["big"].named_parameters()} == {"body", "advantage"}


def test_what_the_replay_and_the_learner_are_given_for_draws_by_priority():
    drawn = ReplayConfig(500, True, 0.7, 0.3, 0.9, warmup=100, batch_size=10)
    parts = Parts(replace(CONFIG, replay=drawn, teacher=replace(CONFIG.teacher, reward_clip=2.0, n_step=3)), SPEC)
    given = parts.replay()
    assert (given["config"], given["reward_clip"], given["n_step"]) == (drawn, 2.0, 3)
    assert parts.learner(torch.device("cpu"))["importance"] == Importance(0.3, 0.9)
    assert Parts(CONFIG, SPEC).learner(torch.device("cpu"))["importance"] is None
    Replay(**given)
    Learner(**parts.learner(torch.device("cpu")))


def test_there_is_a_normaliser_where_it_is_asked_for():
    normal = np.stack([np.ones(4), 2 * np.ones(4)]).astype(np.float32)
    cpu, config = torch.device("cpu"), replace(CONFIG, env=replace(CONFIG.env, normalise=True))
    assert Parts(CONFIG, SPEC).learner(cpu)["normaliser"] is None
    fresh = Parts(config, SPEC).learner(cpu)["normaliser"]
    np.testing.assert_array_equal(fresh.normal, [np.zeros(4), np.ones(4)])
    network = networks.build(CONFIG.teacher.network, SPEC)
    parameters = {name: value.numpy() for name, value in network.state_dict().items()}
    given = Parts(config, SPEC, [Source("x", CONFIG.teacher.network, HeadConfig(), parameters, normal)])
    assert given.learner(cpu)["normaliser"].normal.tobytes() == given.normal.tobytes() == normal.tobytes()


def test_updates_are_recorded_where_it_is_asked_for():
    cpu = torch.device("cpu")
    assert Parts(CONFIG, SPEC).learner(cpu)["recorder"] is None
    asked = Parts(replace(CONFIG, learner=replace(CONFIG.learner, cuda_graph=True)), SPEC).learner(cpu)
    # It travels to the actor on whose GPU it records.
    assert isinstance(pickle.loads(pickle.dumps(asked["recorder"])), CudaGraphs)


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_device_by_name(name):
    assert device_of(name) == torch.device(name)


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert device_of("auto").type == ("cuda" if there else "cpu")


@pytest.mark.parametrize(
    ("asked", "repeatable", "given"),
    [("auto", True, "loop"), ("auto", False, "auto"), ("together", True, "together"), ("loop", False, "loop")],
)
def test_a_repeatable_learner_chooses_nothing_by_the_clock(asked, repeatable, given):
    config = replace(CONFIG, learner=replace(CONFIG.learner, students=asked))
    assert Parts(config, SPEC).learner(torch.device("cpu"), repeatable)["together"] == given
