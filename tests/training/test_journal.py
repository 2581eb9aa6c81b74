"""The account of a run: what the loop tells becomes lines, a snapshot, and counts that are checked."""

import json
import math
from dataclasses import fields, replace

import pytest
from journals import evaluation, journal, receipt, report, stats

from distributed_kd.errors import InternalError


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_steps_and_episodes_by_policy(tmp_path):
    made = journal(tmp_path)
    made.learned(report(updates=30, done=30))
    made.collected(stats(16, version=10, episodes=[(0, 5.0, 5), (0, 7.0, 7), (2, -1.0, 3)]))
    made.collected(stats(16, version=20))
    made.flush()
    (line,) = lines(tmp_path)
    assert (line["env_steps"], line["updates"]) == (32, 30)
    assert line["episodes"] == {
        "teacher": {"return_mean": 6.0, "length_mean": 6.0, "count": 2},
        "small": {"return_mean": -1.0, "length_mean": 3.0, "count": 1},
    }
    assert line["charts"]["policy_lag_updates"] == 15.0  # 20 and 10 updates old


def test_a_line_tells_of_its_own_window_only(tmp_path):
    made = journal(tmp_path)
    made.collected(stats(16, episodes=[(0, 5.0, 5)]))
    made.learned(report(8, 8, losses={"teacher": {"loss": 0.5}}))
    made.flush()
    made.flush()
    first, second = lines(tmp_path)
    assert first["losses"] == {"teacher": {"loss": 0.5}}
    assert (second["episodes"], second["losses"]) == ({}, {})
    assert second["charts"]["env_steps_per_second"] == second["charts"]["updates_per_second"] == 0
    assert "policy_lag_updates" not in second["charts"]
    assert second["env_steps"] == 16


def test_sizes_are_told_once(tmp_path):
    made = journal(tmp_path, parameters={"teacher": 42, "big": 30})
    made.flush()
    made.flush()
    first, second = lines(tmp_path)
    assert first["parameters"] == {"teacher": 42, "big": 30} and "parameters" not in second


def test_a_receipt_that_comes_late_changes_nothing(tmp_path):
    made = journal(tmp_path)
    newest = receipt(inserted=64, sampled=256)
    for one in (receipt(32, 64), newest, receipt(32, 128), receipt(64, 192)):
        made.counted(one)
    assert made.receipt is newest
    assert made.samples_per_insert == 4.0


def test_of_two_receipts_at_one_count_of_steps_the_one_with_more_priorities_is_later(tmp_path):
    made, before = journal(tmp_path), receipt(inserted=64, sampled=256)
    told = [replace(before, prioritised=100), replace(before, prioritised=240, late_priorities=4), before]
    for one in (*told, replace(before, prioritised=240)):
        made.counted(one)
    assert made.receipt is told[1]


def test_late_priorities_are_charted_where_there_are_priorities(tmp_path):
    made = journal(tmp_path)
    made.counted(receipt(inserted=64, sampled=256))
    made.flush()
    made.counted(replace(receipt(inserted=64, sampled=256), prioritised=240, late_priorities=16))
    made.flush()
    without, charted = (line["charts"] for line in lines(tmp_path))
    assert "replay_late_priorities" not in without
    assert charted["replay_late_priorities"] == 16


def test_waits_and_ages_of_a_window(tmp_path):
    made = journal(tmp_path)
    made.learned(report(8, 8, wait_seconds=0.5, waits=1, sample_age_rows=100.0))
    made.learned(report(10, 2, wait_seconds=0.25, waits=2, sample_age_rows=600.0))
    made.learned(report(10, 0, wait_seconds=0.0, waits=0))  # starved: nothing was learned from
    made.stored([0.25, 0.75])
    made.stored([0.5])
    made.flush()
    made.flush()
    told, nothing = (line["charts"] for line in lines(tmp_path))
    assert told["sample_age_rows"] == 200.0  # (8 * 100 + 2 * 600) / 10
    assert told["replay_answer_seconds"] == 0.25  # .75 s for 3 answers
    assert told["replay_store_seconds"] == 0.5
    assert not {"sample_age_rows", "replay_answer_seconds", "replay_store_seconds"} & set(nothing)


def test_nothing_inserted_has_no_pace(tmp_path):
    assert journal(tmp_path).samples_per_insert == 0.0


def test_the_account_adds_up(tmp_path):
    made = journal(tmp_path)
    for _ in range(4):
        made.collected(stats(16))
    made.counted(receipt(inserted=48, evicted=8, dropped={"duplicate": 16}))
    account = made.accounting()
    assert account == {
        "generated": 64,
        "accepted": 48,
        "dropped": {"duplicate": 16},
        "unknown": 0,
        "restarts": {"rollout": 0, "replay": 0, "learner": 0, "evaluation": 0},
        "env_faults": {},
        "skipped_updates": {},
        "rollbacks": {"count": 0, "env_steps": 0, "updates": 0},
        "recovery_seconds": {},
        "on_purpose": {},
    }


def test_reports_that_come_in_another_order_are_all_counted_and_one_that_never_comes_is_noticed(tmp_path):
    """As where the answer to a call was lost on the way and had to be sent again."""
    made = journal(tmp_path)
    for updates in (8, 24, 16):
        made.learned(report(updates=updates, done=8))
    made.invariants.ended(receipt(sampled=24), 24, batch_size=1)
    assert made.updates == 24
    assert made.invariants.told()["I5"] == 0
    made.learned(report(updates=40, done=8))
    made.invariants.ended(receipt(sampled=40), 40, batch_size=1)
    assert made.invariants.told()["I5"] == 1
    made.learned(report(updates=40, done=9))
    assert made.invariants.told()["I5"] == 2, "more than there are"


def test_updates_that_were_skipped_are_counted_by_network_and_outlive_a_way_back(tmp_path):
    made = journal(tmp_path)
    made.learned(report(8, 8, skipped={"teacher": 2}))
    state = made.state()
    made.learned(report(16, 8, skipped={"teacher": 1, "small": 8}))
    assert made.accounting()["skipped_updates"] == {"teacher": 3, "small": 8}
    made.went_back(state, 8, unstored_steps=0)
    assert made.accounting()["skipped_updates"] == {"teacher": 3, "small": 8}
    (tmp_path / "again").mkdir()
    again = journal(tmp_path / "again")
    again.restore(state)
    assert again.accounting()["skipped_updates"] == {"teacher": 2}


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (receipt(inserted=48), "(steps generated=64): 48 were found."),
        (receipt(inserted=80), "(steps generated=64): 80 were found."),
        (receipt(inserted=64, evicted=8, size=57), "(steps inserted=64): 65 were found."),
    ],
)
def test_an_account_that_does_not_add_up_is_a_fault(told, line, tmp_path):
    made = journal(tmp_path)
    for _ in range(4):
        made.collected(stats(16))
    made.counted(told)
    with pytest.raises(InternalError) as raised:
        made.accounting()
    assert raised.value.lines == (f"the counts do not add up {line} Please report this run",)


def test_busy_is_counted_from_the_first_update_to_the_last(tmp_path):
    made = journal(tmp_path)
    made.learned(report(0, 0, started=50.0, ended=60.0))  # nothing was learned yet
    assert made.phase == "warm-up"
    assert made.learner_busy_share == 0.0
    made.learned(report(8, 8, busy_seconds=3.0, started=100.0, ended=104.0))
    assert made.phase == "training"
    made.learned(report(16, 8, busy_seconds=3.0, started=105.0, ended=108.0))
    assert made.learner_busy_share == 0.75  # 6 of 8 s
    assert made.throughput()["updates_per_second"] == 2.0  # 16 in 8 s


def test_throughput_before_anything_was_learned(tmp_path):
    assert set(journal(tmp_path).throughput().values()) == {0.0}


def test_an_evaluation_is_a_line_of_its_own(tmp_path):
    made = journal(tmp_path)
    made.collected(stats(336))
    scores = evaluation(7, random=(1.0, 3.0), teacher=(10.0, 14.0), big=(7.0, 7.0), small=(2.0, 2.0))
    made.evaluated(scores, env_steps=320)
    (line,) = lines(tmp_path)
    told = line["evaluation"]
    # 320 steps were generated when its weights were taken; the line is written later, and its own count says so.
    assert (told["version"], told["env_steps"], line["env_steps"]) == (7, 320, 336)
    assert told["teacher"]["return_mean"] == 12.0
    # random 2, teacher 12: a return of 7 is half of the way, 2 none of it.
    assert (told["big"]["normalised_score"], told["small"]["normalised_score"]) == (0.5, 0.0)
    assert made.evaluation is scores


def test_a_teacher_no_better_than_random_gives_null(tmp_path):
    made = journal(tmp_path)
    made.evaluated(evaluation(random=(1.0,), teacher=(1.0,), big=(2.0,), small=(0.0,)), env_steps=0)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert "NaN" not in text
    assert json.loads(text)["evaluation"]["big"]["normalised_score"] is None


def test_the_snapshot_is_shown(tmp_path):
    shown = []
    made = journal(tmp_path, shown.append)
    made.collected(stats(100))
    made.counted(receipt(inserted=100, sampled=400))
    made.flush()
    (first,) = shown
    assert (first.env_steps, first.updates, first.progress, first.samples_per_insert) == (100, 0, 0.1, 4.0)
    assert first.scores == first.normalised == {}
    made.evaluated(evaluation(random=(0.0,), teacher=(4.0,), big=(2.0,), small=(-4.0,)), env_steps=100)
    made.flush()
    assert shown[1].scores == {"random": 0.0, "teacher": 4.0, "big": 2.0, "small": -4.0}
    assert shown[1].normalised["small"] == -1.0
    assert all(not (isinstance(v, float) and math.isnan(v)) for v in (getattr(first, f.name) for f in fields(first)))


def test_steps_that_no_checkpoint_holds_have_never_been(tmp_path):
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    made = journal(tmp_path / "before")
    for _ in range(4):
        made.collected(stats(16))
    state = made.state(unstored_steps=32)
    again = journal(tmp_path / "after")
    again.restore(state)
    # A student with a warm-up of 3 updates has begun later than the teacher.
    again.resumed(updates=5, updates_of={"big": 5, "small": 2}, receipt=receipt(inserted=32, sampled=128))
    assert (again.generated, again.updates, again.updates_of) == (32, 5, {"big": 5, "small": 2})
    assert again.accounting()["accepted"] == 32
    # Rates are those of this process alone.
    again.collected(stats(16))  # before its first update
    again.learned(report(6, 1, started=10.0, ended=10.5))
    again.collected(stats(16))
    again.learned(report(7, 1, started=10.5, ended=11.0))
    assert again.throughput()["updates_per_second"] == 2.0
    assert again.throughput()["env_steps_per_second"] == 16.0
