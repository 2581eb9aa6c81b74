"""Processes of this machine, by number."""

import os
import signal
from pathlib import Path


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
