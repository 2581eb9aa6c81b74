"""The screen of a comparison: lines where there is no terminal, a table where there is one."""

import io

import pytest
from rich.console import Console
from trials import Fake, FakeProgress

from distributed_kd.comparing.screen import Screen, clock
from distributed_kd.comparing.trial import State

NAN = float("nan")


def screen(trials, terminal=False):
    out = io.StringIO()
    return Screen(trials, Console(file=out, force_terminal=terminal, width=120, height=50, highlight=False)), out


def trials():
    scored = FakeProgress(1500, 0.5, 0.5, 65.0, 100.0, {"half": 0.987, "tiny": NAN})
    return [
        Fake("one s0", state=State.RUNNING, progress=scored),
        Fake("one s1", state=State.FAILED, code=3, why="code 3: the [bold]environment[/] failed"),
        Fake("one s2", state=State.FINISHED, progress=FakeProgress(3000, 0.98, 0.98, None, 0.5, {"half": 1.0})),
        Fake("one s3"),
    ]


def test_a_line_for_each_change():
    runs = trials()
    shown, out = screen(runs)
    with shown:
        for run in [*runs[:3], None]:
            shown.tell(run)
        runs[0].goes_on = True
        shown.tell(runs[0])
        runs[0].state = State.ENDING
        shown.tell(runs[0])
        runs[0].state = State.STOPPED
        shown.tell(runs[0])
    lines = [line.partition(" s  ")[2] for line in out.getvalue().splitlines()]
    assert [line.partition("  [")[0].rstrip() for line in lines] == [
        "started   CartPole-v1 one s0",
        "failed    CartPole-v1 one s1, code 3: the [bold]environment[/] failed",
        "finished  CartPole-v1 one s2  3,000 steps  teacher 0.500  half 1.00",
        "goes on   CartPole-v1 one s0",
        "ending    CartPole-v1 one s0",
        "stopped   CartPole-v1 one s0  1,500 steps  teacher 100.0  half 0.99  tiny –",
    ]
    assert lines[1].partition("  [")[2].startswith("1 of 4 runs finished, 1 failed, about ")
    assert lines[5].endswith("[1 of 4 runs finished, 1 failed]"), "of what was stopped no time is left"


def test_a_table_on_a_terminal():
    runs = trials()
    shown, out = screen(runs, terminal=True)
    with shown:
        shown.tell(None)
    text = out.getvalue()
    for words in (
        "one s0",
        "running",
        "1,500",
        "50%",
        "100.0",
        "half 0.99  tiny –",
        "1:05",
        "failed (3)",
        "100%",
        "waiting",
    ):
        assert words in text
    assert "1 of 4 runs finished, 1 failed" in text


def test_a_failure_is_told_beside_the_table_too():
    runs = trials()
    shown, out = screen(runs, terminal=True)
    with shown:
        shown.tell(runs[1])
        shown.tell(runs[2])
    text = out.getvalue()
    assert "code 3: the [bold]environment[/] failed" in text
    assert "finished  CartPole-v1 one s2" not in text


def test_of_many_runs_the_ones_under_way_are_shown():
    runs = [Fake(f"done s{number}", state=State.FINISHED) for number in range(40)]
    runs += [Fake("at work", state=State.RUNNING), Fake("broken", state=State.FAILED, code=-9)]
    shown, out = screen(runs)
    shown._console.print(shown.table())
    text = out.getvalue()
    assert "at work" in text and "failed (-9)" in text
    assert "and 18 more" in text


def test_many_students_are_shortened_to_the_best():
    scores = {"a": 0.1, "b": 0.9, "c": NAN, "d": 0.8, "e": 0.7, "f": 0.6}
    run = Fake("x", state=State.FINISHED, progress=FakeProgress(10, 1.0, 1.0, None, 20.0, scores))
    shown, _ = screen([run])
    assert "teacher 20.0  b 0.90  d 0.80  e 0.70  f 0.60  and 2 more" in shown.line(run)


@pytest.mark.parametrize(("seconds", "told"), [(5, "0:05"), (65, "1:05"), (3905, "1:05:05"), (1e9, "–"), (NAN, "–")])
def test_a_clock(seconds, told):
    assert clock(seconds) == told
