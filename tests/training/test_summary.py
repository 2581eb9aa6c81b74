"""What the summary says, and what it says when something is missing."""

import json
from dataclasses import replace

import pytest
from journals import CONFIG, SPEC, evaluation, journal, receipt, report, stats

from distributed_kd.errors import InternalError
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.training.parts import Parts
from distributed_kd.training.summary import summarise


def told(made, status="finished", final=None):
    return summarise(Parts(CONFIG, SPEC), made, status, final)


@pytest.fixture
def made(tmp_path):
    one = journal(tmp_path)
    one.collected(stats(64))
    one.counted(receipt(inserted=64, sampled=256, evicted=10))
    one.learned(report(25, 25))
    return one


# Returns below zero, as in Acrobot: random -500, teacher -80, students at -101 and -521.
BELOW_ZERO = {"random": (-500.0, -500.0), "teacher": (-70.0, -90.0), "big": (-101.0, -101.0), "small": (-521.0, -521.0)}


def test_mistake_16_shares_of_returns_below_zero(made):
    summary = told(made, final=evaluation(25, **BELOW_ZERO))
    assert summary["students"]["big"]["normalised_score"] == pytest.approx(399 / 420)
    assert summary["students"]["small"]["normalised_score"] == pytest.approx(-21 / 420)
    assert (summary["teacher"]["return_mean"], summary["random_return"]) == (-80.0, -500.0)


def test_mistake_18_the_last_evaluation_is_told_not_the_best(made):
    for mean in (500.0, 100.0):
        made.evaluated(evaluation(5, random=(0.0,), teacher=(mean,), big=(mean,), small=(mean,)), 64)
    final = evaluation(25, random=(0.0,), teacher=(50.0,), big=(10.0,), small=(5.0,))
    summary = told(made, final=final)
    assert summary["teacher"]["return_mean"] == 50.0
    assert summary["students"]["big"]["return_mean"] == 10.0
    # Without a final one the newest stands, not the best.
    assert told(made, "preempted")["teacher"]["return_mean"] == 100.0


def test_counts(made):
    summary = told(made, final=evaluation(25, **BELOW_ZERO))
    pace = {"inserted": 64, "evicted": 10, "size": 54, "sampled": 256, "samples_per_insert": 4.0}
    assert summary["replay"] == {**pace, "prioritised": 0, "late_priorities": 0}
    assert summary["accounting"]["generated"] == summary["env_steps"] == 64
    assert summary["updates"] == summary["teacher"]["updates"] == summary["students"]["big"]["updates"] == 25
    assert summary["students"]["big"]["parameter_share"] == 30 / 58
    assert summary["teacher"]["episodes"] == 2
    assert [student["loss"] for student in summary["students"].values()] == ["kl", "mse"]


def test_priorities_are_counted(made):
    made.counted(replace(receipt(inserted=64, sampled=256, evicted=10), prioritised=240, late_priorities=16))
    replay = told(made, final=evaluation(25, **BELOW_ZERO))["replay"]
    assert (replay["prioritised"], replay["late_priorities"]) == (240, 16)
    assert replay["prioritised"] + replay["late_priorities"] == replay["sampled"]


def test_nothing_measured_is_null_on_disk(made, tmp_path):
    with RunFolder.create(tmp_path / "run", "") as folder:
        folder.write_summary(told(made, "failed"))
        text = folder.summary_file.read_text()
    assert "NaN" not in text
    summary = json.loads(text)
    assert summary["random_return"] is None
    assert summary["teacher"]["return_ci95"] == [None, None]
    assert summary["students"]["big"]["normalised_score"] is None
    assert summary["students"]["big"]["episodes"] == 0


def test_a_run_that_broke_off_says_what_is_unknown(made):
    made.collected(stats(16))  # its segment never came to the replay
    account = told(made, "failed")["accounting"]
    assert account["generated"] == 80 == account["accepted"] + account["unknown"]
    assert account["unknown"] == 16
    with pytest.raises(InternalError):
        told(made, "finished")
