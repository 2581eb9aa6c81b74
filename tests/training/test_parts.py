"""The parts cut out of a run's configuration, and their seeds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from journals import CONFIG, SPEC

from distributed_kd import networks
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
    assert words(parts.rollout(0, 0)["seed"]) != words(parts.rollout(0, 1)["seed"])
    assert (parts.rollout(1, 2)["actor"], parts.rollout(1, 2)["incarnation"]) == (1, 2)


def test_lanes_are_dealt_out_over_the_actors():
    parts = Parts(CONFIG, SPEC)
    policies = np.concatenate([parts.rollout(actor, 0)["plan"].policy for actor in range(2)])
    assert np.bincount(policies).tolist() == [4, 2, 2]  # half for the teacher, the rest for two students


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_a_device_by_name(name):
    assert device_of(name) == torch.device(name)


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert device_of("auto").type == ("cuda" if there else "cpu")
