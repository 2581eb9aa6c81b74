"""One finished run on Ray, which many tests then look at."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from launching import launch, run_file


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end, and what it printed."""

    folder: Path
    run_file: Path
    out: str


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Finished:
    """Long enough for checkpoints and evaluations on the way, with a replay small enough to evict."""
    place = tmp_path_factory.mktemp("finished")
    source = run_file(place, env_steps=16_000)
    ended = launch("train", source, "--seed", 3, "--out", "run", cwd=place)
    assert (ended.returncode, ended.stderr) == (0, "")
    return Finished(place / "run", source, ended.stdout)
