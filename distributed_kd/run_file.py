"""Run files: TOML tables into a `RunConfig` and back, and what differs between two of them.

The keys, their defaults and their bounds are in `config.py`; flags are in `flags.py`.
"""

import difflib
import json
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
from distributed_kd.student_config import StudentConfig

LARGEST = 2**63  # TOML's whole numbers have 64 bits
SCALARS = (bool, int, float, str, date, datetime, time)


class _Misfit(Exception):
    """A value is not of the type that its key holds."""


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigurationError where it cannot be read, with the line that is broken."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise _unreadable(path, why[0].lower() + why[1:], "Give the path of a TOML file") from None
    except UnicodeDecodeError:
        raise _unreadable(path, "it is not UTF-8 text", "Give the path of a TOML file") from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise _unreadable(path, "its lists or tables are nested too deeply", "Flatten it") from None
    except ValueError as error:  # TOMLDecodeError, and a number with more digits than Python reads
        why = str(error).replace("at end of document", f"at line {len(text.splitlines())}, the end")
        raise _unreadable(path, f"broken TOML, {why}", "Correct it there") from None


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
    spoilt = {p.key.rpartition(".")[0] or nearest(p.key, tables) or p.key for p in misread}
    found = [p for p in config.problems() if not any(p.key == s or p.key.startswith(f"{s}.") for s in spoilt)]
    if misread or found:
        raise ConfigurationError.of([*misread, *found])
    return config


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
    """Every key whose value differs, as `students.tiny.loss: (old, new)`; None stands for a key that is not there."""
    before, after = dict(_leaves(old, "")), dict(_leaves(new, ""))
    keys = dict.fromkeys([*before, *after])
    return {k: (before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)}


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that was probably meant by `name`."""
    names = list(names)
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1)
    return next((n for n in names if n.lower() == close[0]), None) if close else None


def wanted(hint: Any) -> str:
    """What a value of the type `hint` is, in words."""
    if get_origin(hint) is Literal:
        choices = [_bare(choice) for choice in get_args(hint)]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(wanted(arm) for arm in get_args(hint))
    if get_origin(hint) is tuple:
        return "a list of whole numbers"
    words = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    return words.get(hint, "a table")


def _read_table(default: Any, table: Mapping[str, object], at: str, problems: list[Problem]) -> Any:
    """`default` with the keys of `table` in place of its own; what does not fit is left out and added to `problems`."""
    hints = get_type_hints(type(default))
    taken: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{at}.{name}" if at else name
        if name not in hints:
            problems.append(_unknown(key, name, value, at, hints))
            continue
        try:
            taken[name] = _read_value(hints[name], value, getattr(default, name), key, problems)
        except _Misfit:
            problems.append(_wrong_type(key, name, value, hints[name], getattr(default, name)))
    return replace(default, **taken)


def _read_value(hint: Any, value: object, default: Any, key: str, problems: list[Problem]) -> Any:
    """`value` as the type `hint`. Raises _Misfit where it is none."""
    if is_dataclass(hint):
        return _read_table(default, _as_table(value), key, problems)
    if get_origin(hint) is dict:
        item = get_args(hint)[1]
        return _read_students(_as_table(value), key, problems) if item is StudentConfig else dict(_as_table(value))
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise _Misfit
        return tuple(_read_scalar(get_args(hint)[0], item) for item in value)
    return _read_scalar(hint, value)


def _read_students(table: Mapping[str, object], key: str, problems: list[Problem]) -> dict[str, StudentConfig]:
    students = {}
    for name, student in table.items():
        if isinstance(student, Mapping):
            students[name] = _read_table(StudentConfig(), student, f"{key}.{name}", problems)
        else:
            problems.append(_wrong_type(f"{key}.{name}", name, student, StudentConfig, None))
    return students


def _as_table(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise _Misfit
    return value


def _read_scalar(hint: Any, value: object) -> Any:
    if get_origin(hint) in (Union, UnionType):
        for arm in get_args(hint):
            try:
                return _read_scalar(arm, value)
            except _Misfit:
                continue
        raise _Misfit
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


def _unknown(key: str, name: str, value: object, at: str, names: Iterable[str]) -> Problem:
    close = nearest(name, names)
    where = f"[{one_line(at)}] has" if at else "the run file has"
    fix = f"Did you mean {close}?" if close else f"It knows {', '.join(names)}"
    kind = "table" if isinstance(value, Mapping) else "key"
    return Problem(f"unknown {kind}", one_line(key), shown(value), f"{where} no {kind} of this name", fix)


def _wrong_type(key: str, name: str, value: object, hint: Any, default: object) -> Problem:
    """The problem of a value that is not of the type `hint`."""
    what = "wrong type"
    fix = f"Write for example {name} = {shown(default)}"
    if isinstance(value, Mapping):
        fix = f"Write {name} = {shown(default)}, not a table"
    if is_dataclass(hint) or get_origin(hint) is dict:
        fix = f"Write its keys under [{one_line(key)}]"
    choices = [c for arm in (hint, *get_args(hint)) if get_origin(arm) is Literal for c in get_args(arm)]
    if choices and type(value) is type(choices[0]):
        what = "unknown choice"
        close = nearest(value, choices) if isinstance(value, str) else None
        fix = f"Did you mean {shown(close)}?" if close else fix
    large = " of at most 64 bits" if hint is int and type(value) is int else ""
    return Problem(what, one_line(key), shown(value), f"it must be {wanted(hint)}{large}", fix)


def _unreadable(path: Path, why: str, fix: str) -> ConfigurationError:
    return ConfigurationError.of([Problem("cannot read the run file", "file", one_line(str(path)), why, fix)])


def _plain(value: Any) -> Any:
    """`value` with tables for its dataclasses and lists for their tuples; what is in `env.kwargs` is left as it is."""
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(item) if is_dataclass(item) else item for name, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


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


def shown(value: object) -> str:
    """`value` as it would stand in a run file, on one line of at most 80 characters."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        text = f"[{', '.join(shown(item) for item in value)}]"
    else:
        text = one_line(json.dumps(value, ensure_ascii=False)) if isinstance(value, str) else _bare(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _bare(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    # Python refuses to spell out a whole number of thousands of digits in tens.
    return hex(value) if isinstance(value, int) and not _fits_toml(int(value)) else one_line(str(value))


def one_line(text: str) -> str:
    """`text` with what a terminal would act upon spelt out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
