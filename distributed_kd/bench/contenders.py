"""Trainings in processes of their own that are measured in turns: whichever has no turn rests, so that none slows another.

A training is a function that is given a `Baton` and calls its `beat` every now and then; what trains is said elsewhere.
"""

import multiprocessing
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from distributed_kd import run_file
from distributed_kd.errors import InternalError

END_SECONDS = 60.0
"""How long a training may take to end once it is told to"""
UNBOUNDED = {"stop": {"env_steps": 10**9}, "evaluation": {"every_seconds": 0.0}, "checkpoint": {"every_seconds": 0.0}}
"""Tables of a run that only trains, for as long as it is wanted"""


@dataclass(frozen=True)
class Rates:
    """What a training did in its turn."""

    env_steps: float
    """environment steps a second"""
    updates: float
    """updates of the teacher a second"""


class Baton:
    """A training's end of it: holds the training up until it is its turn, and measures its turns."""

    def __init__(self, pipe: Connection, settle: int, clock: Callable[[], float] = time.perf_counter):
        """`settle` beats after a rest are not counted: what was still under way when it began has ended meanwhile."""
        self._pipe, self._settle, self._clock = pipe, settle, clock
        self._seconds = 0.0
        self._unsettled = 0
        self._mark: tuple[float, int, int] | None = None

    def beat(self, env_steps: int, updates: int) -> bool:
        """The counts so far. Returns when there is more to do; False where the training shall end."""
        now = self._clock()
        if self._unsettled:
            self._unsettled -= 1
            if not self._unsettled:
                self._mark = now, env_steps, updates
            return True
        if self._mark is not None:
            began, steps_before, updates_before = self._mark
            took = now - began
            if took < self._seconds:
                return True
            rates = Rates((env_steps - steps_before) / took, (updates - updates_before) / took)
        else:
            rates = None
        try:
            self._pipe.send(rates)  # at the first beat none: it only says that all is there
            return self._rest(env_steps, updates)
        except (EOFError, BrokenPipeError):  # nobody asks any more
            return False

    def _rest(self, env_steps: int, updates: int) -> bool:
        self._mark = None
        self._seconds = self._pipe.recv()
        self._unsettled = self._settle
        if not self._settle:
            self._mark = self._clock(), env_steps, updates
        return True


class Contender:
    """The bench's end of it: starts a training in a process of its own, and asks for turns."""

    def __init__(self, train: Callable[..., None], *arguments: object, settle: int = 0):
        """Start `train(baton, *arguments)` and wait until it rests at its first beat, so that no two start at once.

        Raises ImportError where it lacks a package, InternalError where it failed.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_trained, args=(train, theirs, settle, arguments))
        self._process.start()
        theirs.close()
        self.taken: list[Rates] = []
        """the rates of all turns so far"""
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def turn(self, seconds: float) -> Rates:
        """Let it train for about so long. Raises InternalError where it failed."""
        with suppress(OSError):  # where it has ended, its last word on why is still to be read
            self._pipe.send(seconds)
        rates = self._answer()
        self.taken.append(rates)
        return rates

    def _answer(self) -> Rates | None:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise InternalError("a training ended before its turn did, without a word. Run the benchmark again") from error
        if isinstance(answer, ImportError):
            raise answer
        if isinstance(answer, str):
            raise InternalError(f"a training failed: {answer}")
        return answer

    def close(self) -> None:
        self._pipe.close()
        self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.kill()


@contextmanager
def contending(train: Callable[..., None], *arguments: object, settle: int = 0):
    """A `Contender` for as long as the block lasts."""
    contender = Contender(train, *arguments, settle=settle)
    try:
        yield contender
    finally:
        contender.close()


def _trained(train: Callable[..., None], pipe: Connection, settle: int, arguments: tuple) -> None:
    try:
        train(Baton(pipe, settle), *arguments)
    except Exception as error:
        told = f"{type(error).__name__}: {error} ({' '.join(traceback.format_exc().split())[-600:]})"
        with suppress(BrokenPipeError):  # nobody asks any more
            pipe.send(ImportError(str(error), name=error.name) if isinstance(error, ImportError) else told)


SETTLE = 1
"""Beats that `our_run` needs after a rest on Ray, where calls under way end in the rest"""


def our_run(baton: Baton, tables: Mapping[str, object], runner: str, address: str | None) -> None:
    """A run of these tables through its real loop, "ray" or "inline"; a beat is a line of its metrics.

    It is without evaluations and checkpoints, and ends as by Ctrl-C.
    """
    from distributed_kd.training.run import execute

    parts, goes_on = parts_of(tables), True

    def show(now) -> None:
        nonlocal goes_on
        if goes_on and now.updates:  # once it is told to end, its last line of metrics is no beat
            goes_on = baton.beat(now.env_steps, now.updates)
            if not goes_on:
                signal.raise_signal(signal.SIGINT)

    with run_folder(parts) as folder:
        execute(parts, folder, loop(runner, address), show=show)


@contextmanager
def run_folder(parts):
    """A run's folder that is locked, and gone with the block."""
    from distributed_kd.storage.run_folder import RunFolder

    with (
        tempfile.TemporaryDirectory() as place,
        RunFolder.create(Path(place) / "run", run_file.encode(parts.config)) as folder,
    ):
        folder.lock()
        yield folder


def parts_of(tables: Mapping[str, object]):
    """The parts of a run of these tables."""
    from distributed_kd.training.parts import Parts
    from distributed_kd.training.preflight import check_run

    config = run_file.decode(tables)
    return Parts(config, check_run(config, allow_env_import=False))


def loop(name: str, address: str | None = None):
    """The loop of that name."""
    if name == "inline":
        from distributed_kd.training.inline import RUNNER

        return RUNNER
    from distributed_kd.training.on_ray import runner

    return runner(address)
