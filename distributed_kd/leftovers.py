"""Ends what a driver has started, where the driver is killed (-9) and cannot do it itself; and workers that never end.

Ray's own processes end with it, but for two agents, which first try for a minute to tell of it; and what environments have
started nobody else knows. A process of its own waits for the driver's end, and finds all of them by a mark that each has
inherited with its environment. Where the driver comes to an end of its own, a worker of Ray may still lock up as it ends,
once in some hundred runs: nothing of Ray looks for it then, so the driver does.

That process runs this file alone, without the package and without site-packages: it is to be small.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "DISTRIBUTED_KD_DRIVER"
ALL_IS_WELL = b"done"
TITLES_APART = "SPT_NOENV"
"""Set, the processes of Ray that give themselves a title do not write it over what they have inherited"""
ROUNDS, PAUSE = 8, 0.25
"""Looks for leftovers, and seconds between two: what was just being started is seen by a later one"""
WORKER = (b"ray::", b"default_worker.py")
"""What stands in the command line of a worker of Ray"""
GRACE = 5.0
"""Seconds that workers may take to end once Ray has"""


@contextmanager
def ended_with_us() -> Iterator[None]:
    """What is started within the block does not outlive this process where that is killed; on Linux only.

    Of Ray's workers none outlives the block either: Ray is to be shut down within it.
    """
    if sys.platform != "linux":
        yield
        return
    mark = secrets.token_hex(16)
    told = {MARK: mark, TITLES_APART: "1"}
    before = {name: os.environ.get(name) for name in told}
    # In a session of its own: what a terminal sends to the driver is not for it. Without the mark of whoever has started us:
    # where that one is killed too, and we with it, there must be someone left who ends what we have started.
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    words = [sys.executable, "-I", "-S", __file__, mark]
    watcher = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True, env=unmarked)
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        _see_workers_off(mark)
        watcher.communicate(ALL_IS_WELL)


def _see_workers_off(mark: str) -> None:
    """Wait until Ray's workers with a mark have ended; kill those that take longer than GRACE, wait no longer than twice."""
    began = time.monotonic()
    while workers := [process for process in _marked(mark) if _is_worker(process)]:
        waited = time.monotonic() - began
        if waited > 2 * GRACE:  # the kernel holds it, such as in the driver of a device
            _warn(f"processes {', '.join(map(str, workers))} of Ray were killed and have not ended")
            return
        if waited > GRACE:
            for process in workers:
                _kill(process)
        time.sleep(PAUSE / 10)


def _warn(what: str) -> None:
    import logging  # here, so that the process that watches stays small

    logging.getLogger(__name__).warning("warning: %s", what)


def _is_worker(process: int) -> bool:
    with suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_bytes()
        return any(word in words for word in WORKER)
    return False  # it has ended meanwhile


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _marked(mark: str) -> list[int]:
    """The processes that inherited a mark, by number; of other users' nothing can be read."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = environment.read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in words:
            found.append(int(environment.parent.name))
    return found


def _watch(mark: str) -> None:
    if sys.stdin.buffer.read() == ALL_IS_WELL:
        return
    for _ in range(ROUNDS):
        for process in _marked(mark):
            _kill(process)
        time.sleep(PAUSE)


if __name__ == "__main__":
    _watch(sys.argv[1])
