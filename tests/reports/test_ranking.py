"""The order of students that differ in their loss and not in their size."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from summaries import BASE, NAN, student, summary

from distributed_kd.reports.ranking import best_first, rankings


def printed(one, steps) -> list[str]:
    out = io.StringIO()
    for table in rankings(one, steps):
        Console(file=out, width=100, highlight=False).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_the_order():
    students = {
        "unmeasured": student(score=None, gap_weighted_agreement=None),
        "never": student(score=1.0001, gap_weighted_agreement=0.99),
        "late": student(score=0.9999, gap_weighted_agreement=0.9),
        "sure": student(score=1.0002, gap_weighted_agreement=0.8),  # 1.000 to three digits, as the two before
        "best": student(score=1.0006, gap_weighted_agreement=0.1),  # 1.001
        "unsure": student(score=1.0, gap_weighted_agreement=0.7),
    }
    steps = {"never": None, "late": 300, "sure": 200, "unsure": 200, "best": None}
    assert best_first(students, summary(students), steps) == ["best", "sure", "unsure", "late", "never", "unmeasured"]


@given(st.permutations(["a", "b", "c", "d"]))
def test_the_order_does_not_depend_on_the_run_file(names):
    scores = {"a": 0.5, "b": NAN, "c": 0.9, "d": 0.7}
    assert best_first(names, summary({name: student(score=scores[name]) for name in names}), {}) == ["c", "d", "a", "b"]


def test_the_table():
    students = {
        "soft": student(score=0.9, gap_weighted_agreement=0.98),
        "hard": student(score=0.95, loss="nll", action_agreement=0.75, gap_weighted_agreement=0.99),
        "lazy": student(score=NAN, loss="kl+hint", action_agreement=None, gap_weighted_agreement=NAN),
    }
    assert printed(summary(students), {"soft": 12_000, "hard": None}) == [
        "students of 100 parameters, best first",
        " place  student  loss     normalised  agreement  gap-weighted  steps to 95 %",
        "─────────────────────────────────────────────────────────────────────────────",
        "     1  hard     nll           0.950      0.750         0.990              –",
        "     2  soft     kl            0.900      0.800         0.980         12,000",
        "     3  lazy     kl+hint           –          –             –              –",
    ]


def test_only_sizes_with_several_losses_are_ranked():
    students = {
        "a": student(500),
        "b": student(100),
        "c": student(100, loss="mse"),
        "d": student(300),
        "e": student(300, loss="nll"),
        "f": student(50),
        "g": student(50),
    }
    titles = [line for line in printed(summary(students), {}) if line.startswith("students")]
    assert titles == ["students of 300 parameters, best first", "students of 100 parameters, best first"]


@pytest.mark.parametrize("value", [NAN, None, 10.0, 9.0])
def test_a_teacher_that_says_nothing_ranks_no_one(value):
    students = {"a": student(), "b": student(loss="mse")}
    assert rankings(summary(students), {})
    assert not rankings(summary(students, teacher={**BASE["teacher"], "return_mean": value}), {})


def test_it_fits_and_no_name_is_cut_short():
    name, loss = "n" * 64, "kl+hint+relational+similarity+value+policy_gradient+td"
    lines = printed(summary({name: student(), "b": student(loss=loss)}), {"b": 10_000_000})
    assert max(map(len, lines)) <= 100
    assert "".join(lines).count("n" * 9) >= 2
    assert sum(line.count("n") for line in lines[3:]) == 64 + loss.count("n")


def test_a_run_of_before_has_no_gap_weighted_agreement():
    old = student()
    del old["gap_weighted_agreement"]
    lines = printed(summary({"old": old, "b": student(loss="mse", score=0.5)}), {})
    assert lines[3].split() == ["1", "old", "kl", "0.900", "0.800", "–", "–"]
