"""Students that join a run which has trained already."""

from dataclasses import replace

from distributed_kd.config import RunConfig
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.storage.checkpoints import Checkpoint


def newcomers(config: RunConfig, before: RunConfig) -> RunConfig:
    """`config` with the students alone that `before` did not have, and with its teacher as one that learns here.

    What they begin with is still to be read; teacher and old students are in the checkpoint.
    """
    students = {name: student for name, student in config.students.items() if name not in before.students}
    return replace(config, students=students, teacher=replace(config.teacher, source="learn"))


def joined_later(config: RunConfig, before: RunConfig) -> RunConfig:
    """`config` with the students that `before` did not have driving no lanes: all others learn as they would have.

    Raises ConfigurationError where a newcomer needs lanes, or would change what the others learn.
    """
    names = [name for name in config.students if name not in before.students]
    if names and config.teacher.is_peers:
        why, fix = "among peers everyone teaches, so a newcomer would change the others", "Start a new run"
        raise ConfigurationError(Problem("nobody can join", "students", ", ".join(names), why, fix))
    students = {
        name: replace(student, drives=False) if name in names else student for name, student in config.students.items()
    }
    joined = replace(config, students=students)
    if problems := list(joined.problems()):
        raise ConfigurationError.of(problems)
    return joined


def check_goes_on(config: RunConfig, before: RunConfig, restored: Checkpoint) -> None:
    """Raise ConfigurationError where students join a run that is over: they would learn nothing."""
    names, done = [name for name in config.students if name not in before.students], restored.about["env_steps"]
    if names and config.stop.env_steps and done >= config.stop.env_steps:
        why, fix = f"the run has come to {done}", f"Set --stop.env_steps {2 * done}"
        raise ConfigurationError(Problem("the run is over", "stop.env_steps", config.stop.env_steps, why, fix))
