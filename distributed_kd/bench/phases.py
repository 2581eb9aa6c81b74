"""Where the time of a run goes: functions timed from outside while they are looked at, each without what it calls.

Nothing in the run knows of it. What is timed is named in one table; where a name no longer leads to a function, it says so.
"""

import inspect
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from importlib import import_module

PER_STEP = ("env", "act", "collect", "ship", "insert")
PER_UPDATE = ("sample", "convert", "forward", "backward", "optimizer", "publish")
OTHER = "other"
"""The loop itself, its account and whatever has no phase"""

HOOKS: Mapping[str, Sequence[str]] = {
    "env": (
        "distributed_kd.envs.cartpole_lanes:CartPoleLanes.step",
        "distributed_kd.envs.lanes:SyncLanes.step",
        "distributed_kd.envs.atari_lanes:AtariLanes.step",
    ),
    "act": ("distributed_kd.rollouts.rollout:Rollout._decide",),
    "collect": ("distributed_kd.rollouts.rollout:Rollout.collect",),
    "ship": ("distributed_kd.rollouts.rollout:lay_out",),
    "insert": ("distributed_kd.replay.replay:Replay.add",),
    "sample": ("distributed_kd.replay.replay:Replay.sample",),
    "convert": ("distributed_kd.learning.learner:Learner.taken", "distributed_kd.learning.learner:Learner._seen"),
    "forward": ("distributed_kd.learning.learner:Learner.learn",),
    "backward": ("torch.autograd:backward", "distributed_kd.networks.plain:PlainNetworks.backward"),
    "optimizer": (
        "distributed_kd.learning.trainable:Trainable.descend",
        "distributed_kd.learning.together:Together._descend",
    ),
    "publish": (
        "distributed_kd.learning.learner:Learner.weights",
        "distributed_kd.learning.learner:Learner.losses",
        "distributed_kd.rollouts.policies:Policies.load",
    ),
}
"""The functions of each phase. What one calls that is of another phase counts there alone: so `forward`, the update, is the
networks and the losses, and `collect` is the rollout's own loop"""


class Stopwatch:
    """Seconds of each phase, each without the phases within it: of the thread's own time, so that what else the machine
    does counts little."""

    def __init__(self, clock: Callable[[], float] = time.thread_time):
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        """Forget what was measured; whatever phases are under way go on."""
        self.seconds: dict[str, float] = defaultdict(float)
        self._under_way = getattr(self, "_under_way", [OTHER])
        self._since = self._clock()

    def _switch(self) -> None:
        now = self._clock()
        self.seconds[self._under_way[-1]] += now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """Seconds by phase since the restart; together they are all of the time."""
        self._switch()
        return dict(self.seconds)

    def timed(self, phase: str, function: Callable) -> Callable:
        """The function, its time told to the phase."""

        @wraps(function)
        def within(*arguments: object, **named: object):
            self._switch()
            self._under_way.append(phase)
            try:
                return function(*arguments, **named)
            finally:
                self._switch()
                self._under_way.pop()

        return within


@contextmanager
def hooked(stopwatch: Stopwatch, hooks: Mapping[str, Sequence[str]] = HOOKS) -> Iterator[None]:
    """Time the functions of each phase for as long as the block lasts. Raises AttributeError where one is not there."""
    with ExitStack() as stack:
        for phase, names in hooks.items():
            for name in names:
                owner, attribute = _found(name)
                stack.enter_context(replaced(owner, attribute, partial(stopwatch.timed, phase)))
        yield


@contextmanager
def replaced(owner: object, attribute: str, make: Callable[[Callable], Callable]) -> Iterator[None]:
    """Put `make(function)` in the place of a function of a module or a class, for as long as the block lasts.

    Raises AttributeError where the owner has none of this name.
    """
    own = attribute in vars(owner)
    before = inspect.getattr_static(owner, attribute)
    kind = type(before) if isinstance(before, classmethod | staticmethod) else None
    function = make(before.__func__ if kind else before)
    setattr(owner, attribute, kind(function) if kind else function)
    try:
        yield
    finally:
        if own:
            setattr(owner, attribute, before)
        else:
            delattr(owner, attribute)


def _found(name: str) -> tuple[object, str]:
    """The module or class that holds a function, and its name there."""
    module, _, path = name.partition(":")
    owner: object = import_module(module)
    *classes, attribute = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    return owner, attribute
