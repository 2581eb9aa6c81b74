"""Everything that ends a run early, each with its exit code; a message is one line for the person who must act on it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong with what the user gave: printed as `what (key=value): why. fix`."""

    what: str
    key: str
    value: object
    why: str
    fix: str

    def __str__(self) -> str:
        return _one_line(f"{self.what} ({self.key}={self.value}): {self.why}. {self.fix}")


def _one_line(text: str) -> str:
    """What a user, or an environment, gave may hold line breaks and escape sequences: a message must move no cursor."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


class RunError(Exception):
    """Base of every error that a user is meant to read; `lines` are printed one by one behind `error: `."""

    exit_code = 9

    def __init__(self, *lines: object):
        self.lines = tuple(_one_line(str(line)) for line in lines)
        super().__init__("\n".join(self.lines))

    def __reduce__(self):
        return (type(self), self.lines)


class ConfigurationError(RunError):
    """The run file, a flag or an argument is wrong."""

    exit_code = 2

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> "ConfigurationError":
        return cls(*problems)


class EnvironmentFault(RunError):
    """The environment raised, or gave something that is not an observation or a finite reward."""

    exit_code = 3


class CheckpointError(RunError):
    """No checkpoint can be used, or it does not fit the run."""

    exit_code = 4


class ResourceError(RunError):
    """The machine or cluster is too small for the plan, or lacks the device asked for."""

    exit_code = 5


class RayError(RunError):
    """Ray could not be started or joined."""

    exit_code = 6


class StorageError(RunError):
    """The run's folder cannot be written."""

    exit_code = 7


class DivergedError(RunError):
    """Losses or gradients of a network were not finite so often in a row that it learns nothing more."""

    exit_code = 8


class InternalError(RunError):
    """A part of the run died or broke a promise: a fault of the program or of the machine, not of the user."""

    exit_code = 9


PREEMPTED = 75  # SIGTERM, with a committed checkpoint
INTERRUPTED = 130  # Ctrl-C, with a committed checkpoint
