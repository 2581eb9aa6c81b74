"""distributed_kd/storage/metrics.py: the lines, what TensorBoard's own reader finds, crashes, a full disk."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distributed_kd.errors import StorageError
from distributed_kd.storage import metrics as module
from distributed_kd.storage.metrics import Metrics


def opened(folder: Path) -> Metrics:
    return Metrics(folder / "metrics.jsonl", folder / "tb")


def lines(folder: Path) -> list[dict]:
    def refuse(word: str):
        raise AssertionError(f"{word} is not JSON")

    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n") or not text
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def scalars(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Every tag's (step, wall time, value), as TensorBoard reads them."""
    accumulator = EventAccumulator(str(folder / "tb"), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(e.step, e.wall_time, e.value) for e in accumulator.Scalars(tag)] for tag in tags}


def test_a_line_holds_what_was_given(tmp_path: Path):
    metrics = opened(tmp_path)
    values = {"charts": {"fps": 12.5, "name": "a\x1b[2J\nb"}, "x": math.nan, "y": [math.inf, np.int64(3)], "on": True}
    metrics.write(100, 7, values, 1000.5)
    expected = {"time": 1000.5, "env_steps": 100, "updates": 7, "charts": {"fps": 12.5, "name": "a[2Jb"}}
    assert lines(tmp_path) == [{**expected, "x": None, "y": [None, 3], "on": True}]  # on disk before close
    metrics.close()
    metrics.close()


def test_tensorboard_reads_every_finite_number_at_its_step(tmp_path: Path):
    with opened(tmp_path) as metrics:
        values = {
            "charts": {"env_steps_per_second": 1.0},
            "students": {"a.b-c_1": {"loss": np.float32(0.5)}},
            "word": "x",
        }
        metrics.write(100, 7, {**values, "bad": math.nan, "worse": {"inf": -math.inf}, "flag": True}, 1000.0)
        metrics.write(250, 9, {"charts": {"env_steps_per_second": 2.0}, "odd name/ü": 3}, 1001.0)
    assert scalars(tmp_path) == {
        "charts/env_steps_per_second": [(100, 1000.0, 1.0), (250, 1001.0, 2.0)],
        "students/a.b-c_1/loss": [(100, 1000.0, 0.5)],
        "odd name/ü": [(250, 1001.0, 3.0)],  # SummaryWriter would make it odd_name/ü
    }


def test_events_reach_the_disk_while_the_run_goes_on(tmp_path: Path):
    metrics = opened(tmp_path)
    metrics.write(1, 0, {"x": 1.0}, 1000.0)
    assert scalars(tmp_path) == {"x": [(1, 1000.0, 1.0)]}
    metrics.write(2, 0, {"x": 2.0}, 1000.0 + module.TB_FLUSH_SECONDS)
    assert len(scalars(tmp_path)["x"]) == 2
    metrics.close()


def test_opened_again_at_once_both_parts_are_kept(tmp_path: Path):
    for step in (1, 2, 3):
        with opened(tmp_path) as metrics:
            metrics.write(step, 0, {"x": float(step)}, 1000.0 + step)
    assert [line["env_steps"] for line in lines(tmp_path)] == [1, 2, 3]
    assert len(list((tmp_path / "tb").iterdir())) == 3  # all of one second
    assert [step for step, _, _ in scalars(tmp_path)["x"]] == [1, 2, 3]


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"", b""),
        (b'{"a":', b""),
        (b"\x80\x04\x95 a pickle", b""),
        (b'{"a": 1}\n', b'{"a": 1}\n'),
        (b'{"a": 1}\n{"b": ', b'{"a": 1}\n'),
        (b'{"a": 1}\n\n{"b": 2}\n' + b"\x00" * 50, b'{"a": 1}\n\n{"b": 2}\n'),
    ],
)
def test_a_torn_last_line_is_cut_off(tmp_path: Path, monkeypatch, content: bytes, kept: bytes, block: int):
    monkeypatch.setattr(module, "_BLOCK", block)
    (tmp_path / "metrics.jsonl").write_bytes(content)
    with opened(tmp_path) as metrics:
        assert (tmp_path / "metrics.jsonl").read_bytes() == kept
        metrics.write(5, 0, {}, 1.0)
    assert (tmp_path / "metrics.jsonl").read_bytes() == kept + b'{"time": 1.0, "env_steps": 5, "updates": 0}\n'


def test_the_fixed_names_are_not_for_values(tmp_path: Path):
    with opened(tmp_path) as metrics, pytest.raises(ValueError, match="updates"):
        metrics.write(1, 1, {"updates": 2}, 0.0)
    assert lines(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path: Path):
    with pytest.raises(StorageError, match="the metrics could not be written"):
        Metrics(tmp_path / "missing" / "metrics.jsonl", tmp_path / "tb")
    (tmp_path / "tb").write_text("a file")
    with pytest.raises(StorageError, match="the metrics could not be written"):
        opened(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("full", ["lines", "events"])
def test_a_full_disk_is_a_storage_error_at_once(tmp_path: Path, full: str):
    metrics = opened(tmp_path)
    if full == "lines":
        metrics._file = Path("/dev/full").open("wb")  # noqa: SIM115
    else:
        metrics._tb._py_recordio_writer._writer = Path("/dev/full").open("wb")  # noqa: SIM115
    with pytest.raises(StorageError, match=r"No space left on device\. Free some space"):
        metrics.write(1, 1, {"x": 1.0}, 0.0)
    with pytest.raises(StorageError):  # what could not be written is said again, not dropped
        metrics.close()
    metrics.close()
