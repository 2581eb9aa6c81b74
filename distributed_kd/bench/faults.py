"""What faults cost: each kind brought about again and again in runs of the command, and how long until all is at work again.

With `--repeats 20` there are 20 faults of each kind, and 200 in the run with all kinds together.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from distributed_kd.bench.figures import Figure, Options, Table
from distributed_kd.errors import InternalError
from distributed_kd.processes import born, family
from distributed_kd.training.chaos import Chaos

PATIENCE = 2400.0
"""Seconds that one run of this may take"""
STEP_TIMEOUT = 2.0
IN_ALL = 10
"""Faults in the run with all kinds together, for each repeat"""
WORDS = (
    "cartpole --stop.env_steps 1000000000 --checkpoint.every_seconds 5 "
    f"--supervision.restarts 1000000 --rollouts.env_faults 1000000 --rollouts.step_timeout {STEP_TIMEOUT:g}"
).split()


@dataclass(frozen=True)
class _Fault:
    what: str
    kind: str
    """of actor"""
    chaos: str
    at_most: float
    """goal for the 95th percentile, in seconds"""
    more: tuple[str, ...] = ("--evaluation.every_seconds", "0")
    unnoticed: float = 0.0
    """seconds that it lasts before the clock begins"""


ACTORS = (
    _Fault("a rollout killed (-9)", "rollout", "kill=rollout:5s", 5.0),
    _Fault("a rollout frozen", "rollout", "freeze=rollout:6s", 5.0 + 2.5),
    _Fault("an environment that hangs", "rollout", "env=hang:0.0002", STEP_TIMEOUT + 5.0, unnoticed=STEP_TIMEOUT),
    _Fault("the evaluation killed (-9)", "evaluation", "kill=evaluation:5s", 5.0,
           ("--evaluation.every_seconds", "1", "--evaluation.episodes", "2")),
    _Fault("the learner killed (-9)", "learner", "kill=learner:12s", 30.0),
    _Fault("the replay killed (-9)", "replay", "kill=replay:12s", 30.0),
    _Fault("the learner frozen", "learner", "freeze=learner:20s", 30.0),
    _Fault("the replay frozen", "replay", "freeze=replay:20s", 30.0),
)  # fmt: skip
ALL_KINDS = (
    "kill=rollout:8s,evaluation:15s,learner:30s,replay:40s;freeze=rollout:20s;"
    "env=raise:0.00005,nan:0.00002,shape:0.00002,hang:0.000005"
)
"""Each seldom enough that those that were struck are at work again, for only who is can be"""


def measure(options: Options) -> Iterator[Table]:
    """Times until all is at work again, and the account of all steps; each table as soon as it is there."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        how = (
            "From the signal, or the step that hangs, to the first segment of another rollout, the first answer of another "
            "evaluation, the first update of another learner. Runs of cartpole, 2 rollouts, a checkpoint every 5 seconds. "
            f"What gives no sign of life is noticed after 2.5 s, a learner or replay after 12 s, a step that hangs after "
            f"{STEP_TIMEOUT:g} s."
        )
        figures = [figure for fault in ACTORS for figure in _cost(fault, place, options)]
        yield Table("Actors that are lost, until their successor is at work", how, figures)
        yield _drivers(place, options)
        yield _all_kinds(place, options)


def _cost(fault: _Fault, place: Path, options: Options) -> list[Figure]:
    """In a run with at least so many faults of this kind: the seconds that each took, and the account."""
    told = _struck(place / fault.what, fault, options)
    times = told["accounting"]["recovery_seconds"][fault.kind]
    p50, p95 = (times[name] + fault.unnoticed for name in ("p50", "p95"))
    what = f"{fault.what}, {times['count']} x"
    return [Figure(what, p95, "s, 95 %", "its median", p50, at_most=fault.at_most), *_account(fault.what, told)]


def _struck(folder: Path, fault: _Fault, options: Options) -> dict:
    with _running("train", *WORDS, *fault.more, "--chaos", fault.chaos, "--out", str(folder), more=options) as run:
        _until(run, lambda: _recoveries(folder, fault.kind) >= options.repeats)
        _ended(run, signal.SIGTERM, 75)
    return json.loads((folder / "summary.json").read_text())


def _account(what: str, told: dict) -> list[Figure]:
    """What must be 0: steps lost and doubled, and how often something that must hold did not."""
    account = told["accounting"]
    lost = account["generated"] - account["accepted"] - sum(account["dropped"].values()) - account["unknown"]
    wrong = abs(lost) + account["dropped"].get("duplicate", 0) + sum(told["invariants"].values())
    return [Figure(f"{what}: steps lost or doubled, invariants broken", wrong, "", at_most=0)]


def _drivers(place: Path, options: Options) -> Table:
    folder, stops, ends, starts = place / "driver", [], [], []
    words = ["train", *WORDS, "--out", str(folder)]
    for _ in range(options.repeats):
        for how, seconds in ((signal.SIGTERM, stops), (signal.SIGKILL, ends)):
            began = time.monotonic()
            with _running(*words, more=options) as run:
                before = len(_lines(folder))
                _until(run, lambda before=before: _learns(folder, before))
                if words[0] == "resume":
                    starts.append(time.monotonic() - began)
                _until(run, lambda: (folder / "checkpoints" / "LATEST").exists())
                ours = family(run.pid)
                told = time.monotonic()
                _ended(run, how, 75 if how == signal.SIGTERM else -signal.SIGKILL)
                while any(born(process) is not None for process in ours):
                    time.sleep(0.05)
                seconds.append(time.monotonic() - told)
            words = ["resume", str(folder)]
    figures = [
        _times(f"SIGTERM until all has ended, a checkpoint with it, {len(stops)} x", stops, at_most=20.0),
        _times(f"the driver killed (-9) until all of the run has ended, {len(ends)} x", ends, at_most=10.0),
        _times(f"resume until the first new line of metrics with updates, {len(starts)} x", starts, at_most=30.0),
    ]
    how = "A run of cartpole, stopped and killed in turns, and resumed after each."
    return Table("The driver", how, figures)


def _times(what: str, seconds: Sequence[float], at_most: float) -> Figure:
    p50, p95 = np.percentile(seconds, [50, 95])
    return Figure(what, float(p95), "s, 95 %", "its median", float(p50), at_most=at_most)


def _all_kinds(place: Path, options: Options) -> Table:
    folder, wanted = place / "all", IN_ALL * options.repeats

    def faults() -> int:
        restarts = sum(_newest(folder, "restarts").values())
        return restarts + int(_newest(folder, "charts").get("env_faults", 0))

    words = (*WORDS, "--evaluation.every_seconds", "5", "--chaos", ALL_KINDS)
    with _running("train", *words, "--out", str(folder), more=options) as run:
        _until(run, lambda: faults() >= wanted)
        _ended(run, signal.SIGTERM, 75)
    told = json.loads((folder / "summary.json").read_text())
    account = told["accounting"]
    struck = {" ".join(key): account["on_purpose"].get(" ".join(key), 0) for key in Chaos.parse(ALL_KINDS).every}
    figures = [
        *(Figure(f"faults: {what}", count, "", at_least=1) for what, count in struck.items()),
        *(Figure(f"faults: {what}", count, "") for what, count in account["env_faults"].items()),
        Figure("steps generated", account["generated"], ""),
        Figure("of these accepted", account["accepted"], ""),
        *(Figure(f"of these dropped: {why}", count, "") for why, count in account["dropped"].items()),
        Figure("of these unknown: with an actor when it died", account["unknown"], ""),
        *_account("all", told),
        Figure("steps given up by going back to a checkpoint", account["rollbacks"]["env_steps"], ""),
    ]
    how = (
        f"One run of cartpole, 2 rollouts, a checkpoint every 5 seconds, until {wanted} faults were counted, with --chaos "
        f"'{ALL_KINDS}'."
    )
    return Table("All kinds of faults together", how, figures)


# ---- runs, from outside


@contextmanager
def _running(*words: str, more: Options) -> Iterator[subprocess.Popen]:
    code = "import sys; from distributed_kd.cli import main; sys.exit(main())"
    address = ["--address", more.address] if more.address else []
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryFile() as out:
        run = subprocess.Popen([sys.executable, "-c", code, *words, *address], stdout=out, stderr=out, env=env)
        try:
            yield run
        except BaseException:
            out.seek(0)
            print(out.read().decode(errors="replace")[-2000:], file=sys.stderr)
            raise
        finally:
            run.kill()
            run.wait()


def _until(run: subprocess.Popen, is_so: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not is_so():
        if run.poll() is not None or time.monotonic() - began > PATIENCE:
            raise InternalError(f"a run with faults did not get on (exit={run.poll()}): see what it said")
        time.sleep(0.1)


def _ended(run: subprocess.Popen, how: signal.Signals, code: int) -> None:
    run.send_signal(how)
    if (found := run.wait(PATIENCE)) != code:
        raise InternalError(f"a run with faults ended otherwise than asked (exit={found}): {code} was to be")


def _lines(folder: Path) -> list[dict]:
    try:
        text = (folder / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _newest(folder: Path, key: str) -> dict:
    return next((line[key] for line in reversed(_lines(folder)) if key in line), {})


def _recoveries(folder: Path, kind: str) -> int:
    return _newest(folder, "recovery_seconds").get(kind, {}).get("count", 0)


def _learns(folder: Path, before: int) -> bool:
    """Whether there is a line of metrics, behind so many earlier ones, by which the run learns."""
    return any(line.get("charts", {}).get("updates_per_second", 0) > 0 for line in _lines(folder)[before:])
