"""How policies stand over a group's runs, and the answer in a sentence."""

import math

import pytest
from run_folders import make_run
from summaries import BASE, NAN, student

from distributed_kd.reports.reported import read_runs
from distributed_kd.reports.standings import Group, answer


def group(root, *runs, **more) -> Group:
    """Of runs with these students, a seed each."""
    for seed, students in enumerate(runs):
        make_run(root, seed=seed, students=students, **more)
    return Group.of("Acrobot-v1", "losses", read_runs([root])[0])


def test_over_runs_the_score_is_their_interquartile_mean(tmp_path):
    # Of four the lowest and the highest are cut: (0.9 + 1.0) / 2.
    scores = (0.2, 0.9, 1.0, 1.4)
    one = group(tmp_path, *({"a": student(score=score)} for score in scores)).students[0]
    assert one.score == pytest.approx(0.95)
    assert 0.2 <= one.low < 0.95 < one.high <= 1.4
    assert (one.network, one.loss, one.temperature, one.bytes) == ("64x64", "kl", "0.01", 400.0)
    assert one.scores == scores


def test_of_a_single_run_the_interval_is_over_its_episodes(tmp_path):
    # Random 10, teacher 60, the student's return 40 to 60: 0.6 to 1.0.
    one = group(tmp_path, {"a": student(score=0.9)}).students[0]
    assert (one.score, one.low, one.high) == (0.9, pytest.approx(0.6), pytest.approx(1.0))


def test_only_finished_runs_are_counted_where_there_are_any(tmp_path):
    make_run(tmp_path, seed=0, students={"a": student(score=0.9)})
    make_run(tmp_path, seed=1, students={"a": student(score=0.1)}, status="failed")
    one = Group.of("Acrobot-v1", "losses", read_runs([tmp_path])[0])
    assert (len(one.runs), len(one.counted), one.students[0].score) == (2, 1, 0.9)


def test_the_median_run_is_looked_into(tmp_path):
    one = group(tmp_path, *({"a": student(score=score)} for score in (0.9, 0.1, 0.5)))
    assert one.median.summary["seed"] == 2


def test_the_answer_is_the_smallest_that_keeps_the_score(tmp_path):
    students = {"large": student(500, 1.02, 0.5), "small": student(50, 0.96, 0.0057), "tiny": student(10, 0.5, 0.001)}
    sentence, note = answer(group(tmp_path, students))
    assert sentence == "64x64, 0.57 % of the parameters, keeps 96 % [60, 100] of the teacher’s score; 20 µs a decision."
    assert note == "Student small; one run: the interval is over its evaluation episodes."


def test_of_several_that_small_it_says_how_many(tmp_path):
    students = {"a": student(score=0.96), "b": student(score=0.99), "c": student(score=0.3)}
    one = group(tmp_path, students, students)
    assert one.best.policy == "b"
    assert answer(one)[1] == "Student b; the interval is over 2 runs. 2 of 3 students of that size keep as much."


def test_where_none_keeps_it_the_best_is_told(tmp_path):
    sentence, _ = answer(group(tmp_path, {"a": student(500, 0.4, 0.5), "b": student(50, 0.8, 0.05)}))
    assert sentence.startswith("No student keeps 95 % of the teacher’s score. The best, 64x64, 5 % of the parameters,")


@pytest.mark.parametrize(("mean", "said"), [(9.0, "no better than chance"), (None, "Nothing was scored yet")])
def test_of_a_teacher_that_learned_nothing_no_share_is_told(tmp_path, mean, said):
    teacher = {**BASE["teacher"], "return_mean": mean}
    assert said in answer(group(tmp_path, {"a": student(score=1.5)}, teacher=teacher))[0]


def test_a_teacher_near_chance_is_warned_of(tmp_path):
    teacher = {**BASE["teacher"], "return_mean": 12.0, "return_ci95": [9.0, 15.0]}
    assert "not told apart from chance" in answer(group(tmp_path / "one", {"a": student(score=3.0)}, teacher=teacher))[1]
    unknown = {**BASE["teacher"], "return_ci95": [None, None]}
    assert "chance" not in answer(group(tmp_path / "other", {"a": student()}, teacher=unknown))[1], "no interval"


def test_scores_of_a_run_that_goes_on_are_said_to_be_no_end(tmp_path):
    assert "Not finished" in answer(group(tmp_path, {"a": student()}, status="interrupted"))[1]


def test_what_was_not_measured_has_no_standing(tmp_path):
    one = group(tmp_path, {"a": student(score=NAN)})
    assert one.best is None and math.isnan(one.students[0].score)
    assert answer(one)[0] == "Nothing was scored yet."
