"""The table that a comparison ends with."""

import io

from run_folders import make_run
from summaries import BASE, student

from distributed_kd.reports.groups import finished
from distributed_kd.reports.over_seeds import print_over_seeds


def printed(folder) -> list[str]:
    out = io.StringIO()
    print_over_seeds(finished([folder]), out)
    assert all(len(line) <= 120 for line in out.getvalue().splitlines())
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_policies_of_one_name_stand_beneath_each_other(tmp_path):
    for label, scores in (("t-0.1", (0.5, 0.7)), ("t-auto", (0.9, 0.9))):
        for seed, score in enumerate(scores):
            students = {"small": student(parameters=50), "tiny": student(parameters=20, score=score)}
            make_run(tmp_path, label=label, seed=seed, students=students)
    make_run(tmp_path, env="Other-v0", label="own", seed=4, students={"small": student(score=0.25)})
    lines = printed(tmp_path)
    assert lines[0] == "Acrobot-v1"
    rows = [line.split()[:3] for line in lines[3:9]]
    assert rows == [
        [policy, label, "2"] for policy in ("teacher", "small", "tiny") for label in ("t-0.1", "t-auto")
    ]  # fmt: skip
    assert "0.600  0.500 … 0.700" in lines[7]
    assert "0.900  0.900 … 0.900" in lines[8]
    assert lines[10] == "Other-v0"
    assert "0.250              –" in lines[14], "one seed tells of no spread"


def test_a_teacher_that_learned_nothing_is_told_of(tmp_path):
    bad = {**BASE["teacher"], "return_mean": 10.0}
    make_run(tmp_path, label="[b]a", seed=0, teacher=bad)
    make_run(tmp_path, label="[b]a", seed=1)
    make_run(tmp_path, label="good", seed=0)
    told = [line for line in printed(tmp_path) if "chance" in line]
    assert told == ["[b]a: in 1 of 2 runs the teacher plays no better than chance; a share of its score says nothing there."]


def test_a_student_that_joined_some_runs_is_told_with_their_number(tmp_path):
    make_run(tmp_path, label="a", seed=0, students={"small": student(), "late": student(parameters=5, score=0.4)})
    make_run(tmp_path, label="a", seed=1, students={"small": student()})
    (row,) = (line for line in printed(tmp_path) if line.startswith(" late"))
    assert row.split()[:3] == ["late", "a", "1"]
