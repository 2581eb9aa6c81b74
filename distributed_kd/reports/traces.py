"""What a run told of itself while it went on: its speed, waits and lags over time, out of the lines of its metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distributed_kd.reports import believed
from distributed_kd.reports.curves import Evaluated, evaluation_in

PAUSE = 60.0
"""Seconds without a line that count as one that was stopped and resumed: the clock of a run stands still then"""
POINTS = 300
"""Points of a line in a picture: more would only be a larger file"""
CHARTED = (
    "env_steps_per_second", "updates_per_second", "learner_busy_share", "learner_wait_share", "rollouts_wait_share",
    "replay_answer_seconds", "replay_store_seconds", "sample_age_rows", "policy_lag_updates", "replay_size", "rollouts",
)  # fmt: skip
"""What is kept of a line's charts"""


@dataclass(frozen=True)
class Line:
    """What is kept of a line of metrics.jsonl."""

    time: float
    env_steps: float
    updates: float
    charts: dict[str, float]
    scores: dict[str, dict]
    """the policies of an evaluation, by name"""
    evaluated: Evaluated | None
    parameters: dict[str, float]
    """of each policy, where the line tells of them"""

    @classmethod
    def of(cls, told: dict) -> "Line":
        """Raises what `curves.read_lines` takes for a damaged line."""
        time, env_steps, updates = (believed.figure(told[name]) for name in ("time", "env_steps", "updates"))
        if not (time >= 0 and env_steps >= 0 and updates >= 0):
            raise ValueError("time, env_steps and updates must be numbers of at least 0")
        charts = believed.table(told.get("charts"))
        evaluated = evaluation_in(told)
        if evaluated:
            if not believed.figure(evaluated[0]) >= 0:
                raise ValueError("the environment steps of an evaluation must be a number of at least 0")
            means = list(evaluated[1].items())[: believed.MOST]
            evaluated = evaluated[0], {believed.text(name): believed.figure(mean) for name, mean in means}
        return cls(
            time,
            env_steps,
            updates,
            {name: believed.figure(charts.get(name)) for name in CHARTED if name in charts},
            {name: one for name, one in believed.table(told.get("evaluation")).items() if isinstance(one, dict)},
            evaluated,
            {name: believed.figure(one) for name, one in believed.table(told.get("parameters")).items()},
        )


class Traces:
    """The lines of one run on one clock: seconds since its first line, pauses left out."""

    def __init__(self, lines: Sequence[Line]):
        self.lines = lines
        gaps = np.diff([line.time for line in lines]) if lines else np.empty(0)
        self.seconds = np.concatenate([[0.0], np.cumsum(np.where((gaps < 0) | (gaps > PAUSE), 0.0, gaps))])[: len(lines)]

    def over_time(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Seconds [P] and values [P] of one chart, at most POINTS: of more, the mean of neighbours."""
        known = [(at, line.charts[name]) for at, line in zip(self.seconds, self.lines, strict=True) if name in line.charts]
        known = [(at, value) for at, value in known if value == value]
        if not known:
            return np.empty(0), np.empty(0)
        at, values = np.array(known).T
        parts = np.array_split(np.arange(len(at)), min(POINTS, len(at)))
        return np.array([at[part].mean() for part in parts]), np.array([values[part].mean() for part in parts])

    def seconds_to(self, env_steps: float, wall_seconds: float) -> float:
        """When the run had made so many steps: by its own clock where that is known, which began before the first line."""
        steps = np.maximum.accumulate([line.env_steps for line in self.lines])
        before_end = self.seconds[-1] - float(np.interp(env_steps, steps, self.seconds))
        whole = max(wall_seconds, self.seconds[-1]) if wall_seconds == wall_seconds else self.seconds[-1]
        return whole - before_end
