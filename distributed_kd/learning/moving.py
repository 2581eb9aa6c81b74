"""Numbers that change from update to update, where updates are recorded.

A recorded update repeats its operations without the Python around them: a number that was computed there would stay as it
was. So such numbers lie on the device, are read from there, and are written before each update.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Way = Callable[[float], float]


class Numbers:
    """Those that one recorded update asks for, in the order in which it does."""

    def __init__(self, device: torch.device):
        self._device, self._schedules = device, []
        self._values = torch.zeros(0, device=device)
        self._asked, self.now = 0, 0.0

    def tell(self, progress: float) -> "Moving":
        """Bring them to where the run is now; gives what the update is handed as its progress."""
        self.now, self._asked = progress, 0
        values = torch.tensor([schedule() for schedule in self._schedules])
        if len(values) != len(self._values):
            self._values = torch.zeros(len(values), device=self._device)
        if len(values):
            self._values.copy_(values.pin_memory() if self._device.type == "cuda" else values, non_blocking=True)
        return Moving(self)

    def ask(self, schedule: Callable[[], float]) -> Tensor:
        """What `schedule` gives, 0-d: in the first update by itself, from then on in its place on the device."""
        place, self._asked = self._asked, self._asked + 1
        if place < len(self._values):
            return self._values[place]
        self._schedules.append(schedule)
        return scalar(schedule(), self._device)


@dataclass(frozen=True)
class Moving:
    """The progress of a run, 0 to 1, as an update that is recorded is handed it; as a float it is that of now."""

    numbers: Numbers
    way: Way = float
    """to a student's own progress"""

    def __float__(self) -> float:
        return self.way(self.numbers.now)


Progress = float | Moving


def mapped(progress: Progress, way: Way) -> Progress:
    """What `way` makes of a run's progress."""
    return Moving(progress.numbers, way) if isinstance(progress, Moving) else way(progress)


def number(progress: Progress, schedule: Way, moves: bool = True) -> float | Tensor:
    """What `schedule` gives at this progress; 0-d where updates are recorded, unless it never moves."""
    if moves and isinstance(progress, Moving):
        return progress.numbers.ask(lambda: schedule(float(progress)))
    return schedule(float(progress))


def scalar(value: float | Tensor, device: torch.device) -> Tensor:
    """A number as float32, 0-d, on a device that need not be waited for: it is filled in there, not copied."""
    return value if isinstance(value, Tensor) else torch.full((), value, device=device)
