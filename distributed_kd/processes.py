"""Processes of this machine, by number, and what a thread of ours leaves to the others."""

import os
import signal
import sys
import threading
from pathlib import Path

GIVES_WAY, LOWEST = 10, 19
"""Steps of `nice` by which a thread gives way, to a tenth of the time of one that does not; and the last step there is"""


def born(process: int) -> int | None:
    """When it was started, in ticks of the kernel's clock: with it, a number that was given away again is no mistake.

    None where there is no such process, or it has ended and waits to be seen; and on a system other than Linux.
    """
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    state, *fields = text[text.rindex(")") + 2 :].split()
    return None if state == "Z" else int(fields[18])


def end(process: int, since: int | None) -> None:
    """Kill it, frozen or not, if it is the one that was started then."""
    if since is not None and born(process) == since:
        os.kill(process, signal.SIGKILL)


def give_way() -> None:
    """Let this thread, and what it starts, have the processor as far as others leave it; on Linux only.

    Elsewhere it would be the whole process, and with it its heartbeats.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(LOWEST, os.getpriority(os.PRIO_PROCESS, thread) + GIVES_WAY))


def family(root: int) -> list[int]:
    """A process and all that it has started, and these, by number; on Linux."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it has ended meanwhile
            continue
        children.setdefault(int(text[text.rindex(")") + 2 :].split()[1]), []).append(int(stat.parent.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found
