"""A run's clock, and its charts over time."""

import numpy as np
import pytest

from distributed_kd.reports.traces import PAUSE, POINTS, Line, Traces


def lines(*told, **charts):
    return [Line.of({"time": at, "env_steps": steps, "updates": 1, "charts": charts}) for at, steps in told]


def test_the_clock_stands_still_while_a_run_is_stopped():
    # 10 s, then a night, then 5 s; a clock that was set back counts nothing.
    traces = Traces(lines((100.0, 10), (110.0, 20), (50_000.0, 20), (50_005.0, 30), (49_000.0, 40), (49_001.0, 50)))
    assert traces.seconds.tolist() == [0, 10, 10, 15, 15, 16]
    assert PAUSE < 50_000 - 110


def test_when_steps_were_made_is_counted_back_from_the_end():
    # The run took 20 s by its own clock, of which the first 4 passed before a line was written.
    traces = Traces(lines((1000.0, 10), (1008.0, 50), (1016.0, 90)))
    assert traces.seconds_to(30, 20.0) == pytest.approx(8.0)
    assert traces.seconds_to(90, 20.0) == pytest.approx(20.0)
    assert traces.seconds_to(30, float("nan")) == pytest.approx(4.0)


def test_of_many_points_neighbours_are_averaged():
    many = [Line.of({"time": float(n), "env_steps": n, "updates": 0, "charts": {"replay_size": n % 2}}) for n in range(3000)]
    at, values = Traces(many).over_time("replay_size")
    assert len(at) == POINTS and np.allclose(values, 0.5) and (np.diff(at) > 0).all()


def test_what_was_not_told_is_empty():
    at, values = Traces([]).over_time("replay_size")
    assert at.size == values.size == 0
    at, values = Traces(lines((1.0, 1), (2.0, 2), replay_size=None)).over_time("replay_size")
    assert at.size == values.size == 0


@pytest.mark.parametrize("key", ["time", "env_steps", "updates"])
@pytest.mark.parametrize("wrong", [None, -1, "x", True])
def test_a_line_without_its_place_is_damaged(key, wrong):
    with pytest.raises(ValueError, match="numbers of at least 0"):
        Line.of({"time": 1.0, "env_steps": 1, "updates": 1} | {key: wrong})
