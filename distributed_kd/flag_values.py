"""What the words behind one flag of the run file mean: its value, or what is wrong with them; tyro reads single values.

Which flag names which key, and the help page, are in `flags.py`; how the value fits the run file is in `run_file.py`.
"""

import contextlib
import io
import re
import shlex
import tomllib
from dataclasses import dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tyro

from distributed_kd.errors import Problem
from distributed_kd.run_file_faults import example, nearest, one_line, shown, wanted

TABLE = "value = "


@dataclass(frozen=True)
class Leaf:
    """One key of the run file that is no table, with the dataclass that owns it."""

    owner: Any
    name: str
    hint: Any

    @property
    def default(self) -> Any:
        return getattr(self.owner, self.name)

    @property
    def items(self) -> Any:
        """The type of the items where several values, or one list of them, may be given; None where one value is."""
        return next((get_args(arm)[0] for arm in (self.hint, *get_args(self.hint)) if get_origin(arm) is tuple), None)

    @property
    def tables(self) -> list[Any]:
        """The tables that may stand in the place of a single value."""
        return [arm for arm in get_args(self.hint) if is_dataclass(arm)] if get_origin(self.hint) is UnionType else []


def leaves(owner: Any, at: str = "") -> dict[str, Leaf]:
    """Every key under the dataclass `owner` that is no table, by its dotted name.

    Students are left out, and so are arguments of environments.
    """
    hints, found = get_type_hints(type(owner)), {}
    for field in fields(owner):
        value, key = getattr(owner, field.name), f"{at}{field.name}"
        if is_dataclass(value):
            found |= leaves(value, f"{key}.")
        elif not isinstance(value, dict):
            found[key] = Leaf(owner, field.name, hints[field.name])
            for table in found[key].tables:
                found |= leaves(table(), f"{key}.")
    return found


def read_words(leaf: Leaf, words: list[str], key: str) -> tuple[Any, list[Problem]]:
    """The value that one or more `words` give the flag `key`, the default where they give none; and what is wrong with them.

    A list is several words, or one list in TOML, such as [0.7, 0.3] or []; names alone are losses with default options.
    """
    several_names = leaf.items is str
    if several_names and get_origin(leaf.hint) is not tuple:
        return (words[0] if len(words) == 1 else words), []
    if leaf.items and words[0].lstrip().startswith(("[", "{")):
        return _read_list(leaf, " ".join(words), key)
    if several_names:
        return words, []
    if is_dataclass(leaf.items):
        return [{"name": word} for word in words], []
    if leaf.tables:
        return literal(words[0]), _strays(words, key)
    return _read_with_tyro(leaf, words, key)


def _read_list(leaf: Leaf, text: str, key: str) -> tuple[Any, list[Problem]]:
    try:
        return toml_value(text), []
    except ValueError as error:
        return leaf.default, [_bad_value(leaf, text, key, f"broken TOML, {error}")]


def _read_with_tyro(leaf: Leaf, words: list[str], key: str) -> tuple[Any, list[Problem]]:
    strays = [] if leaf.items else _strays(words, key)
    words = words if leaf.items else words[:1]
    spelt = [_spelt(word, leaf.items or leaf.hint) for word in words]
    # With an equals sign a value that starts with a dash is no flag to tyro.
    args = [f"--{leaf.name}", *spelt] if leaf.items else [f"--{leaf.name}={spelt[0]}"]
    settings = (tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff)
    try:
        # tyro draws boxes and leaves the program; the user gets one line, and all errors at once.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            read = tyro.cli(type(leaf.owner), default=leaf.owner, args=args, config=settings, use_underscores=True)
    except SystemExit:
        return leaf.default, [_bad_value(leaf, " ".join(words), key, f"it must be {wanted(leaf.hint)}"), *strays]
    return getattr(read, leaf.name), strays


def _strays(words: list[str], key: str) -> list[Problem]:
    return [stray(word, f"--{key} takes one value") for word in words[1:]]


def _bad_value(leaf: Leaf, said: str, key: str, why: str) -> Problem:
    close = nearest(said, [c for c in choices(leaf.hint) if isinstance(c, str)])
    good = example(leaf.hint, leaf.default)
    good = shlex.quote(shown(good)) if is_dataclass(leaf.items) else as_words(good)
    fix = f"Did you mean {close}?" if close else f"Give for example --{key} {good}"
    return Problem("bad value", key, one_line(said)[:80], why, fix)


def _spelt(word: str, hint: Any) -> str:
    """`word` as tyro wants it: `True` for true, and 100000 for 1e5 where a whole number is asked for."""
    if hint is bool or any(isinstance(choice, bool) for choice in choices(hint)):
        return word.capitalize()
    if hint is int:
        with contextlib.suppress(ValueError):
            number = float(word)
            return str(int(number)) if number.is_integer() and not word.lstrip("+-").replace("_", "").isdigit() else word
    return word


def choices(hint: Any) -> list[Any]:
    """The choices of a Literal, also of one in a union."""
    return [c for arm in (hint, *get_args(hint)) if get_origin(arm) is Literal for c in get_args(arm)]


def literal(word: str) -> Any:
    """`word` read as a TOML value; the word itself where it is none."""
    try:
        return toml_value(word)
    except ValueError:
        return word


def toml_value(text: str) -> Any:
    """The one value that `text` is in TOML. Raises ValueError where it is none, saying what was not understood."""
    try:
        tables = tomllib.loads(f"{TABLE}{text}")
    except RecursionError:
        raise ValueError("its lists or tables are nested too deeply") from None
    except ValueError as error:
        # The columns are those of what the user gave.
        why = re.sub(r"(?<=line 1, column )\d+", lambda column: str(int(column[0]) - len(TABLE)), str(error))
        raise ValueError(why) from None
    if len(tables) != 1:  # a text of two lines could hold a second key
        raise ValueError("it is more than one value")
    return tables["value"]


def as_words(value: Any) -> str:
    """`value` as it is written behind a flag."""
    if isinstance(value, tuple):
        return " ".join(as_words(item) for item in value)
    text = str(value)
    return text.lower() if isinstance(value, bool) else text.removesuffix(".0") if isinstance(value, float) else text


def stray(word: str, why: str) -> Problem:
    """The problem of a word that no flag takes."""
    return Problem("stray argument", "argument", shown(word), why, "Remove it, or put its flag before it")
