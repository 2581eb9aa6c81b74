"""A rollout that waits for room on Ray, and is killed before it has any."""

from types import SimpleNamespace

import pytest
import ray
from journals import CONFIG, journal

from distributed_kd.actors.pulsed import Pulse
from distributed_kd.training.calls import Calls
from distributed_kd.training.cluster import ActorLost, calmly
from distributed_kd.training.supervision import Supervision

pytestmark = pytest.mark.timeout(120)


@ray.remote
class Rollout:
    def pulse(self) -> Pulse:
        return Pulse(0, 0, ray.get_runtime_context().get_node_id(), 0, None)


def test_it_is_told_as_lost_and_another_one_can_be_begun(one_core, tmp_path):
    needs = iter([5, 1])  # CPUs; there is one
    cluster = SimpleNamespace(
        start=lambda kind, number, incarnation: Rollout.options(num_cpus=next(needs)).remote(), is_gone=lambda node: False
    )
    run = SimpleNamespace(config=CONFIG, incarnation=0, journal=journal(tmp_path))
    calls, there = Calls(), []
    crew = Supervision(run, calls, cluster, there.append, failed=pytest.fail)
    waiting = crew.begin("rollout", 0)
    assert not list(calls.ended(0.0))
    ray.kill(waiting.handle)
    ((reference, call),) = calls.ended(60.0)
    with pytest.raises(ActorLost) as lost:
        calmly(reference, call.who)
    crew.replace(call.owner, lost.value.why, call)
    assert (waiting.is_over, crew.rollouts, crew.present) == (True, [], 0)
    assert run.journal.account.restarts["rollout"] == 1
    other = crew.begin("rollout", 0)
    ((reference, call),) = calls.ended(60.0)
    call.done(calmly(reference, call.who))
    assert there == [other] and other.incarnation == 1
    assert (crew.present, other.node) == (1, ray.get_runtime_context().get_node_id())
    # One that waits for room is ended like any other.
    crew.dismiss(other)
    assert (crew.present, calls.busy) == (0, set())
