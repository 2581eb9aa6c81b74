"""The run files that a comparison is of: each file at each point of the grid, under a name of its own."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed_kd.command_words import label, tables_of
from distributed_kd.comparing.asked import Asked
from distributed_kd.config import RunConfig
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.flags import parse_run
from distributed_kd.run_file_faults import nearest, one_line

PROG = "python launch.py compare"
LONGEST = 64
"""Letters of a part of a run folder's name"""


@dataclass(frozen=True)
class Variant:
    """One run file, which is run with every seed."""

    label: str
    """what its runs are called and grouped by"""
    source: str
    point: Mapping[str, str]
    """the value of each key of the grid"""
    config: RunConfig


def variants_of(asked: Asked) -> list[Variant]:
    """Every file at every point. Raises ConfigurationError with everything wrong in files, flags and grid."""
    lines: dict[str, None] = {}
    found: list[tuple[str, str, dict[str, str], RunConfig]] = []
    for source in asked.sources:
        try:
            tables, is_file = tables_of(source)
            _check_keys(asked, tables)
        except ConfigurationError as error:
            lines |= dict.fromkeys(error.lines)
            continue
        base = label(Path(source)) if is_file else source
        for point in asked.points():
            try:
                config = parse_run(_flags(asked, point), tables, PROG)
            except ConfigurationError as error:
                lines |= dict.fromkeys(error.lines)
            else:
                found.append((source, base, point, config))
    if lines:
        raise ConfigurationError(*lines)
    short = short_keys(list(asked.grid))
    labels = names_for([f"{base}{''.join(f'-{short[k]}-{v}' for k, v in point.items())}" for _, base, point, _ in found])
    return [
        Variant(name, source, point, config) for name, (source, _, point, config) in zip(labels, found, strict=True)
    ]  # fmt: skip


def _flags(asked: Asked, point: Mapping[str, str]) -> list[str]:
    return [*asked.flags, *(f"--{key}={value}" for key, value in point.items())]


def _check_keys(asked: Asked, tables: dict) -> None:
    """Raise ConfigurationError for flags, and keys of the grid, that cannot be; each key is told of once.

    A flag for a student that there is not would add one. A grid is over what is there: its key is taken for a mistake.
    """
    students = parse_run(list(asked.flags), tables, PROG).students
    lines: list[object] = []
    for key, values in asked.grid.items():
        name = key.removeprefix("students.")
        known = [one for one in students if f"{name}.".replace("-", "_").startswith(f"{one}.".replace("-", "_"))]
        if key.startswith("students.") and not known:
            name = name.partition(".")[0]
            close = nearest(name, students)
            fix = f"Did you mean {close}?" if close else f"The students are {', '.join(students) or 'none yet'}"
            lines.append(Problem("unknown student", "grid", one_line(key), "there is none of this name", fix))
            continue
        try:
            parse_run(_flags(asked, {key: values[0]}), tables, PROG)
        except ConfigurationError as error:
            lines += error.lines
    if lines:
        raise ConfigurationError(*lines)


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """As many of each key's last words as tell it from the others: `students.tiny.temperature` alone is `temperature`."""
    words = {key: key.split(".") for key in keys}

    def ending(key: str, count: int) -> str:
        return ".".join(words[key][-count:])

    def count(key: str) -> int:
        others = [other for other in keys if other != key]
        enough = (n for n in range(1, len(words[key])) if all(ending(o, n) != ending(key, n) for o in others))
        return next(enough, len(words[key]))

    return {key: ending(key, count(key)) for key in keys}


def names_for(texts: Iterable[str]) -> list[str]:
    """Texts as parts of folder names: short, plain, without the `__` that parts them, each another one."""
    taken: dict[str, None] = {}
    for text in texts:
        plain = re.sub(r"_{2,}", "_", re.sub(r"[^A-Za-z0-9._]+", "-", text)).strip("-_.") or "run"
        attempt = 1
        while True:
            end = f"-{attempt}" if attempt > 1 else ""
            name = f"{plain[: LONGEST - len(end)].rstrip('-_.')}{end}"
            if name not in taken:
                break
            attempt += 1
        taken[name] = None
    return list(taken)
