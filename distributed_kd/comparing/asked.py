"""What `compare` was asked for: its own options, and the grid of values. What the runs are is in `variants.py`."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from distributed_kd.command_words import split
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.run_file_faults import one_line

SEEDS = 5
MOST = 1_000
"""Seeds, or runs at once"""
OPENS, CLOSES, QUOTES = "[{", "]}", "\"'"


@dataclass(frozen=True)
class Asked:
    """The command's words, read."""

    sources: tuple[str, ...]
    """presets and run files"""
    flags: tuple[str, ...]
    """keys of the run file, as they were given"""
    options: argparse.Namespace
    """what `train` knows too: out, runner, address, chaos, allow_env_import, help"""
    grid: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """the values of each key"""
    seeds: int = SEEDS
    at_once: int = 0
    """0: as many as there is room for"""

    def points(self) -> Iterator[dict[str, str]]:
        """Every point of the grid: a value for each key; a single empty one without a grid."""
        for values in product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))


def read_asked(words: Sequence[str]) -> Asked:
    """Read `FILE... [--seeds N] [--grid KEY=A,B ...] [--at-once N] --out DIR [--KEY VALUE ...]`.

    Raises ConfigurationError with everything that is wrong with the options; keys of the run file are not looked at here.
    """
    sources = [word for word in words[: _first_option(words)] if word]
    options, rest = split(list(words[_first_option(words) :]), "compare", also=("--seeds", "--at-once"))
    grid_words, flags = _grid_words(rest)
    problems: list[Problem] = []
    seeds = _count("seeds", options.seeds, SEEDS, problems)
    at_once = _count("at-once", options.at_once, 0, problems)
    grid = _grid(grid_words, problems)
    if any(flag == "--seed" or flag.startswith("--seed=") for flag in flags) or "seed" in grid:
        why, fix = "each run of a comparison has a seed of its own", f"Give --seeds {SEEDS} for the seeds 0 to {SEEDS - 1}"
        problems.append(Problem("not an option here", "seed", "", why, fix))
    for twice in dict.fromkeys(source for source in sources if sources.count(source) > 1):
        why, fix = "it would be compared with itself", "Name it once"
        problems.append(Problem("given twice", "file", one_line(twice), why, fix))
    if not options.help:
        if not sources:
            fix = "Give presets (python launch.py presets lists them) or run files"
            problems.append(Problem("nothing to compare", "FILE", "", "compare needs one file or more", fix))
        if options.out is None:
            fix = "Give --out runs/NAME; the same command goes on there later"
            problems.append(Problem("no folder", "out", "", "a comparison needs a folder for its runs", fix))
    if problems:
        raise ConfigurationError.of(problems)
    return Asked(tuple(sources), tuple(flags), options, grid, seeds, at_once)


def _first_option(words: Sequence[str]) -> int:
    return next((place for place, word in enumerate(words) if word.startswith("-")), len(words))


def _grid_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words behind every --grid, and all others."""
    grid, others, inside = [], [], False
    for word in words:
        if word.startswith("--"):
            inside = word == "--grid" or word.startswith("--grid=")
            if inside:
                grid.append(word.partition("=")[2])
                continue
        (grid if inside else others).append(word)
    return grid, others


def _count(key: str, word: str | None, default: int, problems: list[Problem]) -> int:
    if word is None:
        return default
    if word.isascii() and word.isdigit() and len(word) < 10 and 1 <= int(word) <= MOST:
        return int(word)
    problems.append(
        Problem(f"bad {key}", key, one_line(word)[:80] or "''", f"it must be a whole number from 1 to {MOST}",
                f"Set --{key} 1 or more")
    )  # fmt: skip
    return default


def _grid(words: Sequence[str], problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    grid: dict[str, tuple[str, ...]] = {}
    for place, word in enumerate(words):
        if not word and place + 1 < len(words):
            continue  # the --grid itself, with its words behind it
        key, equals, values = word.partition("=")
        key, shown = key.removeprefix("--"), one_line(word)[:80] or "''"
        items = values_in(values)
        if not key or not equals:
            why, fix = "it names no key and its values", "Give for example --grid students.tiny.temperature=0.01,0.1,auto"
        elif "" in items:
            why, fix = "a value is empty", f"Give for example --grid {one_line(key)}=A,B"
        elif len(set(items)) < len(items):
            why, fix = "a value is given twice", "Give each value once"
        elif key in grid:
            why, fix = "its key is given twice", "Give all values of a key at once"
        else:
            grid[key] = items
            continue
        problems.append(Problem("bad grid", "grid", shown, why, fix))
    return grid


def values_in(text: str) -> tuple[str, ...]:
    """The values of `A,B,[C,D]`: parted at commas, but for those in brackets and quotes; spaces around one are dropped."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in QUOTES:
            quote = letter
        elif letter in OPENS:
            depth += 1
        elif letter in CLOSES:
            depth -= 1
        elif letter == "," and depth <= 0:
            parts.append("")
            continue
        parts[-1] += letter
    return tuple(part.strip() for part in parts)
