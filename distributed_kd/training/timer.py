"""When something that recurs is due. What is done then lives with whoever asks."""

import time
from dataclasses import dataclass, field


@dataclass
class Timer:
    """When something that recurs is due; 0 seconds = never."""

    every_seconds: float
    _next: float = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, at_least: float = 0.0) -> None:
        """Start waiting anew, and `at_least` so many seconds."""
        self._next = time.monotonic() + max(self.every_seconds, at_least)

    @property
    def due(self) -> bool:
        return self.every_seconds > 0 and time.monotonic() >= self._next
