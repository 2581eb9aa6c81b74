"""Processes by number, and what becomes of those that a killed driver leaves."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from distributed_kd import leftovers, processes
from distributed_kd.leftovers import MARK, ended_with_us

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")]

DRIVER = """
import subprocess, sys, time
from distributed_kd.leftovers import ended_with_us
with ended_with_us():
    shell = f"{sys.executable} -c 'import time; time.sleep(1000)' & echo $! ; echo $$ ; wait"
    subprocess.Popen(["sh", "-c", shell], start_new_session=True)
    if sys.argv[1] == "stays":
        time.sleep(1000)
"""


def until_gone(*numbers: int) -> None:
    while any(processes.born(number) is not None for number in numbers):
        time.sleep(0.02)


def driver(how: str) -> tuple[subprocess.Popen, list[int]]:
    """One that starts a shell, which starts a process; and the numbers of these two."""
    code = [sys.executable, "-c", DRIVER, how]
    started = subprocess.Popen(code, stdout=subprocess.PIPE, text=True, start_new_session=True)
    return started, [int(started.stdout.readline()) for _ in range(2)]


def test_what_a_killed_driver_has_started_ends_with_it():
    started, family = driver("stays")
    with started:
        assert all(map(processes.born, family))
        started.kill()
        until_gone(*family)


def test_what_a_driver_leaves_at_an_end_of_its_own_is_let_be():
    started, family = driver("ends")
    with started:
        assert started.wait() == 0
        assert all(map(processes.born, family))
        for number in family:
            os.kill(number, signal.SIGKILL)


@pytest.mark.parametrize(("seconds", "grace", "status"), [(1000, 0.2, -signal.SIGKILL), (0.5, 50.0, 0)])
def test_a_worker_of_ray_is_waited_for_and_if_it_never_ends_is_killed(seconds, grace, status, monkeypatch):
    monkeypatch.setattr(leftovers, "GRACE", grace)
    code = f"import time; print('there', flush=True); time.sleep({seconds})"
    with ended_with_us():
        worker = subprocess.Popen(["ray::RolloutActor", "-c", code], executable=sys.executable, stdout=subprocess.PIPE)
        worker.stdout.readline()
    assert processes.born(worker.pid) is None
    with worker:
        assert worker.wait() == status


def test_a_worker_of_ray_that_cannot_be_killed_is_named_and_not_waited_for(monkeypatch, caplog):
    monkeypatch.setattr(leftovers, "GRACE", 0.1)
    monkeypatch.setattr(leftovers, "_kill", lambda process: None)  # as of one that the kernel holds
    code = "import time; print('there', flush=True); time.sleep(60)"
    with ended_with_us():
        worker = subprocess.Popen(["ray::RolloutActor", "-c", code], executable=sys.executable, stdout=subprocess.PIPE)
        worker.stdout.readline()
    assert caplog.messages == [f"warning: processes {worker.pid} of Ray were killed and have not ended"]
    with worker:
        assert worker.poll() is None
        worker.kill()


def test_a_watcher_ends_with_the_block_and_leaves_no_mark(monkeypatch):
    watchers, environments = [], []
    popen = subprocess.Popen

    def start(*words, **about):
        environments.append(about["env"])
        watchers.append(popen(*words, **about))
        return watchers[-1]

    monkeypatch.setattr(leftovers.subprocess, "Popen", start)
    monkeypatch.setenv(MARK, "of the one that started us")
    with ended_with_us():
        assert os.environ[MARK] != "of the one that started us"
        assert watchers[0].poll() is None
        assert MARK not in environments[0], "whoever ends us would end our watcher first, and what we started would stay"
    assert watchers[0].returncode == 0
    assert os.environ[MARK] == "of the one that started us"


def test_a_thread_gives_way_alone():
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def both() -> tuple[int, int]:
        before = niceness()
        processes.give_way()
        return before, niceness()

    before = niceness()
    with ThreadPoolExecutor(1) as other:
        assert other.submit(both).result() == (before, min(19, before + 10))
    assert niceness() == before


def test_a_process_is_ended_only_if_it_is_the_one_that_was_meant():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        since = processes.born(process.pid)
        processes.end(process.pid, since + 1)
        processes.end(process.pid, None)
        assert process.poll() is None
        processes.end(process.pid, since)
        assert process.wait() == -signal.SIGKILL
    assert processes.born(process.pid) is None
    processes.end(process.pid, since)


def test_the_family_of_a_process_is_all_that_it_has_started():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        family = processes.family(process.pid)
        assert len(family) == 2 and family[0] == process.pid
        assert all(map(processes.born, family)) and os.getpid() not in family
        process.stdin.close()
    assert not any(map(processes.born, family))
