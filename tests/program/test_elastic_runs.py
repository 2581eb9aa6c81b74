"""Whole runs with `rollouts.actors` as a table, on one machine; clusters that change are in test_changing_cluster.py."""

import tomllib

import pytest
from launching import assert_accounts_add_up, launch, metrics, run_file, summary

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("runner", [pytest.param([], marks=pytest.mark.slow), ["--runner", "inline"]], ids=["ray", "inline"])
def test_those_that_never_find_room_are_no_harm(runner, tmp_path):
    words = ["--rollouts.actors.min", 1, "--rollouts.actors.max", 500, "--replay.samples_per_insert", 4, *runner]
    run = launch("train", run_file(tmp_path), *words, "--out", "run", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    told = summary(tmp_path / "run")
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=32)
    assert sum(told["accounting"]["restarts"].values()) == 0
    there = [line["charts"]["rollouts"] for line in metrics(tmp_path / "run") if "charts" in line]
    assert there[-1] == 1 if runner else 1 <= there[-1] < 500
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert config["rollouts"]["actors"] == {"min": 1, "max": 500}
