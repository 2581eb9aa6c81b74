"""A run whose replay is several actors: paced, counted, saved and resumed as one."""

import json

import pytest
from launching import launch, run_file

pytestmark = pytest.mark.timeout(300)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_a_run_of_two_shards_goes_on_from_its_checkpoint(tmp_path):
    file = run_file(tmp_path, env_steps=2_000)
    made = ["--replay.shards", 2, "--replay.prioritized", "true", "--rollouts.actors", 1, "--out", "run"]
    for words, steps in (("train", file, *made), 2_000), (("resume", "run", "--stop.env_steps", 3_000), 3_000):
        ended = launch(*words, cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        told = summary(tmp_path / "run")
        replay, account = told["replay"], told["accounting"]
        assert account["generated"] == account["accepted"] >= steps
        assert account["unknown"] == 0
        assert replay["inserted"] == replay["size"] + replay["evicted"] == account["accepted"]
        assert replay["evicted"] > 0, "both rings went round"
        assert replay["samples_per_insert"] == pytest.approx(4.0, rel=0.01)
        assert replay["sampled"] == replay["prioritised"] + replay["late_priorities"] == 32 * told["updates"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    charts = [line["charts"] for line in lines if "charts" in line]
    assert any(0 < one.get("sample_age_rows", 0) < 5_000 for one in charts)
    assert any(one.get("replay_store_seconds", 0) > 0 for one in charts)
