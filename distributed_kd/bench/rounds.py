"""Measuring side by side: what is compared takes turns, so that a slow minute of the machine is shared by all."""

import time
from collections.abc import Callable, Mapping

import numpy as np

from distributed_kd.bench.figures import Figure, Options

Turn = Callable[[], float]
"""Does its work for about a turn and gives the value measured: a rate or a time"""
Rounds = dict[str, list[float]]


def interleaved(turns: Mapping[str, Turn], options: Options) -> Rounds:
    """The values of each over the rounds; the first round warms up and is not counted."""
    values: Rounds = {name: [] for name in turns}
    for number in range(options.repeats + 1):
        for name, turn in turns.items():
            value = turn()
            if number:
                values[name].append(value)
    return values


def rate(work: Callable[[], int], seconds: float) -> float:
    """Units a second of `work`, which is called until so many seconds are over and tells how many units it did."""
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        done += work()
    return done / took


def each(work: Callable[[], object], seconds: float) -> float:
    """Mean seconds of one call of `work`."""
    return 1.0 / rate(lambda: (work(), 1)[1], seconds)


def compared(what: str, unit: str, rounds: Rounds, ours: str, other: str = "", scale: float = 1.0, **goals: float) -> Figure:
    """A figure of `ours`, beside `other` where it is named: medians, and the median of the ratios of each round."""
    value = float(np.median(rounds[ours])) * scale
    if not other:
        return Figure(what, value, unit, **goals)
    ratio = float(np.median(np.array(rounds[ours]) / np.array(rounds[other])))
    return Figure(what, value, unit, other, float(np.median(rounds[other])) * scale, ratio, **goals)
