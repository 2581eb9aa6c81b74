"""What a run is given besides its run file: teachers that were trained elsewhere, and policies that students begin with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from distributed_kd import networks
from distributed_kd.config import RunConfig
from distributed_kd.envs.spec import make
from distributed_kd.errors import CheckpointError, Problem
from distributed_kd.records import EnvSpec
from distributed_kd.rollouts.evaluation import play
from distributed_kd.rollouts.policies import Policies
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import Source, check_source, load_sources, read_source, save_sources
from distributed_kd.training.parts import Parts


@dataclass(frozen=True)
class Given:
    """Policies from elsewhere: the teachers, and what students begin with, by the student's name."""

    teachers: tuple[Source, ...] = ()
    starts: Mapping[str, Source] = field(default_factory=dict)


def read_given(config: RunConfig, spec: EnvSpec) -> Given:
    """Read all that the run file names.

    Where the best of several teachers is asked for, they are played and it alone is kept. Raises CheckpointError where
    something cannot be read safely, or does not fit the environment or the network that it is for.
    """
    teachers = tuple(read_source(origin) for origin in config.teacher.sources)
    problems = [problem for one in teachers for problem in check_source(one, spec, "teacher.source")]
    starts = {name: read_source(student.start) for name, student in config.students.items() if student.start}
    for name, source in starts.items():
        problems += _check_start(f"students.{name}.start", source, config.students[name].network.hidden)
    if problems:
        raise CheckpointError(*problems)
    if len(teachers) > 1 and config.teacher.combine == "best":
        teachers = (_best(config, spec, teachers),)
    return Given(teachers, starts)


def _check_start(key: str, source: Source, hidden: tuple[int, ...]) -> Sequence[Problem]:
    if source.network.hidden == hidden and hidden:
        return []
    why = f"its hidden layers are {list(source.network.hidden)}, the student's {list(hidden)}"
    widths = " ".join(map(str, source.network.hidden))
    fix = f"Set --{key.removesuffix('start')}network.hidden {widths}" if widths else "Choose one with hidden layers"
    return [Problem("the start does not fit", key, source.origin, why, fix)]


def _best(config: RunConfig, spec: EnvSpec, teachers: Sequence[Source]) -> Source:
    """The one whose greedy episodes score best, on seeds that are used for nothing else."""
    seeds = Parts(config, spec).seed("teachers").generate_state(config.evaluation.episodes)
    envs = [make(config.env) for _ in seeds]
    try:
        means = []
        for source in teachers:
            network = networks.build(source.network, spec, dueling=source.dueling)
            networks.transfer(network, source.parameters)
            policies = Policies({"teacher": network})
            means.append(np.mean(play(envs, spec, lambda seen, p=policies: p.greedy("teacher", seen), seeds).returns))
    finally:
        for env in envs:
            env.close()
    return teachers[int(np.argmax(means))]


def with_teachers_network(config: RunConfig, given: Given) -> RunConfig:
    """The run file as it holds for one teacher from elsewhere: its network is that teacher's."""
    if len(given.teachers) != 1:
        return config
    (source,) = given.teachers
    return replace(config, teacher=replace(config.teacher, network=source.network, dueling=source.dueling))


def keep_teachers(folder: RunFolder, given: Given) -> None:
    """Copy the teachers into the run's folder, so that it needs nothing from elsewhere later."""
    if given.teachers:
        save_sources(folder.teachers, given.teachers)


def parts_of(folder: RunFolder, config: RunConfig, spec: EnvSpec, given: Given | None = None) -> Parts:
    """The parts of a run whose folder was made before; `given` holds what is added to it now."""
    return Parts(config, spec, load_sources(folder.teachers), given.starts if given else {})


def lines(given: Given, config: RunConfig) -> list[str]:
    """What was read, as a person is told of it."""
    frozen = "frozen" if config.teacher.frozen else "learns on"
    told = [f"teacher     {one.origin}: {one.network.kind} {list(one.network.hidden)}, {frozen}" for one in given.teachers]
    for name, source in given.starts.items():
        told.append(f"start       {name} begins with {source.origin}")
    return told
