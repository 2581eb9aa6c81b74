"""What happened between two lines of metrics, as what is charted of it."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from distributed_kd.memory import resident


@dataclass
class Window:
    """Counts since the last line of metrics, in steps, updates and seconds."""

    began: float
    """time.monotonic()"""
    env_steps: int = 0
    updates: int = 0
    busy: float = 0.0
    waited: float = 0.0
    waits: int = 0
    collecting: float = 0.0
    store_waits: list[float] = field(default_factory=list)
    ages: list[tuple[float, int]] = field(default_factory=list)
    lags: list[int] = field(default_factory=list)
    returns: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    lengths: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    losses: dict[str, dict[str, float]] = field(default_factory=dict)
    resident: dict[str, int] = field(default_factory=dict)

    def charts(self, rollouts: int) -> dict[str, float]:
        """Rates, shares and means over the window until now, in which so many rollouts were there."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        charts = {
            "env_steps_per_second": self.env_steps / seconds,
            "updates_per_second": self.updates / seconds,
            "learner_busy_share": self.busy / seconds,
            "learner_wait_share": self.waited / seconds,
            "rollouts_wait_share": max(0.0, 1.0 - self.collecting / (seconds * max(rollouts, 1))),
        }
        sizes = {"driver": resident(), **self.resident}
        charts |= {f"memory_{kind}_mb": count / 2**20 for kind, count in sizes.items()}
        if self.lags:
            charts["policy_lag_updates"] = float(np.mean(self.lags))
        if self.ages:
            ages, updates = zip(*self.ages, strict=True)
            charts["sample_age_rows"] = float(np.average(ages, weights=updates))
        if self.waits:
            charts["replay_answer_seconds"] = self.waited / self.waits
        if self.store_waits:
            charts["replay_store_seconds"] = float(np.mean(self.store_waits))
        return charts

    def episodes(self) -> dict[str, dict[str, float]]:
        """Of the episodes that ended, by the policy that played them."""
        return {
            name: {
                "return_mean": float(np.mean(returns)),
                "length_mean": float(np.mean(self.lengths[name])),
                "count": len(returns),
            }
            for name, returns in self.returns.items()
        }
