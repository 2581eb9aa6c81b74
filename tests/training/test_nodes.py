"""training.cluster and training.connection: which nodes count as there, as Ray tells of them and as they answer."""

import socket
from types import SimpleNamespace

import pytest

from distributed_kd.envs.injected import NOTHING
from distributed_kd.placement_config import PlacementConfig
from distributed_kd.training import cluster, connection
from distributed_kd.training.cluster import Cluster
from distributed_kd.training.connection import nodes
from distributed_kd.training.plan import Node


@pytest.fixture
def listening():
    """A port where a connection is accepted, and one where none is."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield server.getsockname()[1], bound.getsockname()[1]


def told_of(monkeypatch, *there, leaving=()):
    """Ray tells of these nodes: (id, whether it is alive, port)."""
    told = [
        {
            "NodeID": name,
            "Alive": alive,
            "NodeManagerAddress": "127.0.0.1",
            "NodeManagerPort": port,
            "Resources": {"CPU": 2.0},
        }
        for name, alive, port in there
    ]
    monkeypatch.setattr(cluster.ray, "nodes", lambda: told)
    monkeypatch.setattr(connection, "draining", lambda: set(leaving))


def test_a_node_is_gone_when_ray_says_so_or_nothing_answers_there(monkeypatch, listening):
    open_port, closed_port = listening
    told_of(monkeypatch, ("there", True, open_port), ("silent", True, closed_port), ("dead", False, open_port))
    of = Cluster(SimpleNamespace(), SimpleNamespace(), SimpleNamespace(), NOTHING)
    assert [of.is_gone(name) for name in ("there", "silent", "dead", "unknown")] == [False, True, True, True]
    # A node that has left does not come back: a raylet that is started anew is another node.
    told_of(monkeypatch, ("silent", True, open_port), ("there", True, closed_port))
    assert [of.is_gone(name) for name in ("silent", "there")] == [True, True]


def test_a_node_that_is_about_to_leave_is_not_planned_with(monkeypatch):
    told_of(monkeypatch, ("a", True, 1), ("b", True, 1), ("c", False, 1), leaving=["b"])
    assert nodes() == [Node(2.0, 0.0)]


def test_rollouts_are_kept_off_nodes_that_have_left_until_ray_has_seen_that_too(monkeypatch, listening):
    open_port, closed_port = listening
    told_of(monkeypatch, ("there", True, open_port), ("b", True, closed_port), ("a", True, closed_port))
    plan = SimpleNamespace(placement=PlacementConfig(rollouts=("market-type=spot",)))
    of = Cluster(SimpleNamespace(), plan, SimpleNamespace(), NOTHING)
    assert of._options(1.0)["label_selector"] == {"market-type": "spot"}
    assert [of.is_gone(name) for name in ("there", "a", "b")] == [False, True, True]
    assert of._options(1.0)["label_selector"] == {"market-type": "spot", "ray.io/node-id": "!in(a,b)"}
    told_of(monkeypatch, ("there", True, open_port), ("b", False, closed_port), ("a", True, closed_port))
    assert of._options(1.0)["label_selector"] == {"market-type": "spot", "ray.io/node-id": "!in(a)"}
