"""The outcome of a run: the table, the answer in a sentence, the account."""

import io

import pytest
from rich.console import Console
from summaries import BASE, NAN, student, summary, unmeasured, write_metrics

from distributed_kd.reports.outcome import answer, notes, number, percent, report, table
from distributed_kd.storage.run_folder import RunFolder


def printed(one) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=100, highlight=False).print(table(one, {}))
    return out.getvalue().splitlines()


def test_the_table_goes_from_large_to_small():
    lines = printed(summary({"small": student(10, 0.5, 0.01), "large": student(500, 0.97, 0.5)}))
    assert lines[0].split()[0] == "policy"
    assert [line.split()[0] for line in lines[2:]] == ["teacher", "large", "small", "random"]
    assert lines[2].split() == ["teacher", "1,000", "100", "%", "60.0", "55.0", "…", "65.0", "1.000", "1.000", "30.0"]
    assert lines[4].split() == ["small", "10", "1", "%", "50.0", "40.0", "…", "60.0", "0.500", "0.800", "20.0"]
    assert lines[5].split() == ["random", "10.0", "0.000"]


def test_of_one_size_the_better_stands_above():
    scores = {"a": 0.5, "b": 0.9, "c": NAN, "d": 0.7}
    students = {name: student(score=score) for name, score in scores.items()}
    lines = printed(summary({"large": student(500, 0.1), **students}))
    assert [line.split()[0] for line in lines[2:]] == ["teacher", "large", "b", "d", "a", "c", "random"]


def test_long_names_and_wide_intervals_still_fit():
    one = student(1_234_567, return_mean=-500.0, return_ci95=[-500.0, -500.0], decision_microseconds=123.4)
    lines = printed(summary({"policy_gradient": one, "n" * 64: one}))
    assert max(map(len, lines)) <= 100
    assert lines[3].split() == ["policy_gradient", "1,234,567", "10", "%", "-500.0", "-500.0", "…", "-500.0",
                                "0.900", "0.800", "123.4"]  # fmt: skip
    assert sum(line.split()[0].count("n") for line in lines[4:-1]) == 64


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
    assert answer(summary(students), {}) == (
        "The smallest student that keeps 95% of the teacher's score is b: 10 % of its parameters, normalised score 0.950."
    )


def test_of_several_that_small_the_best_is_named():
    students = {
        "large": student(500, 1.02, 0.5),
        "a": student(100, 0.96, 0.02),
        "b": student(100, 1.0, 0.02),
        "c": student(100, 1.0001, 0.02),
        "d": student(100, 0.9, 0.02),
    }
    told = answer(summary(students), {"b": 2_000, "c": 3_000})
    assert told == (
        "The smallest students that keep 95% of the teacher's score have 2 % of its parameters: 3 of 4 of that size do, "
        "the best is b with a normalised score of 1.000."
    )
    # Without b and c a is the only one of its size, and is told of as one.
    alone = answer(summary({name: students[name] for name in ("large", "a", "d")}), {})
    assert alone.startswith("The smallest student that keeps 95% of the teacher's score is a: 2 % of its parameters")


def test_none_keeps_it():
    told = answer(summary({"a": student(score=0.94), "b": student(score=None), "c": student(score=-2.0)}), {})
    assert told == "No student kept 95% of the teacher's score."


def test_of_a_teacher_no_better_than_chance_nothing_is_said():
    """Else a student would be praised for being as bad: both differences are negative, their ratio is above 1."""
    poor = {**BASE["teacher"], "return_mean": 9.0}
    told = answer(summary({"a": student(score=1.5)}, teacher=poor), {})
    assert told.startswith("The teacher plays no better than chance")


@pytest.mark.parametrize("status", ["preempted", "interrupted", "failed"])
def test_a_run_that_was_stopped_is_not_answered(status):
    told = answer(summary({"a": student()}, status=status), {})
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


def test_the_report_ranks_students_of_one_size(tmp_path):
    folder = RunFolder.create(tmp_path / "run", "")
    # Random 10, teacher 60: 57.5 is 95 %.
    write_metrics(
        folder.path, [(100, {"teacher": 20.0, "a": 57.5, "b": 20.0}), (200, {"teacher": 60.0, "a": 60.0, "b": 57.6})]
    )
    out = io.StringIO()
    report(summary({"b": student(score=1.0, loss="mse"), "a": student(score=1.0)}), folder, out)
    lines = [line.split() for line in out.getvalue().splitlines()]
    title = lines.index(["students", "of", "100", "parameters,", "best", "first"])
    assert lines[title - 1] == []
    assert lines[title + 3] == ["1", "a", "kl", "1.000", "0.800", "0.950", "100"]
    assert lines[title + 4] == ["2", "b", "mse", "1.000", "0.800", "0.950", "200"]
    assert "2 of 2 of that size do, the best is a with" in out.getvalue()
