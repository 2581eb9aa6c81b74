"""The outcome of a run: the table, the answer in a sentence, the account."""

import io

import pytest
from rich.console import Console
from summaries import BASE, NAN, student, summary, unmeasured

from distributed_kd.reports.outcome import answer, notes, number, percent, report, table
from distributed_kd.storage.run_folder import RunFolder


def printed(one) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=100, highlight=False).print(table(one))
    return out.getvalue().splitlines()


def test_the_table_goes_from_large_to_small():
    lines = printed(summary({"small": student(10, 0.5, 0.01), "large": student(500, 0.97, 0.5)}))
    assert lines[0].split()[0] == "policy"
    assert [line.split()[0] for line in lines[2:]] == ["teacher", "large", "small", "random"]
    assert lines[2].split() == ["teacher", "1,000", "100", "%", "60.0", "55.0", "…", "65.0", "1.000", "1.000", "30.0"]
    assert lines[4].split() == ["small", "10", "1", "%", "50.0", "40.0", "…", "60.0", "0.500", "0.800", "20.0"]
    assert lines[5].split() == ["random", "10.0", "0.000"]


@pytest.mark.parametrize("value", [NAN, None])
def test_what_was_not_measured_is_a_dash(value):
    lines = printed(unmeasured(value))
    assert lines[3].split() == ["a", "100", "10", "%", "–", "–", "…", "–", "–", "–", "–"]
    assert "nan" not in "".join(lines).lower()


def test_the_smallest_that_keeps_the_score_is_named():
    students = {
        "a": student(500, 1.02, 0.5),
        "b": student(100, 0.95, 0.1),
        "c": student(50, 0.949, 0.05),
        "d": student(10, NAN, 0.01),
    }
    assert answer(summary(students)) == (
        "The smallest student that keeps 95% of the teacher's score is b: 10 % of its parameters, normalised score 0.950."
    )


def test_none_keeps_it():
    told = answer(summary({"a": student(score=0.94), "b": student(score=None), "c": student(score=-2.0)}))
    assert told == "No student kept 95% of the teacher's score."


def test_of_a_teacher_no_better_than_chance_nothing_is_said():
    """Else a student would be praised for being as bad: both differences are negative, their ratio is above 1."""
    poor = {**BASE["teacher"], "return_mean": 9.0}
    told = answer(summary({"a": student(score=1.5)}, teacher=poor))
    assert told.startswith("The teacher plays no better than chance")


@pytest.mark.parametrize("status", ["preempted", "interrupted", "failed"])
def test_a_run_that_was_stopped_is_not_answered(status):
    told = answer(summary({"a": student()}, status=status))
    assert told.startswith(f"The run was {status}")
    assert "95%" not in told


def test_the_account_of_all_steps():
    speed, steps = notes(summary({"a": student()}))
    assert speed == "speed     1,000 env steps/s, 250 updates/s, learner busy 88%; 61 s in all"
    assert steps == ("steps     1,234 generated = 1,200 accepted + 34 dropped + 0 unknown; 4.000 samples per insert")


@pytest.mark.parametrize(
    ("share", "text"), [(0.0057, "0.57 %"), (0.258, "26 %"), (0.5, "50 %"), (0.996, "100 %"), (1.2, "120 %")]
)
def test_a_share(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(("value", "text"), [(1.26, "1.3"), (None, "–"), (NAN, "–"), (-0.04, "-0.0"), (1e9, "1000000000.0")])
def test_a_number(value, text):
    assert number(value, ".1f") == text


@pytest.mark.parametrize("status", ["finished", "preempted"])
def test_the_whole_report(tmp_path, status):
    folder = RunFolder.create(tmp_path / "[bold]run[/bold]", "")
    out = io.StringIO()
    report(summary({"a": student()}, status=status), folder, out)
    text = out.getvalue()
    # A folder's name is shown as it is: brackets in it are no markup.
    assert f"run       {folder.path}\n" in text
    assert (folder.path / "score_vs_size.svg").is_file() == (status == "finished")
    assert (f"python launch.py resume {folder.path}" in text) == (status != "finished")
