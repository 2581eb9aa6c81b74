"""What a run file's faults are called: the words for types, choices and values, and the one line for each fault.

The faults are found in `run_file.py`, and those of the flags in `flags.py`; what a fault is, is in `errors.py`.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.student_config import LossConfig

LARGEST = 2**63  # TOML's whole numbers have 64 bits


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
        items = {int: "whole numbers", float: "numbers", str: "strings"}
        return f"a list of {items.get(get_args(hint)[0], 'tables')}"
    words = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    return words.get(hint, "a table")


def unknown(key: str, name: str, value: object, at: str, names: Iterable[str]) -> Problem:
    """The problem of a key or table `name` that is none of `names`, which are those of the table `at`."""
    close = nearest(name, names)
    table = one_line(at) if at.endswith("]") else f"[{one_line(at)}]"  # an element of a list has no header of its own
    where = f"{table} has" if at else "the run file has"
    fix = f"Did you mean {close}?" if close else f"It knows {', '.join(names)}"
    kind = "table" if isinstance(value, Mapping) else "key"
    return Problem(f"unknown {kind}", one_line(key), shown(value), f"{where} no {kind} of this name", fix)


def wrong_type(key: str, name: str, value: object, hint: Any, default: object) -> Problem:
    """The problem of a value that is not of the type `hint`."""
    what = "wrong type"
    good = shown(example(hint, default))
    fix = f"Write for example {name} = {good}"
    if isinstance(value, Mapping):
        fix = f"Write {name} = {good}, not a table"
    if is_dataclass(hint) or get_origin(hint) is dict:
        fix = f"Write its keys under [{one_line(key)}]"
    choices = [c for arm in (hint, *get_args(hint)) if get_origin(arm) is Literal for c in get_args(arm)]
    if choices and type(value) is type(choices[0]):
        what = "unknown choice"
        close = nearest(value, choices) if isinstance(value, str) else None
        fix = f"Did you mean {shown(close)}?" if close else fix
    large = " of at most 64 bits" if hint is int and type(value) is int else ""
    return Problem(what, one_line(key), shown(value), f"it must be {wanted(hint)}{large}", fix)


def example(hint: Any, default: object) -> object:
    """A good value for a key of the type `hint`: its default, where that is no empty list."""
    if default == () and hint == tuple[LossConfig, ...]:
        return LossConfig("kl"), LossConfig("hint", weight=0.1)
    return (0.7, 0.3) if default == () and hint == tuple[float, ...] else default


def unreadable(path: Path, why: str, fix: str) -> ConfigurationError:
    """The error of a run file that is no TOML, or cannot be opened."""
    return ConfigurationError.of([Problem("cannot read the run file", "file", one_line(str(path)), why, fix)])


def shown(value: object) -> str:
    """`value` as it would stand in a run file, on one line of at most 80 characters."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, LossConfig):
        text = inline(value)
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(shown(item) for item in value)}]"
    else:
        text = one_line(json.dumps(value, ensure_ascii=False)) if isinstance(value, str) else _bare(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def inline(loss: LossConfig) -> str:
    """`loss` as it would stand in a run file's list: its name, and the keys that are not at their defaults."""
    given = [f.name for f in fields(loss) if f.name == "name" or getattr(loss, f.name) != f.default]
    return f"{{ {', '.join(f'{name} = {shown(getattr(loss, name))}' for name in given)} }}"


def _bare(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    # Python refuses to spell out a whole number of thousands of digits in tens.
    return hex(value) if isinstance(value, int) and not -LARGEST <= int(value) < LARGEST else one_line(str(value))


def one_line(text: str) -> str:
    """`text` with what a terminal would act upon spelt out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
