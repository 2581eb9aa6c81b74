"""What a run is given besides its run file: teachers that were trained elsewhere, and policies that students begin with."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from distributed_kd import networks
from distributed_kd.config import RunConfig
from distributed_kd.envs.spec import make
from distributed_kd.errors import CheckpointError, Problem
from distributed_kd.network_config import NetworkConfig
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
    problems = _check_teachers(teachers, config, spec, "teacher.source")
    starts = {name: read_source(student.start) for name, student in config.students.items() if student.start}
    for name, source in starts.items():
        problems += _check_start(f"students.{name}.start", source, config.students[name].network)
    problems += _check_normal(config, teachers, starts)
    if problems:
        raise CheckpointError(*problems)
    if len(teachers) > 1 and config.teacher.combine == "best":
        teachers = (_best(config, spec, teachers),)
    return Given(teachers, starts)


def _check_teachers(teachers: Sequence[Source], config: RunConfig, spec: EnvSpec, key: str) -> list[Problem]:
    # Whoever asks was allowed to import the networks that the run file itself names, and no others.
    allowed = {config.teacher.network.kind, *(one.network.kind for one in config.students.values())}
    problems = [problem for one in teachers for problem in check_source(one, spec, key, allowed)]
    if config.teacher.learns and any(one.network.is_tree for one in teachers):
        why, fix = "a tree learns from no rewards", "Set --teacher.frozen true"
        problems.append(Problem("a teacher that cannot learn", "teacher.frozen", "false", why, fix))
    return problems


def _check_start(key: str, source: Source, network: NetworkConfig) -> Sequence[Problem]:
    theirs, what, at = source.network, "the start does not fit", f"--{key.removesuffix('start')}network"
    if (theirs.kind, theirs.filters, theirs.layer_norm) != (network.kind, network.filters, network.layer_norm):
        them, it = (f"{one.label}{' with layer_norm' if one.layer_norm else ''}" for one in (theirs, network))
        why, fix = f"it is a {them}, the student a {it}", f"Set {at} as in the run that it comes from"
        return [Problem(what, key, source.origin, why, fix)]
    if theirs.units == network.units and (network.units or network.filters or network.is_foreign):
        return []
    why = f"its hidden layers are {list(theirs.units)}, the student's {list(network.units)}"
    widths = " ".join(map(str, theirs.units))
    fix = f"Set {at}.hidden {widths}" if widths else "Choose one with hidden layers"
    return [Problem(what, key, source.origin, why, fix)]


def _check_normal(config: RunConfig, teachers: Sequence[Source], starts: Mapping[str, Source]) -> Iterator[Problem]:
    """A policy must see observations as it learned to: normalised, and by which numbers, or as they are."""
    what, here = "observations seen otherwise", config.env.normalise
    for source in (*teachers, *starts.values()):
        if (source.normal is not None) != here:
            why = f"{source.origin} learned on observations {'as they are' if here else 'that were normalised'}"
            fix = f"Set --env.normalise {'false' if here else 'true'}"
            yield Problem(what, "env.normalise", str(here).lower(), why, fix)
    if config.teacher.is_ensemble and here and any(not _same(one.normal, teachers[0].normal) for one in teachers):
        why, fix = "each teacher knows another mean and deviation of them", "Use one teacher"
        yield Problem(what, "teacher.source", len(teachers), why, fix)


def _same(one: NDArray | None, other: NDArray | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)


def _best(config: RunConfig, spec: EnvSpec, teachers: Sequence[Source]) -> Source:
    """The one whose greedy episodes score best, on seeds that are used for nothing else."""
    seeds = Parts(config, spec).seed("teachers").generate_state(config.evaluation.episodes)
    envs = [make(config.env, evaluation=True) for _ in seeds]
    try:
        means = []
        for source in teachers:
            network = networks.build(source.network, spec, head=source.head)
            networks.transfer(network, source.parameters)
            policies = Policies({"teacher": network}, source.normal)
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
    return replace(config, teacher=replace(config.teacher, network=source.network, **asdict(source.head)))


def keep_teachers(folder: RunFolder, given: Given) -> None:
    """Copy the teachers into the run's folder, so that it needs nothing from elsewhere later."""
    if given.teachers:
        save_sources(folder.teachers, given.teachers)


def parts_of(folder: RunFolder, config: RunConfig, spec: EnvSpec, given: Given | None = None) -> Parts:
    """The parts of a run whose folder was made before; `given` holds what is added to it now."""
    teachers = load_sources(folder.teachers)
    if problems := _check_teachers(teachers, config, spec, str(folder.teachers)):
        raise CheckpointError(*problems)
    return Parts(config, spec, teachers, given.starts if given else {})


def lines(given: Given, config: RunConfig) -> list[str]:
    """What was read, as a person is told of it."""
    frozen = "frozen" if config.teacher.frozen else "learns on"
    told = [f"teacher     {one.origin}: {one.network.label}, {frozen}" for one in given.teachers]
    for name, source in given.starts.items():
        told.append(f"start       {name} begins with {source.origin}")
    return told
