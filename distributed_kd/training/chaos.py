"""Faults put into a run on purpose, so that anyone can see on their own cluster what becomes of it: `--chaos`.

Which faults, and how often, are words on the command line; when each comes is drawn from the run's seed.
"""

import json
import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from distributed_kd.envs.injected import NOTHING, Injected
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.run_file import nearest
from distributed_kd.training.account import KINDS
from distributed_kd.training.recoveries import Recoveries

SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP}
ENVIRONMENTS = {"raise": "raises", "hang": "hangs", "nan": "nan", "shape": "shape"}
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
RPC_VARIABLE = "RAY_testing_rpc_failure"
RPC_FAILURES = 50
"""Calls that each process loses at most"""
EXAMPLE = "--chaos 'kill=rollout:20s,learner:120s;freeze=rollout:60s;env=raise:0.001,hang:0.0001;rpc=20'"


@dataclass(frozen=True)
class Chaos:
    """What is done to a run: nothing, as it comes."""

    every: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """mean seconds between two of its kind, by (kill or freeze, kind of actor)"""
    env: Injected = NOTHING
    rpc: int = 0
    """percent of the calls between Ray's processes that are lost on the way there, and of their answers on the way back"""

    @classmethod
    def parse(cls, text: str) -> "Chaos":
        """Read `WHAT=WHOM:HOW,...;...`. Raises ConfigurationError for every word that means nothing."""
        problems: list[Problem] = []
        every, chances, rpc = {}, {}, 0
        for part in filter(None, (part.strip() for part in text.split(";"))):
            what, _, given = part.partition("=")
            if what in SIGNALS:
                for kind, value in _pairs(what, given, KINDS, problems):
                    every[what, kind] = _number(f"{what}={kind}", value, "a time such as 20s or 5m", _seconds, problems)
            elif what == "env":
                for fault, value in _pairs(what, given, ENVIRONMENTS, problems):
                    chance = _number(f"env={fault}", value, "a chance above 0 and up to 1", _chance, problems)
                    chances[ENVIRONMENTS[fault]] = chance
            elif what == "rpc":
                rpc = int(_number("rpc", given, "a whole percentage from 1 to 33", _percentage, problems))
            else:
                problems.append(_unknown(what, (*SIGNALS, "env", "rpc")))
        if problems:
            raise ConfigurationError.of(problems)
        return cls(every, Injected(**chances), rpc)

    def __bool__(self) -> bool:
        return bool(self.every or self.env or self.rpc)

    def prepare(self) -> None:
        """Before Ray is started: let it lose calls, where that is asked for."""
        if self.rpc:
            chances = ("req_failure_prob", "resp_failure_prob", "in_flight_failure_prob")
            how = {"num_failures": RPC_FAILURES, **dict.fromkeys(chances, self.rpc)}
            os.environ[RPC_VARIABLE] = json.dumps({"CoreWorkerService.grpc_client.PushTask": how})


CALM = Chaos()


class Strikes:
    """The kills and freezes of a run, one after the other."""

    def __init__(
        self,
        chaos: Chaos,
        seed: np.random.SeedSequence,
        at_work: Callable[[str], Sequence],
        recoveries: Recoveries,
        clock: Callable[[], float] = time.monotonic,
    ):
        """`at_work` gives the actors of a kind that can be struck, as `supervision.Life`."""
        self._every, self._at_work, self._recoveries, self._clock = chaos.every, at_work, recoveries, clock
        self._random = np.random.default_rng(seed)
        self._due: dict[tuple[str, str], float] = {}
        for key in self._every:
            self._wait(key)

    def strike(self) -> None:
        """What is due; where nobody of a kind is at work it waits for half of its time more, or no one would get on."""
        now = self._clock()
        for (what, kind), due in list(self._due.items()):
            if not (there := self._at_work(kind)):
                self._due[what, kind] = max(due, now + self._every[what, kind] / 2)
            if not there or now < due:
                continue
            victim = there[int(self._random.integers(len(there)))]
            self._recoveries.strike(what, victim.key)
            victim.handle.suffer.remote(int(SIGNALS[what]))
            self._wait((what, kind))

    def _wait(self, key: tuple[str, str]) -> None:
        self._due[key] = self._clock() + self._every[key] * self._random.uniform(0.5, 1.5)


def _pairs(what: str, given: str, known: Sequence[str], problems: list[Problem]) -> list[tuple[str, str]]:
    pairs = []
    for word in given.split(","):
        name, _, value = word.strip().partition(":")
        if name in known:
            pairs.append((name, value))
        else:
            problems.append(_unknown(f"{what}={name}", [f"{what}={one}" for one in known]))
    return pairs


def _unknown(word: str, known: Sequence[str]) -> Problem:
    close = nearest(word, known)
    fix = f"Did you mean {close}?" if close else f"Choose from {', '.join(known)}, as in {EXAMPLE}"
    return Problem("unknown fault", "chaos", word, "there is none of this name", fix)


def _number(word: str, given: str, wanted: str, read: Callable[[str], float], problems: list[Problem]) -> float:
    """What `read` makes of the word; NaN, and a problem, where that is nothing."""
    try:
        value = read(given)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        why, fix = f"it must be {wanted}", f"Write it as in {EXAMPLE}"
        problems.append(Problem("bad fault", "chaos", f"{word}:{given}", why, fix))
        return 0.0
    return value


def _seconds(text: str) -> float:
    value = float(text[:-1]) * UNITS.get(text[-1:], math.nan)
    return value if 0.0 < value < math.inf else math.nan


def _chance(text: str) -> float:
    value = float(text)
    return value if 0.0 < value <= 1.0 else math.nan


def _percentage(text: str) -> float:
    value = int(text)
    return value if 0 < value <= 33 else math.nan
