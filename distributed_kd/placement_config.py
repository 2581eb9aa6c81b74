"""The table of a run file that says where on a Ray cluster the run's actors stand."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from distributed_kd.checks import at_least
from distributed_kd.errors import Problem

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
LABEL = re.compile(rf"(?:{_PART}/)?{_PART}=!?{_PART}")


@dataclass(frozen=True)
class PlacementConfig:
    """Where on a Ray cluster actors stand, by labels of nodes: KEY=VALUE, or KEY=!VALUE.

    Ray's own are such as ray.io/accelerator-type=H100; `ray start --labels KEY=VALUE` gives more.
    """

    learner: tuple[str, ...] = ()
    """labels of the nodes for learner, replay and evaluation, which stand together"""
    shards: tuple[str, ...] = ()
    """labels of the nodes for the replay's further shards, which are spread"""
    rollouts: tuple[str, ...] = ()
    """labels of the nodes for rollouts, which are spread"""
    wait_minutes: float = 0.0
    """time that an autoscaler may take to bring nodes until there is room for all; then the run begins with what there is"""

    def problems(self, key: str = "placement") -> Iterator[Problem]:
        for name in ("learner", "shards", "rollouts"):
            for label in getattr(self, name):
                if not LABEL.fullmatch(label):
                    why, fix = "a label is KEY=VALUE, or KEY=!VALUE", f"Give for example --{key}.{name} market-type=spot"
                    yield Problem("bad label", f"{key}.{name}", repr(label)[:80], why, fix)
        yield from at_least(f"{key}.wait_minutes", self.wait_minutes, 0, "bad span of time")


def selector(labels: Sequence[str]) -> dict[str, str]:
    """Labels as Ray's schedulers take them."""
    return dict(label.split("=", 1) for label in labels)


def has(there: Mapping[str, str], labels: Sequence[str]) -> bool:
    """Whether a node's labels are what is asked for."""
    wanted = selector(labels).items()
    return all(there.get(key) != value[1:] if value[0] == "!" else there.get(key) == value for key, value in wanted)
