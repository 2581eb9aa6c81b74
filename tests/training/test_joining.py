"""Students that join a run: what a joined run file looks like, and who cannot join.

That teacher and old students learn as they would have without them is shown on whole runs, in `program/`.
"""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import CONFIG, SPEC

from distributed_kd import run_file
from distributed_kd.config import RunConfig, StopConfig
from distributed_kd.errors import CheckpointError, ConfigurationError
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.storage.checkpoints import Checkpoint
from distributed_kd.student_config import StudentConfig
from distributed_kd.training.fitting import open_checkpoint
from distributed_kd.training.joining import check_goes_on, joined_later, newcomers
from distributed_kd.training.parts import Parts


def added(config=CONFIG, **students) -> RunConfig:
    """`config` with these students behind its own."""
    return replace(config, students={**config.students, **students})


def saved_at(env_steps: int) -> Checkpoint:
    """What is read of the checkpoint that a run goes on from."""
    return Checkpoint(1, "step-1", Path("step-1"), {}, {"env_steps": env_steps})


def line_of(raised) -> str:
    (line,) = raised.value.lines
    return line


def test_only_the_new_students_are_read_and_the_teacher_is_not():
    taught = replace(CONFIG, teacher=replace(CONFIG.teacher, source="elsewhere", frozen=False))
    new = newcomers(added(taught, late=StudentConfig(start="runs/other")), taught)
    assert list(new.students) == ["late"]
    assert new.students["late"].start == "runs/other"
    assert (new.teacher.sources, new.teacher.network) == ((), CONFIG.teacher.network)


def test_a_newcomer_drives_nothing_and_the_lanes_are_as_before():
    joined = joined_later(added(late=StudentConfig(td_weight=1.0, loss="mse")), CONFIG)
    assert [student.drives for student in joined.students.values()] == [True, True, False]
    before, after = Parts(CONFIG, SPEC).plans, Parts(joined, SPEC).plans
    assert [plan.policy.tolist() for plan in after] == [plan.policy.tolist() for plan in before]


def test_a_newcomer_stays_behind_all_others_so_that_their_numbers_are_as_before():
    assert joined_later(added(aaa=StudentConfig()), CONFIG).policies == ("teacher", "big", "small", "aaa")


def test_one_that_joined_once_is_no_newcomer_the_next_time():
    once = joined_later(added(late=StudentConfig()), CONFIG)
    twice = joined_later(added(once, later=StudentConfig()), once)
    assert [name for name, student in twice.students.items() if not student.drives] == ["late", "later"]
    assert list(newcomers(twice, once).students) == ["later"]
    assert joined_later(once, once) == once


@settings(deadline=None)
@given(st.lists(st.sampled_from(["p", "q", "r", "s"]), unique=True), st.booleans())
def test_the_old_students_and_all_else_are_left_as_they_were(names, drives):
    before = added(old=StudentConfig(drives=drives))
    joined = joined_later(added(before, **{name: StudentConfig() for name in names}), before)
    assert {name: joined.students[name] for name in before.students} == before.students
    assert replace(joined, students={}) == replace(before, students={})
    assert [name for name in joined.students if name not in before.students] == names


PEERS = replace(
    CONFIG,
    teacher=TeacherConfig(source="peers"),
    students={name: StudentConfig(loss="mse", td_weight=1.0) for name in ("a", "b")},
)


def test_nobody_joins_peers():
    newcomer = StudentConfig(loss="mse", td_weight=1.0)
    with pytest.raises(ConfigurationError) as raised:
        joined_later(added(PEERS, late=newcomer, later=newcomer), PEERS)
    assert line_of(raised) == (
        "nobody can join (students=late, later): among peers everyone teaches, so a newcomer would change the others. "
        "Start a new run"
    )
    assert joined_later(PEERS, PEERS) == PEERS


def test_a_newcomer_that_needs_lanes_cannot_join():
    with pytest.raises(ConfigurationError) as raised:
        joined_later(added(late=StudentConfig(loss="policy_gradient")), CONFIG)
    assert "(students.late." in line_of(raised)
    assert "own lanes" in line_of(raised)


@pytest.mark.parametrize("done", [1_000, 1_016])  # a run of 1,000 steps; segments may carry it past its end
def test_a_run_that_is_over_teaches_nobody(done):
    with pytest.raises(ConfigurationError) as raised:
        check_goes_on(added(late=StudentConfig()), CONFIG, saved_at(done))
    assert line_of(raised) == (
        f"the run is over (stop.env_steps=1000): the run has come to {done}. Set --stop.env_steps {2 * done}"
    )


@pytest.mark.parametrize(
    ("config", "done"),
    [
        (added(late=StudentConfig()), 999),
        (CONFIG, 1_000),  # without a newcomer it only scores once more
        (added(replace(CONFIG, stop=StopConfig(env_steps=2_000)), late=StudentConfig()), 1_000),
        (added(replace(CONFIG, stop=StopConfig(env_steps=0, minutes=5)), late=StudentConfig()), 1_000),
    ],
)
def test_a_run_that_goes_on(config, done):
    check_goes_on(config, CONFIG, saved_at(done))


def test_what_the_line_says_to_set_does_go_on():
    with pytest.raises(ConfigurationError) as raised:
        check_goes_on(added(late=StudentConfig()), CONFIG, saved_at(1_000))
    longer = replace(CONFIG, stop=StopConfig(env_steps=int(line_of(raised).rpartition(" ")[2])))
    check_goes_on(added(longer, late=StudentConfig()), CONFIG, saved_at(1_000))


class Opened(Exception):
    """The configuration was accepted, and a checkpoint was asked for."""


class Folder:
    """A run's folder of which nothing may be read before the configuration was checked."""

    config_file = Path("config.toml")

    def checkpoints_at(self, to):
        raise Opened


def test_a_newcomer_is_no_change_and_an_old_student_is():
    late = {"late": StudentConfig(learning_rate=0.5)}
    with pytest.raises(Opened):
        open_checkpoint(Folder(), joined_later(added(**late), CONFIG), CONFIG)
    changed = replace(CONFIG.students["small"], learning_rate=0.25)
    with pytest.raises(CheckpointError) as raised:
        open_checkpoint(Folder(), joined_later(added(small=changed, **late), CONFIG), CONFIG)
    assert line_of(raised) == (
        "the run was made with another value (students.small.learning_rate=0.25): it is 0.001 in config.toml. "
        "Leave it, or start a new run; only stop, evaluation, checkpoint, supervision, placement, tracking, learner and new "
        "students may change"
    )


def test_an_old_student_cannot_leave():
    alone = replace(CONFIG, students={"small": CONFIG.students["small"]})
    with pytest.raises(CheckpointError, match=r"students\.big\."):
        open_checkpoint(Folder(), alone, CONFIG)


def test_an_old_student_is_not_new_because_its_name_begins_as_a_newcomers():
    changed = replace(CONFIG.students["small"], warmup=7)
    with pytest.raises(CheckpointError, match=r"students\.small\.warmup=7"):
        open_checkpoint(Folder(), added(small=changed, s=StudentConfig()), CONFIG)


def test_a_joined_run_file_reads_as_it_was_written():
    joined = joined_later(added(late=StudentConfig(td_weight=1.0, loss="mse")), CONFIG)
    assert run_file.decode(tomllib.loads(run_file.encode(joined))) == joined
