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
    for name in names:
        if config.students[name].learns_from_own_lanes:
            why, fix = "policy_gradient learns from its own lanes, and who joins has none", "Use another loss, or a new run"
            key = f"students.{name}.{config.students[name].loss_key}"
            raise ConfigurationError(Problem("nobody can join", key, config.students[name].label, why, fix))
    students = {
        name: replace(student, drives=False) if name in names else student for name, student in config.students.items()
    }
    joined = replace(config, students=students)
    if problems := list(joined.problems()):
        raise ConfigurationError.of(problems)
    return joined


def check_goes_on(config: RunConfig, before: RunConfig, restored: Checkpoint) -> None:
    """Raise ConfigurationError where students join a run that is over: they would learn nothing."""
    if not newcomers(config, before).students:
        return
    updates = "data.updates" if config.data.file and not config.stop.updates else "stop.updates"
    bounds = {updates: (config.data.updates if updates == "data.updates" else config.stop.updates, restored.step)}
    if not config.data.file:
        bounds["stop.env_steps"] = config.stop.env_steps, restored.about["env_steps"]
    for key, (bound, done) in bounds.items():
        if bound and done >= bound:
            why, fix = f"the run has come to {done}", f"Set --stop.{key.partition('.')[2]} {2 * done}"
            raise ConfigurationError(Problem("the run is over", key, bound, why, fix))
