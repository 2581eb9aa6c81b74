"""Runs in their groups: those of one environment and label differ in nothing but the seed.

What is told of a group is in `tables.py` and `comparison.py`; runs that are not finished, or damaged, in `reported.py`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from distributed_kd import run_file
from distributed_kd.config import RunConfig
from distributed_kd.data_config import BehaviourConfig
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.maths.statistics import interquartile_mean
from distributed_kd.policy_config import LEARN
from distributed_kd.reports.curves import Curve, read_curves, steps_to_keep
from distributed_kd.reports.shown import measured, percent
from distributed_kd.storage.run_folder import RunFolder


@dataclass(frozen=True)
class Run:
    """A run as its folder tells of it."""

    folder: RunFolder
    config: RunConfig
    summary: dict
    steps: dict[str, int | None]
    """environment steps to 95 % of the teacher's score, by policy that has a curve; None = never"""

    @property
    def env(self) -> str:
        return self.summary["env"]

    @property
    def label(self) -> str:
        return label_of(self.folder.path.name)

    @property
    def commands(self) -> list[str]:
        """What was typed to get it, one line per start."""
        if self.folder.commands_file.is_file():
            return self.folder.commands_file.read_text(errors="replace").splitlines()
        given = self.label if "__" in self.folder.path.name else self.folder.config_file
        return [f"python launch.py train {given} --seed {self.summary['seed']}"]

    @property
    def teacher_source(self) -> str:
        """Where the teacher comes from, its run by its label."""
        teacher = self.config.teacher
        if not teacher.sources:
            return str(teacher.source)
        named = ", ".join(_source_label(source) for source in teacher.sources)
        return f"{named} ({'frozen' if teacher.frozen else 'learns on'})"

    @property
    def states(self) -> str:
        """Where the states come from that the students learn on."""
        if self.config.data.file:
            return Path(self.config.data.file).name
        if not any(student.drives for student in self.config.students.values()):
            return "teacher 100 %"
        behaviour = self.config.rollouts.behaviour
        mixed = f", beta {behaviour.beta:g} to {behaviour.beta_end:g}" if behaviour.beta or behaviour.beta_end else ""
        return f"teacher {percent(behaviour.teacher)}, students {percent(behaviour.students)}{mixed}"

    @property
    def is_usual(self) -> bool:
        """The teacher learns in the run, and both drive as the run file's defaults say."""
        config = self.config
        return config.teacher.source == LEARN and not config.data.file and config.rollouts.behaviour == BehaviourConfig()

    @property
    def sizes(self) -> set[int]:
        """The numbers of parameters among the students."""
        return {student["parameters"] for student in self.summary["students"].values()}


@dataclass(frozen=True)
class Finished(Run):
    """A run that came to its end."""

    @classmethod
    def read(cls, folder: RunFolder) -> "Finished | None":
        """The run in a folder; None where it is not finished. Raises RunError where a file of it cannot be read."""
        summary = folder.read_summary()
        if not summary or summary["status"] != "finished":
            return None
        config = config_of(folder)
        return cls(folder, config, summary, steps_of(config, summary, read_curves(folder.metrics_file)))


Groups = dict[tuple[str, str], list[Finished]]
"""Runs by environment and label"""
Told = TypeVar("Told", bound=Run)


def config_of(folder: RunFolder) -> RunConfig:
    """Its run file, not checked again: it ran, and an older run's keys need not be those of today. Raises RunError."""
    return run_file.read(run_file.read_toml(folder.config_file))[0]


def steps_of(config: RunConfig, summary: Mapping, curves: Mapping[str, Curve]) -> dict[str, int | None]:
    """As `Run.steps`; a teacher that does not learn was there from the start, and has none."""
    steps = steps_to_keep(summary, curves)
    return steps if config.teacher.learns else {name: one for name, one in steps.items() if name != "teacher"}


def label_of(name: str) -> str:
    """The second part of `<env>__<label>__s<seed>__<UTC>`; the whole name of a folder that is called otherwise."""
    parts = name.split("__")
    return parts[1] if len(parts) > 2 else name


def _source_label(source: str) -> str:
    run, colon, student = Path(source).name.partition(":")
    return f"{label_of(run)}{colon}{student}"


def finished(folders: Iterable[Path]) -> Groups:
    """Every finished run at or below the folders, by environment and label, in a group by seed.

    Raises ConfigurationError where there is none, RunError where a file of a run cannot be read.
    """
    folders = list(folders)
    runs = [run for folder in folders_of_runs(folders) if (run := Finished.read(RunFolder.open(folder)))]
    if not runs:
        where = ", ".join(map(str, folders))
        raise ConfigurationError(Problem("no finished run", "folders", where, "nothing to tell of", "Train one first"))
    return grouped(runs)


def folders_of_runs(folders: Iterable[Path]) -> list[Path]:
    """Every folder at or below these that holds a run's config.toml, each once."""
    return sorted({file.parent for folder in folders for file in folder.glob("**/config.toml")})


def grouped(runs: Iterable[Told]) -> dict[tuple[str, str], list[Told]]:
    """Runs by environment and label, in a group by seed."""
    groups: dict[tuple[str, str], list[Told]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.env, run.label, run.summary["seed"])):
        groups[run.env, run.label].append(run)
    return dict(groups)


def student_names(runs: Sequence[Run]) -> list[str]:
    """Every student of a group: largest first, of one size the best first."""
    scores: dict[str, list[float]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for run in runs:
        for name, student in run.summary["students"].items():
            scores[name].append(measured(student["normalised_score"]))
            sizes[name] = student["parameters"]
    best = {name: interquartile_mean(values) for name, values in scores.items()}
    return sorted(sizes, key=lambda name: (-sizes[name], best[name] != best[name], -best[name]))
