"""The learner and a further replica of it as real actors: they learn as one, and each failure is told as what it is."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from distributed_kd import networks
from distributed_kd.actors.learner_actor import LearnerActor
from distributed_kd.actors.learner_replica import LearnerReplica
from distributed_kd.actors.replay_actor import ReplayActor
from distributed_kd.data_config import ReplayConfig
from distributed_kd.errors import InternalError
from distributed_kd.learning.replicas import ReplicaLost
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.replay.pace import Pace
from distributed_kd.student_config import StudentConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "replay"))
from naive_replay import SPEC, Player

pytestmark = pytest.mark.timeout(300)
UNION = (ReplayConfig(capacity=120, batch_size=4), Pace(2.0, 15, 4, 100), np.random.SeedSequence(0))


@pytest.fixture(scope="module", autouse=True)
def on_ray():
    os.environ.setdefault("RAY_AUTH_TOKEN", "0" * 64)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


def parts(seed=0):
    """What a learner of a teacher and one student is made of; the weights by `seed`."""
    mlp = NetworkConfig(hidden=(8,))
    return {
        "state": None,
        "networks": {name: networks.build(mlp, SPEC, seed) for name in ("teacher", "tiny")},
        "spec": SPEC,
        "teacher": TeacherConfig(target_update=3),
        "students": {"tiny": StudentConfig(temperature="auto")},
        "seeds": {"teacher": 0, "tiny": 0},
        "device": torch.device("cpu"),
    }


class Pair:
    """A replay of 60 steps, the learner and one further replica, which may be made of other parts."""

    def __init__(self, other=None):
        self._player = Player(0, lanes=2, steps=5, gamma=0.9)
        given = dict(zip(("config", "pace", "seed"), UNION, strict=True))
        self.replay = ReplayActor.options(num_cpus=0).remote(None, place=0, spec=SPEC, n_step=2, reward_clip=0.0, **given)
        self.add(6)
        self.other = LearnerReplica.options(num_cpus=0).remote(1, 2, UNION, 1, **(other or parts()))
        self.lifeline = self.other.live.remote()
        self.learner = LearnerActor.options(num_cpus=0).remote(
            [self.replay], UNION, 0, 1, others=[self.other], lifelines=[self.lifeline], **parts()
        )

    def add(self, segments):
        """Of ten steps each."""
        ray.get(self.replay.add.remote(*(self._player.play()[0] for _ in range(segments))))

    def train(self, updates):
        return ray.get(self.learner.train.remote(updates, 0.5)[0])

    def end(self):
        for actor in (self.learner, self.other, self.replay):
            ray.kill(actor)


def test_they_learn_as_one_until_one_of_them_dies():
    """Calls that end amid what came together, one that finds no more, and the rest at the end: 60 steps twice, by 4."""
    pair = Pair()
    assert [pair.train(updates).done for updates in (3, 10, 7)] == [3, 10, 7]
    report = pair.train(20)
    assert report.starved and report.updates == 30
    ray.get(pair.learner.finish.remote(1.0)[0])
    state = ray.get(pair.learner.state.remote())  # and they hold the same weights, or this would be an error
    assert state["students"]["tiny"]["updates"] == state["teacher"]["updates"] == 30
    assert report.losses["tiny"].keys() >= {"loss", "agreement"}
    pair.add(3)
    assert pair.train(3).done == 3
    ray.kill(pair.other)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(pair.lifeline)
    with pytest.raises(ReplicaLost, match="another replica of it died"):
        pair.train(20)
    pair.end()


@pytest.mark.slow
def test_weights_that_are_not_the_same_are_not_saved():
    pair = Pair(other=parts(seed=1))
    assert pair.train(2).done == 2
    ray.get(pair.learner.finish.remote(1.0)[0])
    with pytest.raises(InternalError, match="the learner's replicas hold different weights after"):
        ray.get(pair.learner.state.remote())
    pair.end()


@pytest.mark.slow
def test_what_a_replica_failed_with_is_told_while_the_learner_still_waits_for_it():
    broken = parts()
    del broken["students"]
    pair = Pair(other=broken)
    under_way, _ = pair.learner.train.remote(3, 0.5)
    with pytest.raises(TypeError, match="students"):
        ray.get(pair.lifeline)
    assert ray.wait([under_way], timeout=0)[0] == []
    pair.end()
