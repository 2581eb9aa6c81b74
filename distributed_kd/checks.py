"""Checks of single numbers that the run file's tables share: each yields a Problem, or nothing."""

import math
from collections.abc import Iterator

from distributed_kd.errors import Problem


def at_least(key: str, value: float, minimum: float, what: str) -> Iterator[Problem]:
    """A finite number, not below `minimum`; a boolean is none."""
    if isinstance(value, bool) or not math.isfinite(value) or value < minimum:
        why = f"it must be a finite number of at least {minimum}"
        yield Problem(what, key, value, why, f"Set --{key} {minimum} or more")


def above_zero(key: str, value: float, what: str) -> Iterator[Problem]:
    """A finite number above 0; a boolean is none."""
    if isinstance(value, bool) or not math.isfinite(value) or value <= 0:
        yield Problem(what, key, value, "it must be a finite number above 0", f"Set --{key} to a positive number")


def share(key: str, value: float, what: str) -> Iterator[Problem]:
    """A number from 0 to 1; a boolean is none."""
    if isinstance(value, bool) or not 0.0 <= value <= 1.0:
        yield Problem(what, key, value, "it must lie between 0 and 1", f"Set --{key} to a number from 0 to 1")
