"""Runs of the program as a user starts them, and what a run leaves behind, for the whole-program tests beside this file."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch.py"
DEADLINE = 100.0
"""Seconds that anything may take before a test gives up"""

TINY = """\
[stop]
env_steps = {env_steps}
[teacher]
network.hidden = [32]
[students.half]
network.hidden = [16]
[students.tiny]
network.hidden = [4]
loss = "mse"
[rollouts]
envs_per_actor = 8
steps_per_segment = 8
[replay]
capacity = 1000
warmup = 200
batch_size = 32
samples_per_insert = 4.0
[evaluation]
episodes = 3
every_seconds = 0.2
[checkpoint]
every_seconds = 0.3
keep = 3
"""


def run_file(folder: Path, env_steps: int = 2_000, more: str = "") -> Path:
    """A small CartPole run as a file; `more` is put before its first table."""
    path = folder / "tiny.toml"
    path.write_text(more + TINY.format(env_steps=env_steps))
    return path


def _environment(importable: Path | None) -> dict[str, str]:
    path = [str(importable)] if importable else []
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*path, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)}


def launch(
    *words: object, cwd: Path, importable: Path | None = None, seconds: float = DEADLINE
) -> subprocess.CompletedProcess:
    """Run `python launch.py WORDS` to its end, in a session of its own."""
    return subprocess.run(
        [sys.executable, LAUNCH, *map(str, words)],
        cwd=cwd,
        env=_environment(importable),
        capture_output=True,
        text=True,
        timeout=seconds,
        start_new_session=True,
    )


class Started:
    """A `python launch.py WORDS` under way in a session of its own; with the `with` block whatever is left of it ends."""

    def __init__(self, *words: object, cwd: Path, importable: Path | None = None):
        self._out, self._err = cwd / "stdout.txt", cwd / "stderr.txt"
        with self._out.open("w") as out, self._err.open("w") as err:
            self._process = subprocess.Popen(
                [sys.executable, LAUNCH, *map(str, words)],
                cwd=cwd,
                env=_environment(importable),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._family: set[tuple[int, str]] = set()

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        self.family()
        for pid, began in self._family:
            if _began(pid) == began:
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; fails where the program ends before, or the deadline passes."""

        def over() -> bool:
            ended = self._process.poll()
            assert ended is None or condition(), f"it ended with {ended} before {what}: {self.out}{self.err}"
            return bool(condition())

        wait_for(over, what)

    def until_checkpoint(self, folder: Path) -> None:
        """Wait until what it learned was committed. One of no update yet may stand before any rollout does."""
        latest = folder / "checkpoints" / "LATEST"
        unlearned = ("step-0\n", "step-0-")
        self.until(
            lambda: latest.is_file() and not latest.read_text().startswith(unlearned), "what it learned was committed"
        )

    def signal(self, number: signal.Signals, group: bool = False) -> None:
        (os.killpg if group else os.kill)(self.pid, number)

    def ended(self) -> int:
        """Its exit code."""
        return self._process.wait(DEADLINE)

    def family(self) -> dict[int, str]:
        """Every process that descends from it now, by pid, with its command line; remembered for `left`."""
        children: dict[int, list[int]] = {}
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
            if stat := _stat(pid):
                children.setdefault(int(stat[1]), []).append(pid)
        found, new = {}, list(children.get(self.pid, []))
        while new:
            pid = new.pop()
            found[pid] = _command(pid)
            new += children.get(pid, [])
        self._family |= {(pid, _began(pid)) for pid in found}
        return found

    def left(self) -> dict[int, str]:
        """Those of the family that still live."""
        return {pid: _command(pid) for pid, began in self._family if began and _began(pid) == began}


def wait_for(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Wait for a condition; fails when the deadline passes."""
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, f"waited in vain until {what}"
        time.sleep(0.02)


def _stat(pid: int) -> list[str] | None:
    """What the kernel says of a process, behind its name: state, parent, ...; None where it is gone or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields


def _began(pid: int) -> str:
    stat = _stat(pid)
    return stat[19] if stat else ""


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def metrics(folder: Path) -> list[dict]:
    return [strict(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def summary(folder: Path) -> dict:
    return strict((folder / "summary.json").read_text())


def strict(text: str) -> dict:
    """JSON without the words that Python would also take: NaN and Infinity."""

    def refuse(word: str):
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def never_fall(lines: Iterable[dict], *keys: str) -> bool:
    lines = list(lines)
    return all(earlier[key] <= later[key] for earlier, later in pairwise(lines) for key in keys)


def assert_accounts_add_up(told: dict, samples_per_insert: float, batch_size: int) -> None:
    """Every step generated was stored once or dropped for a reason; every stored one is held or evicted; the pace held."""
    assert told["accounting"]["unknown"] == 0
    assert_nothing_is_lost(told, batch_size)
    assert abs(told["replay"]["samples_per_insert"] / samples_per_insert - 1) <= 0.01


def assert_nothing_is_lost(told: dict, batch_size: int) -> None:
    """Of a run that may have been stopped, and whose actors may have died: every step is accounted for."""
    account, replay = told["accounting"], told["replay"]
    assert account["generated"] == account["accepted"] + sum(account["dropped"].values()) + account["unknown"]
    assert account["generated"] == told["env_steps"]
    assert set(told["invariants"].values()) == {0}
    assert account["accepted"] == replay["inserted"] == replay["size"] + replay["evicted"]
    assert replay["sampled"] == told["updates"] * batch_size
    for policy in (told["teacher"], *told["students"].values()):
        assert policy["updates"] == told["updates"]
    assert replay["samples_per_insert"] == replay["sampled"] / replay["inserted"]
