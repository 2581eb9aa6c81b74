"""Run files: TOML tables into a `RunConfig` and back, and what differs between two of them.

The keys, their defaults and their bounds are in `config.py`, what a fault is called in `run_file_faults.py`; flags are in
`flags.py`.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from datetime import date, datetime, time
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tomli_w

from distributed_kd.config import RunConfig
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.run_file_faults import LARGEST, inline, nearest, one_line, shown, unknown, unreadable, wrong_type
from distributed_kd.student_config import LossConfig, StudentConfig

SCALARS = (bool, int, float, str, date, datetime, time)


class _Misfit(Exception):
    """A value is not of the type that its key holds."""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigurationError where it cannot be read, with the line that is broken."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise unreadable(path, why[0].lower() + why[1:], "Give the path of a TOML file") from None
    except UnicodeDecodeError:
        raise unreadable(path, "it is not UTF-8 text", "Give the path of a TOML file") from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise unreadable(path, "its lists or tables are nested too deeply", "Flatten it") from None
    except ValueError as error:  # TOMLDecodeError, and a number with more digits than Python reads
        why = str(error).replace("at end of document", f"at line {len(text.splitlines())}, the end")
        raise unreadable(path, f"broken TOML, {why}", "Correct it there") from None


def decode(tables: Mapping[str, object]) -> RunConfig:
    """The run that `tables` describe; keys left out take their defaults.

    Raises ConfigurationError with everything wrong at once: unknown keys, wrong types, then what `problems()` finds.
    """
    return checked(*read(tables))


def read(tables: Mapping[str, object]) -> tuple[RunConfig, list[Problem]]:
    """The run as far as `tables` can be understood, defaults for the rest, and what cannot be understood."""
    problems: list[Problem] = []
    return _read_table(RunConfig(), tables, "", problems), problems


def checked(config: RunConfig, misread: Iterable[Problem] = ()) -> RunConfig:
    """`config`, unless something is wrong: then ConfigurationError with `misread` and with what `problems()` finds.

    A table with a misread key is not checked further: it holds a default where the user meant something else.
    """
    misread = list(misread)
    tables = [f.name for f in fields(RunConfig)]
    # What a list of tables is checked for is a matter of the table that it stands in, too.
    spoilt = {p.key.partition("[")[0].rpartition(".")[0] or nearest(p.key, tables) or p.key for p in misread}
    found = [p for p in config.problems() if not any(p.key == s or p.key.startswith(f"{s}.") for s in spoilt)]
    if misread or found:
        raise ConfigurationError.of([*misread, *found])
    return config


def read_table(default: Any, table: Mapping[str, object]) -> tuple[Any, list[Problem]]:
    """One dataclass of the run file's, with the keys of `table` in place of the default's, and what is wrong with them."""
    problems: list[Problem] = []
    return _read_table(default, table, "", problems), problems


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `over` laid over it, table by table; neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below if isinstance(below, Mapping) else {}, value) if isinstance(value, Mapping) else value
    return merged


def encode(config: RunConfig) -> str:
    """TOML with every key written out, such that `decode` of it gives `config` again.

    Raises ConfigurationError where a value, as may stand in `env.kwargs`, is none that TOML can hold.
    """
    tables = _plain(config)
    problems = list(_beyond_toml(tables, ""))
    if problems:
        raise ConfigurationError.of(problems)
    return tomli_w.dumps(tables)


def changed(old: RunConfig, new: RunConfig) -> dict[str, tuple[object, object]]:
    """Every key whose value differs, as `students.tiny.loss: (old, new)`; None stands for a key that is not there.

    A list of losses is one key, its values told as TOML with the defaults left out.
    """
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    keys = dict.fromkeys([*before, *after])
    return {k: (_told(before.get(k)), _told(after.get(k))) for k in keys if before.get(k) != after.get(k)}


def _read_table(default: Any, table: Mapping[str, object], at: str, problems: list[Problem]) -> Any:
    """`default` with the keys of `table` in place of its own; what does not fit is left out and added to `problems`."""
    hints = get_type_hints(type(default))
    taken: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{at}.{name}" if at else name
        if name not in hints:
            problems.append(unknown(key, name, value, at, hints))
            continue
        try:
            taken[name] = _read_value(hints[name], value, getattr(default, name), key, problems)
        except _Misfit:
            problems.append(wrong_type(key, name, value, hints[name], getattr(default, name)))
    return replace(default, **taken)


def _read_value(hint: Any, value: object, default: Any, key: str, problems: list[Problem]) -> Any:
    """`value` as the type `hint`. Raises _Misfit where it is none."""
    if is_dataclass(hint):
        # Where a number may stand in the table's place, the default may be one.
        return _read_table(default if isinstance(default, hint) else hint(), _as_table(value), key, problems)
    if get_origin(hint) is dict:
        item = get_args(hint)[1]
        return _read_students(_as_table(value), key, problems) if item is StudentConfig else dict(_as_table(value))
    if get_origin(hint) is tuple:
        return _read_list(get_args(hint)[0], value, key, problems)
    if get_origin(hint) in (Union, UnionType):
        for arm in get_args(hint):
            try:
                return _read_value(arm, value, default, key, problems)
            except _Misfit:
                continue
        raise _Misfit
    return _read_scalar(hint, value)


def _read_list(hint: Any, value: object, key: str, problems: list[Problem]) -> tuple[Any, ...]:
    """`value` as a list whose items have the type `hint`. Raises _Misfit where it is none."""
    if not isinstance(value, list | tuple):
        raise _Misfit
    if is_dataclass(hint):
        tables = [_as_table(item) for item in value]
        return tuple(_read_table(hint(), table, f"{key}[{place}]", problems) for place, table in enumerate(tables))
    return tuple(_read_scalar(hint, item) for item in value)


def _read_students(table: Mapping[str, object], key: str, problems: list[Problem]) -> dict[str, StudentConfig]:
    students = {}
    for name, student in table.items():
        if isinstance(student, Mapping):
            students[name] = _read_table(StudentConfig(), student, f"{key}.{name}", problems)
        else:
            problems.append(wrong_type(f"{key}.{name}", name, student, StudentConfig, None))
    return students


def _as_table(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise _Misfit
    return value


def _read_scalar(hint: Any, value: object) -> Any:
    if get_origin(hint) is Literal:
        # `True == 1` and `False == 0`, so the types are compared too.
        if any(type(value) is type(choice) and value == choice for choice in get_args(hint)):
            return value
        raise _Misfit
    if hint is float and type(value) is int and abs(value) < LARGEST:
        return float(value)
    if hint is int and type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not hint or (hint is int and not -LARGEST <= value < LARGEST):
        raise _Misfit
    return value


def _plain(value: Any) -> Any:
    """`value` with tables for its dataclasses and lists for their tuples; what is in `env.kwargs` is left as it is."""
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(item) if is_dataclass(item) else item for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _beyond_toml(value: object, key: str) -> Iterable[Problem]:
    """What in `value` would not come back from TOML as it is."""
    if type(value) is dict:
        for name, item in value.items():
            if type(name) is str and _fits_toml(name):
                yield from _beyond_toml(item, f"{key}.{one_line(name)}".lstrip("."))
            else:
                yield _no_toml(name, key)
    elif type(value) is list:
        for item in value:
            yield from _beyond_toml(item, key)
    elif not _fits_toml(value):
        yield _no_toml(value, key)


def _fits_toml(value: object) -> bool:
    if type(value) is str:
        return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)
    if type(value) is int:
        return -LARGEST <= value < LARGEST
    # A time of day has no time zone in TOML; subclasses, such as NumPy's floats, would not come back as what they are.
    return type(value) in SCALARS and not (type(value) is time and value.tzinfo)


def _no_toml(value: object, key: str) -> Problem:
    fix = "Use a list" if isinstance(value, tuple) else "Use text, true or false, numbers, lists and tables only"
    return Problem("not for a run file", key, shown(value), f"TOML cannot hold this {type(value).__name__}", fix)


def _leaves(value: Any, key: str) -> Iterable[tuple[str, object]]:
    for f in fields(value):
        item, at = getattr(value, f.name), f"{key}.{f.name}" if key else f.name
        if is_dataclass(item):
            yield from _leaves(item, at)
        elif isinstance(item, dict):
            for name, entry in item.items():
                yield from _leaves(entry, f"{at}.{name}") if is_dataclass(entry) else ((f"{at}.{name}", entry),)
        else:
            yield at, item


def _told(value: object) -> object:
    """A list of losses as it would stand in a run file; any other value as it is."""
    if value and isinstance(value, tuple) and isinstance(value[0], LossConfig):
        return f"[{', '.join(inline(loss) for loss in value)}]"
    return value
