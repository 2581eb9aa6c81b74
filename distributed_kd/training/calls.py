"""Calls of actors under way, each with what is to be done at its end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import ray

from distributed_kd.errors import RunError

Owner = TypeVar("Owner")


def _raise(fault: RunError) -> None:
    raise fault


@dataclass(frozen=True, eq=False)
class Call(Generic[Owner]):
    """What a call is for."""

    who: str
    """for a message"""
    done: Callable[[object], None] = lambda _: None
    """what its value is given to"""
    owner: Owner | None = None
    """whose answer it is, where that is someone who can be replaced alone"""
    broken: Callable[[RunError], None] = _raise
    """what is done where the environment failed"""
    lost: Callable[[], None] = lambda: None
    """what is done where no answer will come, since its owner was given up"""
    given_lost: Callable[[], None] | None = None
    """what is done where something that was handed over with it is gone; None: nobody can go on without that"""


class Calls(Generic[Owner]):
    """The calls under way, by the reference that tells of their end."""

    def __init__(self) -> None:
        self._calls: dict[ray.ObjectRef, Call[Owner]] = {}
        self._of_actor: dict[ray.ActorID, dict[ray.ObjectRef, None]] = {}  # in the order in which they were made

    def expect(self, reference: ray.ObjectRef, call: Call[Owner]) -> None:
        self._calls[reference] = call
        self._of_actor.setdefault(_actor(reference), {})[reference] = None

    def ended(self, seconds: float) -> Iterator[tuple[ray.ObjectRef, Call[Owner]]]:
        """Those that have ended, or the next one, waited for at most so long; each is under way no more once it is told.

        One of each actor at most, in the order in which they were asked for: where an answer was lost and had to be sent
        again, the later ones wait for it. All at once, for to look at every actor for each that ends does not scale.
        """
        if not self._calls:
            return
        firsts = [next(iter(theirs)) for theirs in self._of_actor.values()]
        ready, _ = ray.wait(firsts, num_returns=len(firsts), timeout=0, fetch_local=False)
        if not ready:
            ready, _ = ray.wait(firsts, num_returns=1, timeout=seconds, fetch_local=False)
        for first in ready:
            if first in self._calls:  # what became of another one may have been that this is given up
                yield first, self._pop(first)

    def give_up(self, owner: Owner | None) -> list[Call[Owner]]:
        """Wait no longer for anything of an owner (None: of those that have none); gives what it was for."""
        theirs = [reference for reference, call in self._calls.items() if call.owner is owner]
        return [self._pop(reference) for reference in theirs]

    @property
    def busy(self) -> set[Owner | None]:
        """Those that something is expected of."""
        return {call.owner for call in self._calls.values()}

    def _pop(self, reference: ray.ObjectRef) -> Call[Owner]:
        theirs = self._of_actor[_actor(reference)]
        del theirs[reference]
        if not theirs:
            del self._of_actor[_actor(reference)]
        return self._calls.pop(reference)


def _actor(reference: ray.ObjectRef) -> ray.ActorID:
    return reference.task_id().actor_id()
