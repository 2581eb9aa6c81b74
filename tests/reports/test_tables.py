"""The tables of one group of runs."""

from dataclasses import replace

import pytest
from run_folders import curve, make_run, rows
from summaries import BASE, student

from distributed_kd.reports.groups import finished
from distributed_kd.reports.tables import each_run, over_seeds, speed, steps_over_seeds


def group(root):
    (runs,) = finished([root]).values()
    return runs


def teacher(mean):
    return {**BASE["teacher"], "return_mean": mean}


def test_over_seeds(tmp_path):
    # a comes to 57.5 after 100 steps in one run and 200 in the other, b in one of the two alone.
    first = {"a": student(500, 0.9, 0.5), "b": student(100, 0.98, 0.1, loss="nll")}
    second = {"a": student(500, 1.0, 0.5, action_agreement=0.6), "b": student(100, 0.96, 0.1, loss="nll")}
    make_run(tmp_path, seed=0, students=first, evaluations=curve([57.5, 60.0], [20.0, 30.0]))
    make_run(tmp_path, seed=1, students=second, evaluations=curve([57.4, 60.0], [58.0, 58.0]), teacher=teacher(58.0))
    # Below four seeds the IQM is the mean; of two seeds the interval spans both. 95 % of the second teacher are 55.6.
    assert over_seeds(group(tmp_path)) == (
        "Over 2 seeds:\n\n"
        "| policy | loss | parameters | share | normalised, IQM | 95 % interval | agreement | gap-weighted | steps to 95 % "
        "| µs a decision |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
        "| teacher | td | 1,000 | 100 % | 1 (return 59.0) | return 58.0 … 60.0 | 1 | 1 | 100 (100 … 100) | 30.0 |\n"
        "| a | kl | 500 | 50 % | 0.950 | 0.900 … 1.000 | 0.700 | 0.950 | 100 (100 … 100) | 20.0 |\n"
        "| b | nll | 100 | 10 % | 0.970 | 0.960 … 0.980 | 0.800 | 0.950 | 100, 1 of 2 | 20.0 |\n"
    )


def test_one_seed_has_no_interval(tmp_path):
    make_run(tmp_path, evaluations=curve([0.0, 60.0], [0.0, 0.0]))
    text = over_seeds(group(tmp_path))
    assert text.startswith("Over 1 seed:\n")
    assert "| a | kl | 100 | 10 % | 0.900 | – | 0.800 | 0.950 | 200 | 20.0 |" in text


def test_a_seed_without_a_score_is_not_trimmed_away(tmp_path):
    for seed, score in enumerate((0.9, None, 0.9, 0.9)):
        make_run(tmp_path, seed=seed, students={"a": student(score=score)})
    assert "| a | kl | 100 | 10 % | – | – | 0.800 |" in over_seeds(group(tmp_path))


def test_a_student_of_some_runs_has_no_number_over_all(tmp_path):
    make_run(tmp_path, seed=0)
    make_run(tmp_path, seed=1, students={"a": student(), "late": student()})
    runs = group(tmp_path)
    assert [row[0] for row in rows(over_seeds(runs), "policy")] == ["policy", "teacher", "a"]
    assert rows(each_run(runs), "seed")[1:] == [
        ["0", "10.0", "60.0 [55.0, 65.0]", "50.0 (0.900)", "–", "5"],
        ["1", "10.0", "60.0 [55.0, 65.0]", "50.0 (0.900)", "50.0 (0.900)", "5"],
    ]


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([300, 100, 200], "200 (100 … 300)"),
        ([100, 200], "150 (100 … 200)"),
        ([12_000], "12,000"),
        ([0, 0], "0 (0 … 0)"),
        ([300, None, 100], "200 (100 … 300), 2 of 3"),
        ([None, 100], "100, 1 of 2"),
        ([None, None], "0 of 2"),
    ],
)
def test_steps_over_seeds(tmp_path, steps, text):
    make_run(tmp_path)
    (run,) = group(tmp_path)
    assert steps_over_seeds([replace(run, steps={"a": one}) for one in steps], "a") == text
    assert steps_over_seeds([run], "a") == "–"


def test_each_run_is_a_row_up_to_six_students(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, seed=seed, students={name: student() for name in "abcdef"})
    told = rows(each_run(group(tmp_path)), "seed")
    assert told[0] == ["seed", "random", "teacher", *"abcdef", "episodes"]
    assert [row[0] for row in told[1:]] == ["0", "1"]


def test_of_more_students_each_is_a_row(tmp_path):
    for seed in (0, 7):
        students = {name: student(score=1 - ord(name) / 1000, return_mean=50.0 + seed) for name in "abcdefg"}
        make_run(tmp_path, seed=seed, students=students)
    told = rows(each_run(group(tmp_path)), "seed")
    assert told[0] == ["seed", "0", "7"]
    assert [row[0] for row in told[1:]] == ["random", "teacher", *"abcdefg", "episodes"]
    assert told[3] == ["a", "50.0 (0.903)", "57.0 (0.903)"]  # ord("a") is 97
    assert told[-1] == ["episodes", "5", "5"]


def test_speed(tmp_path):
    make_run(tmp_path)
    assert speed(group(tmp_path)) == (
        "Speed and accounting:\n\n"
        "| seed | wall s | env steps/s | updates/s | learner busy | samples per insert "
        "| generated = accepted + dropped + unknown |\n"
        "|---|---|---|---|---|---|---|\n"
        "| 0 | 61 | 1,000 | 250 | 0.875 | 4.000 | 1,234 = 1,200 + 34 + 0 |\n"
    )


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            {"teacher": {"source": "runs/Acrobot-v1__losses__s1__20260101T000000Z:kl"}, "data": {"file": "sets/500.npz"}},
            ["losses:kl (frozen)", "500.npz"],
        ),
        (
            {"teacher": {"source": ["a/one.zip", "b/t|wo"]}},
            ["one.zip, t\\|wo (frozen)", "teacher 50 %, students 50 %"],
        ),
        ({"teacher": {"source": "dqn.zip", "frozen": False}}, ["dqn.zip (learns on)", "teacher 50 %, students 50 %"]),
        ({"teacher": {"source": "peers"}}, ["peers", "teacher 50 %, students 50 %"]),
        (
            {"rollouts": {"behaviour": {"teacher": 0.0, "students": 1.0, "beta": 1.0}}},
            ["learn", "teacher 0 %, students 100 %, beta 1 to 0"],
        ),
        ({"rollouts": {"behaviour": {"teacher": 1.0, "students": 0.0}}}, ["learn", "teacher 100 %, students 0 %"]),
        (
            {"students": {"a": {"drives": False}}, "rollouts": {"behaviour": {"teacher": 0.9, "students": 0.1}}},
            ["learn", "teacher 100 %"],
        ),
    ],
)
def test_an_unusual_teacher_or_source_of_states_is_told(tmp_path, config, told):
    make_run(tmp_path, config=config)
    heading, row = rows(speed(group(tmp_path)), "seed")
    assert heading[-2:] == ["teacher", "states"]
    assert row[-2:] == told


def test_a_frozen_teacher_learned_nothing_here(tmp_path):
    make_run(tmp_path, config={"teacher": {"source": "dqn.zip"}}, evaluations=curve([60.0, 60.0], [0.0, 0.0]))
    told = rows(over_seeds(group(tmp_path)), "policy")
    assert (told[1][1], told[1][8]) == ("–", "–")
    assert told[2][8] == "100"
