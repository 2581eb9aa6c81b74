"""What an environment gives that cannot be learned from, as a `Fault` that is told and counted."""

import math
import traceback

import numpy as np
from numpy.typing import NDArray

from distributed_kd.records import Fault

LARGEST = float(np.finfo(np.float32).max)
"""of a reward, which is stored as float32"""


class NoStep(Exception):
    """What an environment gave is no observation, or no reward."""

    def __init__(self, reason: str, why: str):
        self.reason = reason
        super().__init__(why)


def checked(observation: object, like: NDArray) -> NDArray:
    """An observation as it will be stored, of the shape and, where that is a float, of the type of `like`.

    Raises NoStep where it has another shape or is not finite.
    """
    observation = np.asarray(observation)
    if observation.shape != like.shape:
        raise NoStep("env_shape", f"an observation has the shape {observation.shape}, not {like.shape}")
    if like.dtype.kind == "f":
        observation = observation.astype(like.dtype, copy=False)
        # A sum costs a third of looking at each number; where it is none, one of them is, or it was too large.
        if not (math.isfinite(np.add.reduce(observation, axis=None)) or np.isfinite(observation).all()):
            raise NoStep("env_nan", "an observation is not finite")
    return observation


def checked_reward(reward: object) -> float:
    """A reward as a number. Raises NoStep where it is not finite, TypeError or ValueError where it is none."""
    value = float(reward)
    if not -LARGEST <= value <= LARGEST:
        raise NoStep("env_nan", f"a reward is not finite: {value}")
    return value


def fault_of(error: Exception, lane: int, seed: int, steps: int) -> Fault:
    """What was raised in a lane's episode of that seed, at the cost of so many steps."""
    if isinstance(error, NoStep):
        return Fault(error.reason, lane, seed, str(error), steps)
    return Fault("env_error", lane, seed, told(error), steps)


def told(error: Exception) -> str:
    """What an exception says, and the place that it was raised from."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    where = next((line.strip() for line in reversed(lines) if line.strip().startswith("File ")), "")
    return f"{type(error).__name__}: {error} {where}".strip()
