"""What `bench faults` makes of its runs."""

import os
import subprocess
import sys

import pytest

from distributed_kd.bench import faults
from distributed_kd.bench.figures import Options
from distributed_kd.processes import born

SOUND = {
    "accounting": {"generated": 100, "accepted": 80, "dropped": {"fenced": 12}, "unknown": 8},
    "invariants": {"I1": 0, "I2": 0},
}


def wrong(**accounting):
    told = {**SOUND, "accounting": {**SOUND["accounting"], **accounting}}
    ((figure),) = faults._account("all", told)
    assert figure.is_met == (figure.value == 0)
    return figure.value


def test_every_step_lost_or_doubled_is_told():
    assert wrong() == 0
    assert wrong(unknown=5) == 3, "three steps went nowhere"
    assert wrong(accepted=84) == 4, "four are there twice"
    assert wrong(dropped={"fenced": 10, "duplicate": 2}) == 2
    ((figure),) = faults._account("all", {**SOUND, "invariants": {"I1": 0, "I2": 3}})
    assert (figure.value, figure.is_met) == (3, False)


def test_goals_are_for_the_95th_percentile():
    figure = faults._times("x", [1.0] * 19 + [11.0], at_most=2.0)
    assert (figure.value, figure.other, figure.is_met) == (pytest.approx(1.5), 1.0, True)
    assert not faults._times("x", [1.0] * 10 + [11.0] * 10, at_most=2.0).is_met


def test_the_family_of_a_process_is_all_that_it_has_started():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        family = faults._family(process.pid)
        assert len(family) == 2 and family[0] == process.pid
        assert all(map(born, family)) and os.getpid() not in family
        process.stdin.close()
    assert not any(map(born, family))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kind_of_fault_is_measured_in_a_run_of_the_command(tmp_path):
    time, account = faults._cost(faults.ACTORS[0], tmp_path, Options(repeats=1))
    assert time.what.startswith("a rollout killed (-9), ")
    assert 0 < time.other <= time.value < 60
    assert account.is_met
