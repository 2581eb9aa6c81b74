"""training.membership with a cluster and a crew that only note what they are asked for."""

from types import SimpleNamespace

import pytest

from distributed_kd.actors.pulsed import Pulse
from distributed_kd.data_config import ElasticConfig, RolloutsConfig
from distributed_kd.errors import ResourceError
from distributed_kd.training import membership
from distributed_kd.training.elastic import MOST_PENDING
from distributed_kd.training.membership import PATIENCE, Membership
from distributed_kd.training.supervision import Life


class Crew:
    def __init__(self):
        self.rollouts, self.dismissed = [], []

    def begin(self, kind, number):
        assert kind == "rollout" and number not in [life.number for life in self.rollouts]
        self.rollouts.append(Life("rollout", number, 0, None, None))

    def dismiss(self, life):
        self.rollouts.remove(life)
        self.dismissed.append(life.number)

    @property
    def present(self):
        return sum(life.is_there for life in self.rollouts)


class World:
    """A cluster whose core stands on node "home"; nodes in `leaving` are being drained."""

    def __init__(self, monkeypatch, actors):
        self.crew, self.calls = Crew(), SimpleNamespace(busy=[])
        self.leaving, self.place, self.sought, self.found = set(), {"home"}, False, False
        config = SimpleNamespace(rollouts=RolloutsConfig(actors=actors))
        journal = SimpleNamespace(rollouts=None, resident=lambda kind, count: None)
        self.run = SimpleNamespace(config=config, journal=journal, stop=False)
        monkeypatch.setattr(membership, "draining", lambda: self.leaving)
        monkeypatch.setattr(membership, "object_store_use", lambda: 0)
        self.members = Membership(self.run, self.crew, self.calls, self)
        self.members._timer = SimpleNamespace(due=True, restart=lambda: None)

    def core_nodes(self):
        return self.place

    def seek_place(self):
        self.sought = True

    @property
    def seeks_place(self):
        return self.sought

    @property
    def has_place(self):
        return self.found

    def there(self, **nodes):
        """Rollouts, as r0="home", have answered from their nodes."""
        for life in self.crew.rollouts:
            if node := nodes.get(f"r{life.number}"):
                life.is_there, life.sign = True, Pulse(0, 0, node, 0, None)

    @property
    def numbers(self):
        return [life.number for life in self.crew.rollouts]


@pytest.fixture
def world(monkeypatch):
    return lambda actors: World(monkeypatch, actors)


def test_rollouts_join_as_others_find_room(world):
    it = world(ElasticConfig(1, 30))
    it.members.grow()
    assert it.numbers == list(range(1 + MOST_PENDING))
    it.there(r0="home", r1="a")
    it.members.look()
    assert it.numbers == list(range(2 + MOST_PENDING))
    assert (it.members.present, it.members.absent, it.run.journal.rollouts) == (2, 28, 2)


def test_rollouts_leave_a_node_that_is_drained_when_they_are_done_and_come_again_elsewhere(world, caplog):
    it = world(2)
    it.members.grow()
    it.there(r0="home", r1="a")
    it.leaving.add("a")
    (other, leaver) = it.crew.rollouts
    it.calls.busy = [leaver]
    it.members.look()
    assert (leaver.is_leaving, other.is_leaving, it.crew.dismissed) == (True, False, [])
    assert it.members.wants_checkpoint and not it.sought
    assert not it.members.saved() and not it.members.wants_checkpoint
    it.calls.busy = []
    it.members.look()
    assert (it.crew.dismissed, it.numbers) == ([1], [0, 1])
    it.members.look()
    assert not it.members.wants_checkpoint, "it is told once"
    assert caplog.messages == ["warning: node a is about to leave, and with it rollout 1"]


def test_a_node_that_holds_nothing_of_the_run_may_leave_unseen(world, caplog):
    it = world(1)
    it.members.grow()
    it.there(r0="home")
    it.leaving.add("other")
    it.members.look()
    assert not it.members.wants_checkpoint and not it.crew.dismissed and not caplog.messages


def test_the_core_leaves_when_it_has_another_place(world):
    it = world(1)
    it.members.grow()
    it.there(r0="a")
    it.leaving.add("home")
    it.members.look()
    assert it.sought and it.members.wants_checkpoint
    assert not it.members.saved(), "there is no place yet: what is saved is a precaution"
    it.found = True
    it.members.look()
    assert it.members.wants_checkpoint and it.members.saved()
    assert not it.members.saved(), "once"


def test_all_but_the_least_give_way_to_a_core_without_room_and_come_back(world, caplog):
    it = world(ElasticConfig(2, 4))
    it.members.grow()
    it.there(r0="a", r2="a")
    it.place = set()
    for _ in range(PATIENCE):
        it.members.look()
        assert it.numbers == [0, 1, 2, 3]
    it.members.look()
    # Of the least the one that waits for room gives way too, or it could take what the core waits for.
    assert (it.numbers, it.crew.dismissed) == ([0], [1, 2, 3])
    assert caplog.messages == ["warning: replay and learner wait for room: 3 rollouts give way"]
    it.members.look()
    assert it.numbers == [0] and len(caplog.messages) == 1
    it.place = {"b"}
    it.members.look()
    assert it.numbers == [0, 1, 2, 3]


def test_stopped_while_the_core_has_no_room_it_does_not_wait_for_ever(world):
    it = world(1)
    it.place, it.run.stop = set(), True
    for _ in range(PATIENCE):
        it.members.look()
    with pytest.raises(ResourceError):
        it.members.look()
    # A core that only seeks another place still stands, and is saved as ever.
    it.place, it.sought = {"home"}, True
    for _ in range(2 * PATIENCE):
        it.members.look()
