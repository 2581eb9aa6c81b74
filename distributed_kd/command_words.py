"""The words behind a command: its own options, those of the run file, and which run file is meant."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from distributed_kd import presets, run_file
from distributed_kd.errors import ConfigurationError, Problem


class Parser(argparse.ArgumentParser):
    """argparse whose errors are the program's own: one line, code 2."""

    def error(self, message: str):
        raise ConfigurationError(f"{message}. See {self.prog} --help")


def split(
    words: list[str], command: str, also: Sequence[str] = (), switches: Sequence[str] = ()
) -> tuple[argparse.Namespace, list[str]]:
    """The options of the command itself, and what is left for the run file.

    Of this command alone are `also`, each with a value, and `switches`, which have none.
    """
    parser = Parser(prog=f"python launch.py {command}", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    switches = ("--allow-env-import", *switches)
    for switch in switches:
        parser.add_argument(switch, action="store_true")
    taking = ("--out", "--address", "--runner", "--data", "--chaos", *also)
    for option in taking:
        parser.add_argument(option, choices=("ray", "inline") if option == "--runner" else None)
    own, flags = [], []
    rest = iter(words)
    for word in rest:
        if word in ("-h", "--help", *switches) or word.startswith(tuple(f"{option}=" for option in taking)):
            own.append(word)
        elif word in taking:
            own += [word, *([following] if (following := next(rest, None)) is not None else [])]
        else:
            flags.append(word)
    options = parser.parse_args(own)
    if options.data == "":
        why, fix = "it names no file", "Give a file as dataset writes it, or leave --data out"
        raise ConfigurationError(Problem("no set of states", "data", "''", why, fix))
    for option in ("out", "address"):
        if getattr(options, option) == "":
            fix = f"Give a value, or leave --{option} out"
            raise ConfigurationError(Problem("no value", option, "''", f"--{option} needs one", fix))
    return options, [*flags, *(["--data.file", options.data] if options.data is not None else [])]


def tables_of(source: str) -> tuple[dict, bool]:
    """The tables of a run file or of a preset, and which of the two it is."""
    is_file = source.endswith(".toml") or "/" in source
    return (run_file.read_toml(Path(source)) if is_file else presets.read(source)), is_file


def label(path: Path) -> str:
    """What a run made from a file is called; a run's own config.toml stands for the folder it lies in."""
    if path.name != "config.toml":
        return path.stem
    parts = path.resolve().parent.name.split("__")
    return parts[1] if len(parts) > 2 else parts[0]


def print_help(prog: str, tables: dict, extra: str) -> int:
    from distributed_kd.flags import help_text

    print(help_text(tables, prog, extra))
    return 0
