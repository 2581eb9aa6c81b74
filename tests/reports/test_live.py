"""The screen while a run goes on: lines where there is no terminal, a table where there is one."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from distributed_kd.config import RunConfig
from distributed_kd.reports import live
from distributed_kd.reports.live import Screen, time_left
from distributed_kd.student_config import StudentConfig
from distributed_kd.training.journal import Snapshot

CONFIG = RunConfig(students={"half": StudentConfig(), "tiny": StudentConfig()})
BEFORE = Snapshot("warm-up", 64, 0, 0.02, 3.2, 20.0, 0.0, 0.0, 64, 0.0, {}, {})
SCORED = replace(
    BEFORE,
    phase="training",
    env_steps=12_345,
    updates=678,
    progress=0.5,
    scores={"random": 9.0, "teacher": 100.0, "half": 50.0, "tiny": 9.0},
    normalised={"random": 0.0, "teacher": 1.0, "half": 0.45, "tiny": float("nan")},
)


def screen(terminal=False):
    out = io.StringIO()
    return Screen(CONFIG, Console(file=out, force_terminal=terminal, width=120, highlight=False)), out


def test_a_line():
    one, _ = screen()
    line = one.line(BEFORE)
    assert line == "    3 s  warm-up      2%         64 steps (20/s)         0 updates (0/s)  busy 0.00"
    line = one.line(SCORED)
    assert line.endswith("busy 0.00  teacher 100.0  half 50.0  tiny 9.0")
    assert "12,345 steps" in line
    assert "678 updates" in line


def scored(students: dict[str, float]) -> str:
    """The part of a line that names scores, of a run with these students."""
    out = io.StringIO()
    config = RunConfig(students={name: StudentConfig() for name in students})
    snapshot = replace(SCORED, scores={"random": 9.0, "teacher": 100.0, **students})
    line = Screen(config, Console(file=out, highlight=False)).line(snapshot)
    return line.partition("busy 0.00  ")[2]


def test_seven_policies_have_room_on_a_line():
    line = scored({"a": 1.0, "b": 2.0, "c": 3.0, "d": 6.0, "e": 5.0, "f": 4.0})
    assert line == "teacher 100.0  a 1.0  b 2.0  c 3.0  d 6.0  e 5.0  f 4.0"


def test_of_more_the_teacher_the_four_best_and_the_worst_are_named():
    line = scored({"a": 1.0, "b": -2.0, "c": 3.0, "d": 6.0, "e": 5.0, "f": 4.0, "g": 2.0})
    assert line == "teacher 100.0  d 6.0  e 5.0  f 4.0  c 3.0  b -2.0"


def test_lines_come_one_at_a_time_without_a_terminal(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(live, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now[0])}))
    one, out = screen()
    with one:
        for seconds, lines in ((0.0, 1), (5.0, 1), (9.9, 1), (10.0, 2), (11.0, 2), (30.0, 3)):
            now[0] = seconds
            one.show(SCORED)
            assert len(out.getvalue().splitlines()) == lines
    assert "\x1b" not in out.getvalue()


def test_a_table_on_a_terminal():
    one, out = screen(terminal=True)
    with one:
        one.show(BEFORE)
        one.show(SCORED)
    text = out.getvalue()
    assert "12,345" in text
    assert "45% of the teacher" in text
    assert "nan" not in text.lower()


@pytest.mark.parametrize(
    ("progress", "seconds", "text"),
    [(0.0, 5.0, ""), (0.5, 65.0, "1:05"), (0.25, 60.0, "3:00"), (1.0, 60.0, ""), (0.5, 59.6, "1:00")],
)
def test_what_is_left(progress, seconds, text):
    assert time_left(replace(BEFORE, progress=progress, seconds=seconds)) == text
