"""What an actor's sign of life is good for beyond saying that it lives."""

import os
import signal
import time

import pytest
import ray

from distributed_kd.actors import pulsed
from distributed_kd.actors.pulsed import GROUPS, Pulsed
from distributed_kd.processes import born

pytestmark = pytest.mark.timeout(120)


@ray.remote(num_cpus=1, concurrency_groups=GROUPS)
class Worker(Pulsed):
    pass


@pytest.mark.parametrize("here", [True, False])
def test_a_frozen_actor_is_ended_by_its_last_sign_of_life_and_gives_its_core_back(here, one_core, monkeypatch):
    frozen = Worker.remote()
    sign = ray.get(frozen.pulse.remote())
    assert sign.born == born(sign.process)
    os.kill(sign.process, signal.SIGSTOP)
    if not here:
        monkeypatch.setattr(pulsed, "_here", lambda: "another node")
    sign.end()
    while born(sign.process) is not None:
        time.sleep(0.02)
    assert ray.get(Worker.remote().pulse.remote()).process != sign.process
