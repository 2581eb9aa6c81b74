"""reports.benchmarks: bench's files as Markdown."""

import json

import pytest

from distributed_kd.errors import StorageError
from distributed_kd.reports.benchmarks import benchmarks

FIGURE = {"what": "draw", "value": 12_345.6, "unit": "rows/s", "against": "cpprb", "other": None, "ratio": 0.5,
          "goal": "≥ 1", "is_met": False}  # fmt: skip


def written(path, processor="a processor", **figure):
    about = {"processor": processor, "cores": "2 cores", "gpu": "no GPU", "versions": "", "date": "2026-01-01"}
    table = {"title": "Drawing", "how": "In turns.", "figures": [{**FIGURE, **figure}]}
    path.write_text(json.dumps({"replay": {"machine": about, "command": "launch.py bench replay", "tables": [table]}}))
    return path


def test_a_table_says_what_was_measured_on_what(tmp_path):
    text = benchmarks([written(tmp_path / "a.json")])
    assert "| draw | 12,346 rows/s | cpprb | — | 0.5 | ≥ 1 | **missed** |" in text.replace("–", "—")
    assert "`launch.py bench replay`, on a processor, 2 cores" in text


def test_the_last_file_of_one_machine_counts_and_another_machine_stands_beside_it(tmp_path):
    first, again = written(tmp_path / "a.json"), written(tmp_path / "b.json", value=2.0)
    other = written(tmp_path / "c.json", processor="another", value=3.0)
    text = benchmarks([first, again, other])
    assert "12,346" not in text and "| 2 rows/s |" in text and "| 3 rows/s |" in text


@pytest.mark.parametrize("text", ["", "[]", '{"replay": 1}'])
def test_a_file_that_is_none_of_ours_is_named(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(StorageError, match=r"bench=.*x\.json.*Give a file of bench --json"):
        benchmarks([tmp_path / "x.json"])
