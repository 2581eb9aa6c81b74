"""The first signal asks, the second ends; what was there before is put back."""

import os
import signal
import subprocess
import sys

import pytest

from distributed_kd.training.stopping import StopSignal


@pytest.mark.parametrize(
    ("number", "status", "code"), [(signal.SIGTERM, "preempted", 75), (signal.SIGINT, "interrupted", 130)]
)
def test_the_first_signal_asks(number, status, code):
    with StopSignal() as stop:
        assert not stop
        assert (stop.status, stop.exit_code) == ("finished", 0)
        os.kill(os.getpid(), number)
        assert stop
        assert (stop.status, stop.exit_code) == (status, code)


def test_handlers_are_put_back_even_when_they_were_installed_twice():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with StopSignal() as stop:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as ray.init does
        stop.install()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.status == "preempted"
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(("second", "code"), [("SIGTERM", 75), ("SIGINT", 130)])
def test_a_second_signal_ends_the_process_at_once(second, code):
    script = (
        "import os, signal, sys\n"
        "from distributed_kd.training.stopping import StopSignal\n"
        "with StopSignal():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('asked', flush=True)\n"
        f"    os.kill(os.getpid(), signal.{second})\n"
        "    print('too late', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "asked\n", "")
