"""What a machine or a cluster can do: each benchmark gives tables of figures, each beside its bare limit or a peer.

Only what a benchmark needs is imported: `learner` does without Ray, and so do `replay` and `rollouts` in part.
"""

import json
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console

from distributed_kd.bench.figures import Options, Table
from distributed_kd.storage.files import storage_errors

ABOUT = {
    "replay": "inserting, drawing and re-prioritising, in this process and across processes, beside cpprb",
    "learner": "updates of teacher and students beside the same updates in a bare loop; students stacked and in a loop",
    "rollouts": "acting into the replay beside the bare vector environment",
    "system": "whole runs: learner beside the bare loop, start to first update, weights to use, and where the time goes",
    "scaling": "1 to 16 rollout actors on an environment that sleeps, and what the control plane can carry",
    "plan": "what a run of a wanted size takes, by a model from costs measured here, beside runs of three sizes",
    "faults": "actors and drivers killed and frozen, environments that fail: how long until all is at work again",
    "peers": "the same work by RLlib, Stable-Baselines3, and CleanRL's settings in bare PyTorch (extra peers)",
}
"""The benchmarks by name"""
USUAL = ("replay", "learner", "rollouts", "system")
"""What `bench` runs where none is named"""
WIDTH = 140


def run(names: Sequence[str], options: Options, out: Path | None = None) -> None:
    """Run benchmarks by name, print each table as soon as it is measured, and keep all of them in a file if asked for."""
    if out is not None:
        _write(out, {})  # where that cannot be, nothing is measured in vain
    from distributed_kd.reports.machine import machine  # which knows PyTorch: rollouts that do nothing do without

    console, kept = Console(width=None if Console().is_terminal else WIDTH), {}
    about = machine()
    console.print(", ".join(str(value) for value in about.values()), style="dim", highlight=False)
    for name in names or USUAL:
        tables: Iterable[Table] = import_module(f"distributed_kd.bench.{name}").measure(options)
        command = f"python launch.py bench {name} --repeats {options.repeats} --seconds {options.seconds:g}"
        kept[name] = {"machine": about, "command": command, "tables": []}
        for table in tables:
            console.print()
            table.print(console)
            kept[name]["tables"].append(table.as_json())
            if out is not None:  # after each, so that what was measured is there even if a later one fails
                _write(out, kept)


def _write(out: Path, kept: dict) -> None:
    """Raises StorageError where it cannot be written."""
    with storage_errors("the figures cannot be written", out):
        out.write_text(json.dumps(kept, indent=1, allow_nan=False) + "\n")
