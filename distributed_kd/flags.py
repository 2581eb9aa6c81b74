"""Flags of the run file, `--replay.capacity 50000`, and the help text that lists them.

What the words behind a flag mean is in `flag_values.py`; what a run file may hold is in `run_file.py`. The flags of the
commands themselves, such as `--out`, are in `cli.py`.
"""

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin

from distributed_kd.config import RunConfig
from distributed_kd.errors import Problem
from distributed_kd.flag_values import Leaf, as_words, choices, leaves, literal, read_words, stray
from distributed_kd.run_file import checked, merge, read
from distributed_kd.run_file_faults import nearest, one_line, shown
from distributed_kd.student_config import StudentConfig

WIDTH = 100
HELP_COLUMN = 42
NO_BREAK = "\xa0"
KWARGS, STUDENTS = ("env.kwargs.", "env.evaluation_kwargs."), "students."


def parse_run(args: Sequence[str], tables: Mapping[str, Any], prog: str) -> RunConfig:
    """The run that `tables` (of a preset or file) describe with the flags `args` laid over them.

    `--key VALUE ...` or `--key=VALUE`, hyphens and underscores alike. `--students.NEW.KEY VALUE` adds a student,
    `--students.NAME none` drops one, `--env.kwargs.KEY VALUE` and `--env.evaluation_kwargs.KEY VALUE` give a keyword
    argument, read as TOML where it is TOML.
    Raises ConfigurationError with everything wrong at once, in the flags and in the tables.
    """
    flags, problems = _split(args)
    students = tables.get("students")
    names = list(students) if isinstance(students, Mapping) else []
    over: dict[str, Any] = {}
    dropped: list[str] = []
    given: dict[str, str] = {}
    for flag, words in flags:
        path = _path(flag, names)
        key, said = ".".join(path), one_line(" ".join(words))[:80]
        if twin := next((g for g in given if f"{g}.".startswith(f"{key}.") or f"{key}.".startswith(f"{g}.")), None):
            why = f"--{twin} {given[twin]} is given too"
            problems.append(Problem("conflicting flags", key, said, why, "Keep one of the two"))
            continue
        given[key] = said
        leaf, kwarg = _leaf(path), key.startswith(KWARGS) and all(path)
        if path[0] == "students" and path[1:] in [(name,) for name in names] and words == ["none"]:
            dropped.append(path[1])
        elif leaf is None and not kwarg:
            problems.append(_unknown(path, said, names, prog))
        elif not words:
            problems.append(Problem("no value", key, "", "a flag needs a value", f"Give one behind --{flag}"))
        elif leaf is None:
            _set(over, path, literal(words[0]) if len(words) == 1 else [literal(word) for word in words])
        else:
            if path[0] == "students" and path[1] not in names:
                names.append(path[1])
            value, wrong = read_words(leaf, words, key)
            problems += wrong
            _set(over, path, value)
    merged = merge(tables, over)
    if dropped:
        merged["students"] = {name: s for name, s in merged["students"].items() if name not in dropped}
    config, misread = read(merged)
    # A fault in the file is told even where a flag covers it; one that is still there is told once.
    return checked(config, dict.fromkeys([*read(tables)[1], *misread, *problems]))


def help_text(tables: Mapping[str, Any], prog: str, extra: str = "") -> str:
    """The help page: `extra`, then every key of the run file as a flag, its default the one in `tables`."""
    config, _ = read(tables)
    lines = [f"usage: {prog} [--KEY VALUE ...]", "", *([extra.strip("\n"), ""] if extra else [])]
    lines += ["Keys of the run file, each also a flag.", ""]
    lines += [line for title, rows in _groups(config) for line in (title, *rows, "")]
    return "\n".join(lines)


def _split(args: Sequence[str]) -> tuple[list[tuple[str, list[str]]], list[Problem]]:
    """Each flag, its dashes off, with the words behind it; and a problem for each word with no flag before it."""
    flags: list[tuple[str, list[str]]] = []
    problems = []
    for arg in args:
        if arg.startswith("--") and len(arg) > 2:
            name, equals, word = arg[2:].partition("=")
            flags.append((one_line(name), [word] if equals else []))
        elif flags:
            flags[-1][1].append(arg)
        else:
            problems.append(stray(arg, "it belongs to no flag"))
    return flags, problems


def _path(flag: str, students: list[str]) -> tuple[str, ...]:
    """The keys that lead to what `flag` names; `students` are the names known so far."""
    plain = flag.replace("-", "_")
    if not plain.startswith(STUDENTS):
        return tuple(plain.split("."))
    # A name may hold dots, hyphens and underscores of its own, so what is known is looked for first.
    rest = flag[len(STUDENTS) :]
    known = [n for n in students if f"{rest}.".replace("-", "_").startswith(f"{n}.".replace("-", "_"))]
    name = max(known, key=lambda n: (len(n), rest.startswith(n)), default=None)
    if name is None:
        leaf = next((k for k in leaves(StudentConfig()) if rest.replace("-", "_").endswith(f".{k}")), None)
        name = rest[: -len(leaf) - 1] if leaf else rest.partition(".")[0]
    keys = rest[len(name) + 1 :].replace("-", "_")
    return ("students", name, *keys.split(".")) if keys else ("students", name)


def _leaf(path: tuple[str, ...]) -> Leaf | None:
    if path[0] == "students":
        return leaves(StudentConfig()).get(".".join(path[2:]))
    return leaves(RunConfig()).get(".".join(path))


def _set(tables: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        tables = tables.setdefault(key, {})
    tables[path[-1]] = value


def _unknown(path: tuple[str, ...], said: str, names: list[str], prog: str) -> Problem:
    key = ".".join(path)
    known = list(leaves(RunConfig()))
    if path[0] == "students":
        if len(path) == 2 and path[1] not in names:
            close = nearest(path[1], names)
            again = f"Did you mean --students.{close}{' none' if said == 'none' else ''}?"
            fix = again if close else f"The students are {', '.join(names) or 'none yet'}"
            return Problem("unknown student", key, said, "there is none of this name", fix)
        known = [f"students.{name}.{k}" for name in [*path[1:2], *names] for k in leaves(StudentConfig())]
    if f"{key}." in KWARGS:
        known.append(f"{key}.NAME")
    if below := [f"--{k}" for k in known if k.startswith(f"{key}.")]:
        return Problem("not a flag", key, said, "it is a table, only its keys are flags", f"Set {' or '.join(below[:2])}")
    table, _, name = key.rpartition(".")
    siblings = [k.removeprefix(f"{table}.") for k in known if table and k.startswith(f"{table}.")]
    close = nearest(name, siblings) if siblings else nearest(key, known)
    if close:
        fix = f"Did you mean --{table}.{close}?" if siblings else f"Did you mean --{close}?"
    else:
        fix = f"The keys of {table} are {', '.join(siblings)}" if siblings else f"{prog} --help lists them all"
    return Problem("unknown flag", key, said, "the run file has no key of this name", fix)


def _groups(config: RunConfig) -> Iterator[tuple[str, list[str]]]:
    """Each table's title and the lines of its keys."""
    about = _field_docs(RunConfig)
    yield "run", [_row(f"--{k}", leaf) for k, leaf in leaves(config).items() if "." not in k]
    for name, value in ((f.name, getattr(config, f.name)) for f in fields(config)):
        if name == "students":
            rows = [_row(f"--{k}", leaf) for k, leaf in leaves(StudentConfig(), "students.NAME.").items()]
            here = ", ".join(f"{n} ({s.network.label})" for n, s in value.items()) or "none"
            notes = [
                textwrap.fill(t, WIDTH, initial_indent="  ", subsequent_indent="  ") for t in (about[name], f"Here: {here}")
            ]
            yield f"students: {inspect.getdoc(StudentConfig)}", [*notes, *rows]
        elif is_dataclass(value):
            rows = [_row(f"--{k}", leaf) for k, leaf in leaves(value, f"{name}.").items()]
            if name == "env":
                for key in (flag.split(".")[1] for flag in KWARGS):
                    kwargs = ", ".join(f"{k} = {shown(v)}" for k, v in getattr(value, key).items()) or "none"
                    rows.append(_line(f"--env.{key}.KEY VALUE", f"{_field_docs(type(value))[key]} (default: {kwargs})"))
            yield f"{name}: {inspect.getdoc(value)}", rows


def _row(flag: str, leaf: Leaf) -> str:
    about = _field_docs(type(leaf.owner)).get(leaf.name, "")
    meta = _metavar(leaf)
    if meta == "CHOICE":
        about += f"; one of {', '.join(choices(leaf.hint))}"
    return _line(f"{flag} {meta}", f"{about} (default: {one_line(as_words(leaf.default)) or 'none'})")


def _line(head: str, about: str) -> str:
    """`head` and `about` side by side, `about` in a column of its own; `head` alone where it is too long for that."""
    about = re.sub(r"\(default: .*|\{.*?\}", lambda together: together[0].replace(" ", NO_BREAK), about)
    indent = " " * HELP_COLUMN
    page = textwrap.fill(about, WIDTH, initial_indent=indent, subsequent_indent=indent).replace(NO_BREAK, " ")
    head = f"  {head}"
    return head.ljust(HELP_COLUMN) + page[HELP_COLUMN:] if len(head) < HELP_COLUMN else f"{head}\n{page}"


def _metavar(leaf: Leaf) -> str:
    words = {int: "INT", float: "FLOAT", str: "TEXT", bool: "true|false"}
    if leaf.items:
        return f"{words[leaf.items]} ..." if leaf.items in words else "LIST"
    if get_origin(leaf.hint) is Literal:
        text = "|".join(as_words(choice) for choice in get_args(leaf.hint))
        return text if len(text) <= 16 else "CHOICE"
    arms = [words[arm] for arm in get_args(leaf.hint) if arm in words]
    return words.get(leaf.hint) or "|".join([*arms, *map(as_words, choices(leaf.hint))])


def _field_docs(cls: type) -> dict[str, str]:
    """The docstring beneath each field of a dataclass, which Python itself does not keep."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    pairs = ((f, d) for f, d in itertools.pairwise(body) if isinstance(f, ast.AnnAssign))
    return {f.target.id: " ".join(d.value.value.split()) for f, d in pairs if isinstance(d, ast.Expr)}
