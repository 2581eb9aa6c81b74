"""What is believed of a number, a name and a table in somebody else's file."""

import json
import math

import pytest
from summaries import BASE, student, summary

from distributed_kd.reports import believed


@pytest.mark.parametrize("value", [None, True, "3", [3], {}, float("nan"), float("inf"), 10**400, 2e15, -2e15])
def test_what_is_no_number_within_measure_is_nan(value):
    assert math.isnan(believed.figure(value))
    assert believed.count(value) == 0


def test_a_number_is_itself():
    assert (believed.figure(-3), believed.figure(0.5), believed.count(7.9), believed.count(-1)) == (-3.0, 0.5, 7, 0)


def test_a_name_moves_no_cursor_and_can_be_written():
    # An escape sequence, a right-to-left override, a zero-width space, half of a surrogate pair, what XML cannot hold.
    assert believed.text("a\x1b[2J\u202eb\u200bc\ud800d\uffffe") == "a[2Jbc?de"
    assert believed.text(5, "unknown") == "unknown"
    long = believed.text("x" * 1000)
    assert (len(long), long[-1]) == (believed.LONGEST, "…")


def test_a_good_summary_says_what_it_said():
    told = summary({"a": student()})
    read = believed.summary(json.loads(json.dumps(told)))
    assert {key: read[key] for key in ("env", "seed", "status", "env_steps", "random_return", "throughput")} == {
        key: BASE[key] for key in ("env", "seed", "status", "env_steps", "random_return", "throughput")
    }
    assert read["students"]["a"] == student()
    assert read["accounting"]["dropped"] == {"duplicate": 30, "fenced": 4}
    assert read["teacher"]["return_ci95"] == [55.0, 65.0]


def test_of_an_empty_one_every_entry_is_there():
    read = believed.summary({})
    assert read["students"] == {} and math.isnan(read["teacher"]["return_mean"]) and read["accounting"]["generated"] == 0


def test_of_too_many_entries_the_first_are_taken():
    assert len(believed.table({str(n): n for n in range(1000)})) == believed.MOST
