"""bench replay: every table, on little data and for a moment; what is measured is not held here."""

import math

import pytest

from distributed_kd.bench import across, replay
from distributed_kd.bench.figures import Options

BRIEF = Options(repeats=1, seconds=0.02)


def test_in_this_process(monkeypatch):
    monkeypatch.setattr(replay, "find_spec", lambda name: None)
    table = replay.in_process(BRIEF, rows=3_000)
    assert all(one.value > 0 and math.isfinite(one.value) for one in table.figures)
    assert "cpprb (extra peers) is not installed" in table.how
    assert all(one.is_met is None for one in table.figures), "without the peer there is no ratio to hold a goal against"


def test_the_peer_stands_beside_where_it_is_installed():
    pytest.importorskip("cpprb")
    table = replay.in_process(BRIEF, rows=3_000)
    assert [one.against for one in table.figures[:2]] == ["cpprb sample", "cpprb update"]
    assert all(one.at_most == 1.0 and one.ratio > 0 for one in table.figures[:2])


def test_bytes_of_a_transition_by_hand():
    sent, held = replay.bytes_held().figures
    # 8 lanes of 64 steps in 68 rows, but for the rows of ends: 68 / 64 of 7,056 + 8 + 4 + 4 + 1 + 1 + 2 + 8 + 4 bytes.
    assert sent.value == pytest.approx(68 / 64 * (7_056 + 32), rel=0.01)
    # And a leaf of the tree with its share of sums for each row.
    assert sent.value < held.value < 1.02 * sent.value
    assert sent.is_met and held.is_met


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_across_processes(monkeypatch):
    monkeypatch.setattr(across, "ROWS", 20_000)
    table = across.across(Options(repeats=1, seconds=0.3))
    assert len(table.figures) == 10
    assert all(one.value > 0 for one in table.figures)
    goals = [one.goal for one in table.figures if one.goal]
    assert goals == ["≥ 300", "≥ 500,000"]
