"""The folder of a comparison: what was asked, as it must be asked again to go on; its run files, runs and logs."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed_kd import run_file
from distributed_kd.comparing.variants import Variant
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.run_file_faults import one_line
from distributed_kd.storage.files import make_folder, replace_file, storage_errors, strict_json
from distributed_kd.storage.run_folder import RunFolder, default_name

MOST_TOLD = 5
"""Keys that changed of which each is told"""


@dataclass(frozen=True)
class Comparison:
    """A comparison's place on the disk."""

    path: Path
    variants: Sequence[Variant]
    seeds: int
    began: float
    """seconds since 1970, when it was asked for first: it is part of the runs' names"""
    runner: str | None
    """ray or inline, as it was asked for, now or first"""

    @classmethod
    def at(cls, path: Path, variants: Sequence[Variant], seeds: int, runner: str | None) -> "Comparison":
        """A new comparison, or the one that lies there already, if it is the same; changes nothing on the disk.

        More seeds than before are no other comparison. Raises ConfigurationError where something else lies there, or a
        comparison of other things, StorageError where it may not be looked at.
        """
        with storage_errors("the comparison's folder could not be read", path):
            if path.exists() and not path.is_dir():
                why, fix = "a file is in its place", "Give another --out"
                raise ConfigurationError(Problem("the folder cannot be made", "out", one_line(str(path)), why, fix))
            if not path.is_dir() or not any(entry.name != "lock" for entry in path.iterdir()):
                return cls(path, variants, seeds, time.time(), runner)
        before = _read(path)
        problems = _changes(path, before, variants, seeds)
        if problems:
            raise ConfigurationError.of(problems)
        return cls(path, variants, seeds, float(before["began"]), runner or before["runner"])

    def make(self, command: str, grid: Mapping[str, Sequence[str]]) -> None:
        """Note what was asked and write the run files; raises StorageError. Its folder must be locked before."""
        for variant in self.variants:
            file = self.run_file(variant)
            if not file.is_file():
                self._write(file, run_file.encode(variant.config))
        told = {
            "command": command,
            "began": self.began,
            "runner": self.runner,
            "seeds": self.seeds,
            "grid": {key: list(values) for key, values in grid.items()},
            "files": [
                {
                    "label": one.label,
                    "file": one.source,
                    "env": one.config.env.id,
                    "grid": dict(one.point),
                    "runs": [self.run_folder(one, seed).name for seed in range(self.seeds)],
                }
                for one in self.variants
            ],
        }
        self._write(_file(self.path), f"{strict_json(told, indent=2)}\n")

    def lock(self) -> RunFolder:
        """Take it for this process; raises ConfigurationError where another one has it, StorageError."""
        with storage_errors("the comparison's folder could not be made", self.path):
            make_folder(self.path)
        return RunFolder(self.path).lock()

    def run_file(self, variant: Variant) -> Path:
        """What the variant's runs are started with: every key of its file, flags and grid laid over it."""
        return self.path / "files" / f"{variant.label}.toml"

    def run_folder(self, variant: Variant, seed: int) -> Path:
        env = variant.config.env.id.replace("__", "_")  # which parts the words of a folder's name
        return self.path / default_name(env, variant.label, seed, self.began)

    def log(self, run: Path) -> Path:
        """What a run printed."""
        return self.path / "logs" / f"{run.name}.txt"

    @staticmethod
    def _write(path: Path, text: str) -> None:
        with storage_errors("the comparison could not be written", path):
            make_folder(path.parent)
            replace_file(path, text.encode())


def _file(path: Path) -> Path:
    return path / "comparison.json"


def _read(path: Path) -> dict:
    file = _file(path)
    with storage_errors("the comparison could not be read", file):
        if not file.is_file():
            why, fix = "it holds something else than a comparison", "Give another --out"
            raise ConfigurationError(Problem("the folder is in use", "out", one_line(str(path)), why, fix))
        text = file.read_bytes()
    try:
        told = json.loads(text)
        labels = [one["label"] for one in told["files"]]
        known = told["runner"] in (None, "ray", "inline") and all(isinstance(label, str) for label in labels)
        if not (known and isinstance(told["seeds"], int) and float(told["began"]) >= 0):
            raise ValueError("it is none of ours")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        why, fix = f"{type(error).__name__}: {error}", "Bring it back from a copy, or give another --out"
        raise ConfigurationError(Problem("the comparison cannot be read", "path", file, why, fix)) from error
    return told


def _changes(path: Path, before: Mapping, variants: Sequence[Variant], seeds: int) -> list[Problem]:
    """What is asked otherwise than in the comparison that lies there."""
    what, there = "the comparison was made otherwise", [one["label"] for one in before["files"]]
    problems = []
    if seeds < before["seeds"]:
        why, fix = f"it was begun with {before['seeds']}", f"Give --seeds {before['seeds']} or more, or another --out"
        problems.append(Problem(what, "seeds", seeds, why, fix))
    labels = [variant.label for variant in variants]
    if set(labels) != set(there):
        why = f"{one_line(str(path))} holds one of {one_line(', '.join(there))}"
        problems.append(Problem(what, "files", ", ".join(labels), why, "Give the same files and --grid, or another --out"))
        return problems
    differing: dict[str, Problem] = {}
    for variant in variants:
        file = path / "files" / f"{variant.label}.toml"
        if not file.is_file():
            continue  # it was ended before it had written this
        for key, (old, new) in run_file.changed(run_file.decode(run_file.read_toml(file)), variant.config).items():
            why, fix = f"it is {old} in {file}", "Leave files and flags as they were, or give another --out"
            differing.setdefault(key, Problem(what, key, new, why, fix))
    return [*problems, *list(differing.values())[:MOST_TOLD]]
