"""What `evaluate` prints."""

import json

import numpy as np

from distributed_kd.maths.statistics import bootstrap_ci95
from distributed_kd.reports.shown import return_form
from distributed_kd.rollouts.evaluation import Played


def print_played(policy: str, seed: int, played: Played, as_json: bool) -> None:
    """One line, or one JSON object, about full episodes of a policy."""
    mean, (low, high) = float(np.mean(played.returns)), bootstrap_ci95(played.returns)
    if as_json:
        told = {"policy": policy, "seed": seed, "episodes": len(played.returns), "return_mean": mean,
                "return_ci95": [low, high], "returns": list(played.returns), "lengths": list(played.lengths)}  # fmt: skip
        print(json.dumps(told))
    else:
        form = return_form(mean, low, high)
        print(
            f"{policy}: return {mean:{form}} (95 % interval {low:{form}} … {high:{form}}) over "
            f"{len(played.returns)} episodes of {np.mean(played.lengths):.0f} steps in the mean"
        )
