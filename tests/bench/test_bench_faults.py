"""What `bench faults` makes of its runs."""

import pytest

from distributed_kd.bench import faults
from distributed_kd.bench.figures import Options

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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kind_of_fault_is_measured_in_a_run_of_the_command(tmp_path):
    time, account = faults._cost(faults.ACTORS[0], tmp_path, Options(repeats=1))
    assert time.what.startswith("a rollout killed (-9), ")
    assert 0 < time.other <= time.value < 60
    assert account.is_met


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_all_kinds_together_find_room_here_and_the_account_adds_up(tmp_path, monkeypatch):
    monkeypatch.setattr(faults, "IN_ALL", 4)
    table = faults._all_kinds(tmp_path, Options(repeats=1))
    told = {figure.what: figure for figure in table.figures}
    assert {
        f"faults: {what}" for what in ("kill rollout", "kill evaluation", "kill learner", "kill replay", "freeze rollout")
    } <= set(told)
    assert told["faults: kill rollout"].value > 0, "the first that is due"
    assert told["steps generated"].value >= told["of these accepted"].value > 0
    assert told["all: steps lost or doubled, invariants broken"].is_met
