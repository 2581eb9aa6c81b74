"""The presets: one TOML run file each, told by name. How a run file is read is in `run_file.py`."""

import tomllib
from importlib import resources
from typing import Any

from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.run_file import nearest


def names() -> list[str]:
    """The presets, by alphabet."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def read(name: str) -> dict[str, Any]:
    """The tables of the preset `name`. Raises ConfigurationError where there is none."""
    return tomllib.loads(_text(name))


def describe(name: str) -> str:
    """What the preset `name` is, in one line. Raises ConfigurationError where there is none."""
    return _text(name).partition("\n")[0].lstrip("# ")


def _text(name: str) -> str:
    if name not in names():
        close = nearest(name, names())
        fix = f"Did you mean {close}?" if close else f"The presets are {', '.join(names())}"
        raise ConfigurationError.of(
            [Problem("unknown preset", "preset", repr(name)[:80], "there is none of this name", fix)]
        )
    return resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
