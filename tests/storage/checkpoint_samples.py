"""Small checkpoints for the tests of damage and of crashes; the tests themselves live beside this file."""

from pathlib import Path

import numpy as np

from distributed_kd.storage.checkpoints import load_newest, save


def parts(step: int) -> dict:
    return {
        "learner": {"weights": np.full((8, 8), step, np.float32), "updates": step},
        "replay": {"action": np.arange(step), "rng": {"state": 2**100 + step}},
    }


def saved(folder: Path, *steps: int) -> Path:
    for step in steps:
        save(folder, step, parts(step), {"policies": ["teacher"]}, 3)
    return folder


def assert_is(folder: Path, step: int, *skipped: str) -> None:
    """The newest whole checkpoint is that of `step`, complete; `skipped` begin the lines on the others."""
    loaded = load_newest(folder)
    assert loaded.step == step
    expected = parts(step)
    np.testing.assert_array_equal(loaded.parts["learner"]["weights"], expected["learner"]["weights"])
    np.testing.assert_array_equal(loaded.parts["replay"]["action"], expected["replay"]["action"])
    assert loaded.parts["learner"]["updates"] == step
    assert loaded.parts["replay"]["rng"] == expected["replay"]["rng"]
    assert len(loaded.skipped) == len(skipped)
    assert all(line.startswith(start) for line, start in zip(loaded.skipped, skipped, strict=True))
