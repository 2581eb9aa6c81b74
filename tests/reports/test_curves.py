"""Curves out of metrics.jsonl, and when a policy was first good enough."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from summaries import BASE, NAN, evaluation_line, student, summary, write_metrics

from distributed_kd.errors import CheckpointError
from distributed_kd.reports.curves import read_curves, steps_to, steps_to_keep

OTHER = json.dumps({"time": 1.0, "env_steps": 5, "updates": 1, "charts": {"replay_size": 5}, "losses": {}})


def curves(folder, *lines, end="\n"):
    path = folder / "metrics.jsonl"
    path.write_text("\n".join(lines) + end)
    return read_curves(path)


def test_a_curve_for_each_policy(tmp_path):
    found = curves(tmp_path, OTHER, evaluation_line(10, teacher=1.0, a=None), OTHER, evaluation_line(20, teacher=3.0, a=2.5))
    assert found.keys() == {"teacher", "a"}
    assert found["teacher"] == [(10, 1.0), (20, 3.0)]
    assert str(found["a"]) == "[(10, nan), (20, 2.5)]"


def test_a_student_may_join_later(tmp_path):
    found = curves(tmp_path, evaluation_line(10, teacher=1.0), evaluation_line(20, teacher=3.0, late=2.0))
    assert found["late"] == [(20, 2.0)]


def test_without_metrics_there_are_no_curves(tmp_path):
    assert read_curves(tmp_path / "metrics.jsonl") == {}


def test_after_a_crash_the_later_line_wins(tmp_path):
    # 20 and 30 were told, then the run went back to a checkpoint at 15: its 20 is told again, and 30 came to be 35.
    told = [(10, 1.0), (20, 2.0), (30, 9.0), (20, 2.5), (35, 3.0)]
    found = curves(tmp_path, *(evaluation_line(steps, a=score) for steps, score in told))
    assert found["a"] == [(10, 1.0), (20, 2.5), (35, 3.0)]


@given(st.lists(st.integers(0, 30), max_size=30))
def test_steps_only_rise_and_the_last_line_stands(tmp_path_factory, steps):
    found = curves(tmp_path_factory.mktemp("run"), *(evaluation_line(at, a=float(n)) for n, at in enumerate(steps)))
    curve = found.get("a", [])
    assert all(one < other for (one, _), (other, _) in pairwise(curve))
    # Every step that was told and not gone back behind later stands, with its newest score.
    standing = [(at, float(n)) for n, at in enumerate(steps) if all(later > at for later in steps[n + 1 :])]
    assert curve == standing


@pytest.mark.parametrize("torn", ['{"time": 1.0, "evaluation": {"a', "5", '{"evaluation": {"a": {}}}', "\0\0\0", '["x"]'])
@pytest.mark.parametrize("end", ["\n", ""])
def test_a_damaged_last_line_is_passed_over(tmp_path, torn, end):
    assert curves(tmp_path, evaluation_line(10, a=1.0), torn, end=end) == {"a": [(10, 1.0)]}


@pytest.mark.parametrize("torn", ['{"time": 1.0, "evaluation": {"a', "", '{"evaluation": {"a": {"return_mean": 1}}}'])
def test_a_damaged_line_before_the_last_is_named(tmp_path, torn):
    with pytest.raises(CheckpointError) as told:
        curves(tmp_path, evaluation_line(10, a=1.0), torn, OTHER)
    (line,) = told.value.lines
    assert line.startswith(f"the metrics cannot be read (path={tmp_path / 'metrics.jsonl'}): line 2 is damaged, ")
    assert line.endswith(". Remove that line")


@pytest.mark.parametrize(
    ("curve", "share", "steps"),
    [
        # Random -500, teacher -100: 95 % of the way is -120, half of it -300.
        ([(10, -500.0), (20, -120.0), (30, -100.0)], 0.95, 20),
        ([(10, -500.0), (20, -120.1), (30, -100.0)], 0.95, 30),
        ([(10, -119.0), (20, -400.0)], 0.95, None),  # reached, and not held
        ([(10, -119.0), (20, -400.0), (30, -110.0), (40, -111.0)], 0.95, 30),
        ([(10, -301.0), (20, -300.0)], 0.5, 20),
        ([(10, -500.0), (20, -121.0)], 0.95, None),
        ([(10, NAN), (20, -90.0)], 0.95, 20),
        ([(0, -90.0)], 0.95, 0),
        ([], 0.95, None),
    ],
)
def test_steps_to_a_share(curve, share, steps):
    assert steps_to(curve, -500.0, -100.0, share) == steps


@pytest.mark.parametrize(("random", "teacher"), [(10.0, 10.0), (10.0, 9.0), (NAN, 9.0), (10.0, NAN)])
def test_of_a_teacher_no_better_than_random_nothing_is_said(random, teacher):
    assert steps_to([(10, 50.0)], random, teacher) is None


def test_the_final_scores_of_a_run_are_the_measure(tmp_path):
    """Random 10 and teacher 60 at the end, so 57.5 is asked for; the teacher's own 30 while training was not enough."""
    write_metrics(tmp_path, [(100, {"random": 12.0, "teacher": 30.0, "a": 57.4}), (200, {"teacher": 60.0, "a": 57.5})])
    one = summary({"a": student(), "unheard": student()})
    assert steps_to_keep(one, read_curves(tmp_path / "metrics.jsonl")) == {"teacher": 200, "a": 200}
    unmeasured = one | {"random_return": None, "teacher": {**BASE["teacher"], "return_mean": None}}
    assert steps_to_keep(unmeasured, {"a": [(1, 5.0)]}) == {"a": None}


def test_a_run_over_a_fixed_set_of_states_took_no_steps():
    one = summary({"a": student()}) | {"env_steps": 0}
    assert steps_to_keep(one, {"teacher": [(0, 60.0)], "a": [(0, 60.0)]}) == {}
