"""What a run does beside learning, a table each: scores, checkpoints, actors that are replaced, trackers that are told."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from distributed_kd.checks import above_zero, at_least
from distributed_kd.errors import Problem

URL = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://\S+|file:///\S+")


@dataclass(frozen=True)
class EvaluationConfig:
    """Full greedy episodes on seeds of their own."""

    episodes: int = 20
    """episodes for each policy"""
    every_seconds: float = 15.0
    """time between two evaluations while training; 0 = only at the end"""
    every_env_steps: int = 0
    """environment steps between two, in place of time: curves that can be compared, and repeat to the bit; 0 = by time"""

    def problems(self, key: str = "evaluation") -> Iterator[Problem]:
        yield from at_least(f"{key}.episodes", self.episodes, 2, "bad number of episodes")
        for name in ("every_seconds", "every_env_steps"):
            yield from at_least(f"{key}.{name}", getattr(self, name), 0, "bad interval")


@dataclass(frozen=True)
class CheckpointConfig:
    """What a resumed run starts from."""

    every_seconds: float = 60.0
    """time between two checkpoints; 0 = only at the end"""
    keep: int = 3
    """checkpoints kept"""
    to: str = ""
    """an empty place of the run's own, by a URL that fsspec knows, such as s3://BUCKET/PREFIX; "" = in the run's folder"""

    def problems(self, key: str = "checkpoint") -> Iterator[Problem]:
        yield from at_least(f"{key}.every_seconds", self.every_seconds, 0, "bad interval")
        yield from at_least(f"{key}.keep", self.keep, 1, "bad number of checkpoints")
        if "@" in self.to or "?" in self.to:
            why, fix = "it would stand in config.toml", "Give credentials in the environment, as the store expects them"
            yield Problem("a place with a secret in it", f"{key}.to", "(not shown)", why, fix)
        elif self.to and not URL.fullmatch(self.to):
            why, fix = "it must be a whole URL", f"Set --{key}.to s3://BUCKET/PREFIX or file:///FOLDER"
            yield Problem("bad place for checkpoints", f"{key}.to", repr(self.to), why, fix)


@dataclass(frozen=True)
class SupervisionConfig:
    """How much may go wrong on Ray before a run gives up."""

    restarts: int = 20
    """actors that are replaced, of all kinds together, within `within_seconds`; one more ends the run"""
    within_seconds: float = 600.0
    """seconds that a replaced actor is held against the run"""

    def problems(self, key: str = "supervision") -> Iterator[Problem]:
        yield from at_least(f"{key}.restarts", self.restarts, 0, "bad number of restarts")
        yield from above_zero(f"{key}.within_seconds", self.within_seconds, "bad span of time")


@dataclass(frozen=True)
class TrackingConfig:
    """Who else is told of the metrics; their own environment variables say where."""

    wandb: bool = False
    """Weights & Biases, as `wandb login` and WANDB_PROJECT say"""
    mlflow: bool = False
    """MLflow, at MLFLOW_TRACKING_URI"""

    @property
    def names(self) -> tuple[str, ...]:
        """The trackers that are told."""
        return tuple(name for name in ("wandb", "mlflow") if getattr(self, name))
