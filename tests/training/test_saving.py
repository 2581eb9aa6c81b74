"""Checkpoints beside the loop: one at a time, errors that reach the loop, what they cost, and going back to one."""

import json
import logging
import threading
from dataclasses import replace

import numpy as np
import pytest
from journals import CONFIG, SPEC, journal, receipt, report

from distributed_kd import run_file
from distributed_kd.config import CheckpointConfig
from distributed_kd.errors import InternalError, StorageError
from distributed_kd.storage import checkpoints
from distributed_kd.storage.checkpoints import load_newest
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.training import saving, timer
from distributed_kd.training.parts import Parts
from distributed_kd.training.run import Runner, execute
from distributed_kd.training.saving import Saved, Saving

NOW = 1_000.0


class Disk:
    """Stands before `checkpoints.save`: a write waits until it is let through, or fails where it is told to."""

    def __init__(self):
        self.lets_through, self.under_way, self.at_once, self.most_at_once = threading.Event(), threading.Event(), 0, 0
        self.error: Exception | None = None
        self.written_by: list[int] = []
        self._save, self._lock = checkpoints.save, threading.Lock()

    def save(self, *arguments):
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.written_by.append(threading.get_ident())
            self.under_way.set()
            assert self.lets_through.wait(60)
            if self.error:
                raise self.error
            return self._save(*arguments)
        finally:
            with self._lock:
                self.at_once -= 1


@pytest.fixture
def disk(monkeypatch):
    made = Disk()
    monkeypatch.setattr(checkpoints, "save", made.save)
    yield made
    made.lets_through.set()


@pytest.fixture
def clock(monkeypatch):
    """Time stands still but for what a test adds to `clock[0]`."""
    now = [NOW]
    for module in (saving, timer):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def told():
    return []


@pytest.fixture
def made(tmp_path, told):
    one = Saving(tmp_path, CheckpointConfig(every_seconds=1e-9, keep=3), told.append)
    yield one
    one.close()


def state(step: int) -> dict:
    return {"learner": {"weights": np.full(4, step, np.float32)}}


def committed(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("step-") and ".tmp-" not in path.name)


def test_the_loop_goes_on_and_the_next_one_waits(made, disk, tmp_path, told):
    made.save(1, state(1), {}, None, aside=True)
    assert disk.under_way.wait(60)
    assert not made.is_due and not made.is_due, "one is being written"
    assert (committed(tmp_path), told, made.has_committed) == ([], [], False)
    disk.lets_through.set()
    made.save(2, state(2), {}, None, aside=True)  # it waits for the one before
    assert committed(tmp_path)[0] == "step-1" and [saved.step for saved in told] == [1]
    made.wait()
    assert [saved.step for saved in told] == [1, 2]
    assert made.is_due and made.has_committed
    assert disk.most_at_once == 1
    assert threading.get_ident() not in disk.written_by
    assert load_newest(tmp_path).parts["learner"]["weights"].tolist() == [2.0] * 4


def test_not_aside_it_is_committed_by_this_thread(made, tmp_path, told, disk):
    disk.lets_through.set()
    made.save(7, state(7), {}, None, aside=False)
    assert committed(tmp_path) == ["step-7"]
    assert disk.written_by == [threading.get_ident()]
    size = sum(file.stat().st_size for file in (tmp_path / "step-7").glob("learner.*"))
    assert [(saved.step, saved.bytes, saved.stall_seconds) for saved in told] == [(7, size, 0.0)]


@pytest.mark.parametrize("ask", ["is_due", "wait", "save"])
def test_an_error_reaches_the_loop_once(ask, made, disk, tmp_path, told):
    disk.lets_through.set()
    made.save(1, state(1), {}, None, aside=False)
    disk.error = StorageError("a checkpoint could not be written (path=p): No space left on device. Free some space there")
    made.save(2, state(2), {}, None, aside=True)
    made._under_way.exception(60)  # wait for its end without hearing of it
    with pytest.raises(StorageError, match="No space left"):
        made.is_due if ask == "is_due" else made.wait() if ask == "wait" else made.save(3, state(3), {}, None, aside=True)
    disk.error = None
    assert committed(tmp_path) == ["step-1"] and [saved.step for saved in told] == [1]
    assert made.is_due, "it is told once"


def test_a_fault_of_the_program_in_the_thread_is_not_lost_either(made):
    made.save(1, {"learner": {"weights": b"bytes"}}, {}, None, aside=True)
    with pytest.raises(TypeError, match="learner/weights: bytes"):
        made.wait()


def test_at_the_end_an_error_is_told_in_a_warning(made, disk, caplog):
    disk.error = StorageError("no space")
    made.save(1, state(1), {}, None, aside=True)
    disk.lets_through.set()
    with caplog.at_level(logging.WARNING):
        made.close()
    assert [record.getMessage() for record in caplog.records] == ["warning: no space"]


def test_what_the_learner_stood_still_is_its_time_without_the_writing(made, disk, clock, told):
    clock[0] = NOW + 2.0
    made.save(1, state(1), {}, NOW, aside=True)  # its states were taken for 2 s, and it goes on
    assert disk.under_way.wait(60)
    clock[0] = NOW + 32.0
    disk.lets_through.set()
    made.wait()
    made.save(2, state(2), {}, NOW + 29.0, aside=False)  # 3 s until here; the clock stands while this is written
    assert [(saved.stall_seconds, saved.seconds) for saved in told] == [(2.0, 30.0), (3.0, 0.0)]


def test_the_next_one_is_put_off_so_that_a_tenth_is_the_most(made, disk, clock):
    """Of 20 s from the end of one stall of 2 s to the end of the next, 18 s are learned in."""
    disk.lets_through.set()
    clock[0] = NOW + 2.0
    made.save(1, state(1), {}, NOW, aside=True)
    made.wait()
    clock[0] = NOW + 2.0 + 17.9
    assert not made.is_due
    clock[0] = NOW + 2.0 + 18.1
    assert made.is_due


def test_costs_are_added_up():
    costs = saving.Costs()
    empty = {"count": 0, "last_step": None, "last_bytes": None, "largest_stall_seconds": 0.0, "stall_share": 0.0}
    assert costs.told(0.0) == empty
    for one in (Saved(10, 1_000, 5.0, 0.5), Saved(20, 1_100, 4.0, 1.5), Saved(30, 1_200, 1.0, 0.0)):
        costs.take(one)
    expected = {"count": 3, "last_step": 30, "last_bytes": 1_200, "largest_stall_seconds": 1.5, "stall_share": 2.0 / 40.0}
    assert costs.told(40.0) == expected


def test_before_the_first_update_the_learner_stands_still_for_nothing(tmp_path):
    made = journal(tmp_path)
    made.saved(Saved(0, 1_000, 5.0, 2.0))
    made.learned(report(5, 5, started=100.0, ended=110.0))
    made.saved(Saved(5, 1_000, 5.0, 0.5))
    told = made.checkpoints()
    assert (told["count"], told["largest_stall_seconds"], told["stall_share"]) == (2, 0.5, 0.05)


class Loop:
    """A runner whose loop is the function given; keeps the run."""

    def __init__(self, drive):
        self._drive = drive

    def __call__(self, run):
        self.run = run
        run.journal.resumed(0, {}, receipt())
        return self._drive(run)


def drive(folder, loop, config=CONFIG):
    with RunFolder.create(folder, run_file.encode(config)) as made:
        return execute(Parts(config, SPEC), made, Runner("by hand", Loop(loop), goes_on_exactly=False))


def learned(run, updates: int) -> None:
    run.journal.learned(report(updates, updates - run.journal.updates))


def test_going_back_waits_for_the_one_that_is_being_written(tmp_path, disk):
    """It is the newest then; what is not committed is never gone back to."""

    def loop(run):
        wait = run._saving.wait

        def let_through():
            disk.lets_through.set()
            wait()

        learned(run, 5)
        run.save(None, aside=True, **state(5))
        assert disk.under_way.wait(60)
        assert run.restored is None
        run._saving.wait = let_through
        run.rewind()
        assert (run.restored.step, run.incarnation) == (5, 1)

    told, code = drive(tmp_path / "run", loop)
    assert (code, told["checkpoints"]["count"], told["checkpoints"]["last_step"]) == (0, 1, 5)


def test_going_back_to_one_that_could_not_be_written_ends_the_run(tmp_path, disk):
    disk.lets_through.set()

    def loop(run):
        learned(run, 5)
        run.save(None, **state(5))
        disk.error = StorageError("no space")
        learned(run, 9)
        run.save(None, aside=True, **state(9))
        run.rewind()

    with pytest.raises(StorageError, match="no space") as error:
        drive(tmp_path / "run", loop)
    assert error.value.exit_code == 7
    assert load_newest(tmp_path / "run" / "checkpoints").step == 5


def test_before_the_first_one_is_committed_it_goes_back_to_the_beginning(tmp_path):
    def loop(run):
        learned(run, 5)
        run.rewind()
        assert run.restored is None

    assert drive(tmp_path / "run", loop)[1] == 0


def test_a_run_that_breaks_off_lets_the_one_under_way_be_committed(tmp_path, disk):
    def loop(run):
        learned(run, 5)
        run.save(None, aside=True, **state(5))
        assert disk.under_way.wait(60)
        disk.lets_through.set()
        raise InternalError("too much has failed (supervision.restarts=1): rollout 0 died. Mend the cause")

    with pytest.raises(InternalError, match="too much has failed"):
        drive(tmp_path / "run", loop)
    with RunFolder.open(tmp_path / "run") as folder:
        assert load_newest(folder.checkpoints).step == 5
        summary = folder.read_summary()
    assert (summary["status"], summary["checkpoints"]["last_step"]) == ("failed", 5)


def test_each_one_is_a_line_of_metrics(tmp_path):
    def loop(run):
        learned(run, 5)
        run.save(None, aside=True, **state(5))

    drive(tmp_path / "run", loop, replace(CONFIG, checkpoint=CheckpointConfig(every_seconds=0)))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    (line,) = [line for line in lines if "checkpoint_step" in line]
    assert (line["checkpoint_step"], line["checkpoint_stall_seconds"]) == (5, 0.0)
    assert line["checkpoint_bytes"] > 0 and line["checkpoint_seconds"] >= 0
