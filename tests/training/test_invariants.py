"""Every invariant is broken on purpose, once, and its count rises; nothing else's does."""

import dataclasses

import numpy as np
import pytest
from journals import receipt, report, stats

from distributed_kd.records import Segment
from distributed_kd.replay.segments import STITCHED, Ledger, is_stitched
from distributed_kd.training import placement
from distributed_kd.training.invariants import NAMES, Invariants


def of(sequence, incarnation=0, version=0):
    return dataclasses.replace(stats(version=version), sequence=sequence, incarnation=incarnation)


def learner_state(teacher, **students):
    return {"teacher": {"updates": teacher}, "students": {name: {"updates": count} for name, count in students.items()}}


def sound(made: Invariants) -> None:
    """What a run does that keeps all of them: two lives of a rollout, learning, a way back."""
    for sequence in (1, 0, 2):  # those of two calls under way may come in any order
        made.collected(of(sequence, version=5))
    made.collected(of(0, incarnation=1, version=2))
    made.check("I2", True)
    made.counted(receipt(inserted=48, evicted=8, dropped={"duplicate": 16}))
    made.learned(report(8, 8))
    made.went_to(4)
    made.resumed({"teacher": 4, "a": 4, "new": 0}, learner_state(4, a=4))
    made.learned(report(8, 4))
    made.ended(receipt(inserted=48, sampled=80, evicted=8), 8, 10)
    made.check("I9", True)


BREAKS = {
    "I1": lambda made: made.collected(of(9, version=9)),
    "I2": lambda made: made.check("I2", False),
    "I3": lambda made: made.counted(receipt(inserted=10, evicted=1, size=8)),
    "I4": lambda made: made.counted(receipt(inserted=10, dropped={STITCHED: 1})),
    "I5": lambda made: made.learned(report(8, 4)),  # more are told than there are
    "I6": lambda made: made.collected(of(3, version=4)),
    "I7": lambda made: made.resumed({"teacher": 4, "a": 3}, learner_state(4, a=4)),
    "I9": lambda made: made.check("I9", False),
}


def test_a_sound_run_breaks_none():
    made = Invariants()
    sound(made)
    assert made.told() == dict.fromkeys(NAMES, 0)


@pytest.mark.parametrize("name", NAMES)
def test_what_breaks_one_is_counted_as_that_one(name):
    made = Invariants()
    sound(made)
    BREAKS[name](made)
    told = made.told()
    assert told.pop(name) > 0
    assert set(told.values()) == {0}


@pytest.mark.parametrize(
    ("updates", "state"),
    [
        ({"teacher": 4, "a": 4}, None),  # it was to begin anew
        ({"teacher": 3, "a": 4}, learner_state(4, a=4)),
        ({"teacher": 4, "a": 4, "new": 1}, learner_state(4, a=4)),
    ],
)
def test_networks_that_are_not_of_one_moment(updates, state):
    made = Invariants()
    made.resumed(updates, state)
    assert made.told()["I7"] == 1


def test_draws_that_nothing_was_learned_from():
    made = Invariants()
    made.ended(receipt(inserted=48, sampled=90), 8, 10)
    assert made.told()["I3"] == 1


# ---- I4: rows as `s` a step and `-` none, in capitals (`S`, `+`) where one begins


def segment(rows: str, sequence: int = 0) -> Segment:
    step, begins = np.array([row in "sS" for row in rows]), np.array([row in "S+" for row in rows])
    count = len(rows)
    zeros = np.zeros(count, np.float32)
    observation, whole = np.zeros((count, 1), np.float32), np.zeros(count, np.int64)
    return Segment(0, 0, sequence, observation, whole, zeros, zeros, step, begins, np.zeros(count, np.int16), whole, zeros)


@pytest.mark.parametrize(
    "rows",
    [
        "Sss-",
        "Sss-Ss-",  # an episode ends and the next begins, or the next lane does
        "+-ss-",  # frames before a lane's first step
        "Ss-+-ss-+s-",
        "Ss--Ss-",  # a fault: what was seen there is no step
        "+-",
    ],
)
def test_episodes_that_end_where_they_end(rows):
    assert not is_stitched(segment(rows))
    assert Ledger().accept(segment(rows))


@pytest.mark.parametrize("rows", ["Ss-s-", "Sss--s-", "+-ss-s-", "Ss-Ss-s-", "Ss-s-Ss-", "Ss-+-s-s-"])
def test_an_episode_that_goes_on_behind_its_end_is_refused_and_counted(rows):
    ledger = Ledger()
    assert not ledger.accept(segment(rows))
    assert ledger.dropped == {STITCHED: rows.lower().count("s")}
    assert ledger.accept(segment("Ss-")), "it is none of those seen"


# ---- I9


class Group:
    class id:
        @staticmethod
        def hex():
            return "abc"


@pytest.mark.parametrize(
    ("state", "resources", "cleared"),
    [
        ("REMOVED", {"CPU": 4.0, "CPU_group_def": 1.0}, True),  # others run beside it
        ("CREATED", {"CPU": 4.0}, False),
        ("REMOVED", {"CPU": 4.0, "CPU_group_0_abc": 1.0}, False),
    ],
)
def test_what_is_left_on_a_cluster_is_seen(state, resources, cleared, monkeypatch):
    monkeypatch.setattr(placement, "CLEARED_SECONDS", 0)
    monkeypatch.setattr(placement, "placement_group_table", lambda group: {"state": state})
    monkeypatch.setattr(placement.ray, "cluster_resources", lambda: resources)
    assert placement.is_cleared(Group()) is cleared
