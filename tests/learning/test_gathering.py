"""learning.gathering: who learns together, and how it is decided."""

import numpy as np
import pytest
from learning_samples import as_stored, lessons, recruit_of, students_of

from distributed_kd.learning import gathering
from distributed_kd.learning.gathering import gathered
from distributed_kd.learning.together import Together
from distributed_kd.student_config import LossConfig, StudentConfig


def test_groups_are_of_one_age_and_leave_out_who_learns_from_its_own_lanes():
    own = StudentConfig(losses=(LossConfig("kl"), LossConfig("policy_gradient")))
    members = {name: ((8,), StudentConfig(warmup=warmup)) for name, warmup in zip("abcde", (0, 0, 5, 5, 9), strict=True)}
    members["own"] = ((8,), own)
    students = students_of(members)
    (lesson,) = lessons(1)
    recruit = recruit_of({name: config for name, (_, config) in members.items()})
    groups = gathered(students, recruit, lesson, "together")
    assert sorted(sorted(group.names) for group in groups) == [["a", "b"], ["c", "d"], ["e"]]


def test_in_a_loop_each_is_a_group_of_its_own():
    members = {name: ((8,), StudentConfig()) for name in "abc"}
    students = students_of(members)
    (lesson,) = lessons(1)
    groups = gathered(students, recruit_of({name: config for name, (_, config) in members.items()}), lesson, "loop")
    assert [sorted(group.names) for group in groups] == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize("faster", ["together", "loop"])
def test_the_faster_way_is_found_on_copies(monkeypatch, faster):
    ticks = {"now": 0.0}
    update = Together.update

    def slow(group, *arguments, **more):
        # One alone takes a second; two together three or one and a half.
        ticks["now"] += 1.0 if len(group.names) == 1 else {"together": 1.5, "loop": 3.0}[faster]
        return update(group, *arguments, **more)

    monkeypatch.setattr(gathering.time, "perf_counter", lambda: ticks["now"])
    monkeypatch.setattr(Together, "update", slow)
    members = {name: ((8, 8), StudentConfig(observation_noise=0.1)) for name in "ab"}
    students = students_of(members)
    before = {name: as_stored(one.state()) for name, one in students.items()}
    (lesson,) = lessons(1)
    groups = gathered(students, recruit_of({n: c for n, (_, c) in members.items()}), lesson, "auto")
    assert [sorted(group.names) for group in groups] == ([["a", "b"]] if faster == "together" else [["a"], ["b"]])
    for name, one in students.items():  # trying has taught them nothing
        after = as_stored(one.state())
        np.testing.assert_equal(after, before[name])
