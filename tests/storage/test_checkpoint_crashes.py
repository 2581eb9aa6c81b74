"""distributed_kd/storage/checkpoints.py: a crash at every stage of a save, a full disk, no folder."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint_samples import assert_is, parts, saved
from failing_disk import FailingDisk

from distributed_kd.errors import StorageError
from distributed_kd.storage import files, places
from distributed_kd.storage.checkpoints import load_newest, save


class Stop(BaseException):
    """Stands for Ctrl-C, or for the end of the process: nothing may catch it."""


def raising(error: BaseException):
    def fail():
        raise error

    return fail


def stale(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ".tmp-" in path.name]


@pytest.mark.parametrize("cleanup", [True, False], ids=["tidied", "killed"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), Stop()], ids=repr)
def test_a_crash_at_any_stage_leaves_the_one_before_or_the_new_one(tmp_path: Path, error: BaseException, cleanup: bool):
    told = StorageError if isinstance(error, OSError) else type(error)
    k, passed, seen = 0, False, set()
    while not passed:
        k += 1
        folder = saved(tmp_path / str(k), 100)
        done = False
        with pytest.MonkeyPatch.context() as monkeypatch:
            if not cleanup:  # as after kill -9: nothing runs any more
                monkeypatch.setattr(places.shutil, "rmtree", lambda *_, **__: None)
                monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
            disk = FailingDisk(monkeypatch, k, raising(error))
            with contextlib.suppress(told):
                save(folder, 200, parts(200), {}, 1)
                done = True
            passed = disk.left > 0
        step = load_newest(folder).step
        seen.add(step)
        assert_is(folder, step)
        assert step == 200 or not done  # whatever returned is committed
        if cleanup and step == 100:
            assert not stale(folder)
        saved(folder, 300)
        assert_is(folder, 300)
        assert not stale(folder)
    assert seen == {100, 200}
    assert k > 25  # 5 files opened, written and synced, the folders, LATEST


DEATHS = """
import os, sys
from itertools import count
from pathlib import Path
import pytest
from checkpoint_samples import parts, saved
from failing_disk import FailingDisk
from distributed_kd.storage.checkpoints import save

for k in count(1):
    folder = saved(Path(sys.argv[1]) / str(k), 100)
    child = os.fork()
    if child == 0:
        FailingDisk(pytest.MonkeyPatch(), k, lambda: os._exit(9))
        save(folder, 200, parts(200), {}, 1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != 9:
        sys.exit(code)
"""


def test_a_process_that_dies_at_any_stage_leaves_the_one_before_or_the_new_one(tmp_path: Path):
    """It ends at each write, fsync, rename and removal, one after the other, and nothing of it runs any more."""
    here = Path(__file__).parent
    path = {**os.environ, "PYTHONPATH": f"{here.parents[1]}:{here}"}
    words = [sys.executable, "-c", DEATHS, tmp_path]
    ended = subprocess.run(words, env=path, capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stderr) == (0, "")
    folders = sorted(tmp_path.iterdir(), key=lambda folder: int(folder.name))
    steps = []
    for folder in folders:
        steps.append(load_newest(folder).step)
        assert_is(folder, steps[-1])
        saved(folder, 300)
        assert_is(folder, 300)
        assert not stale(folder)
    assert len(steps) > 30
    assert steps == sorted(steps) and set(steps) == {100, 200}, "once it stands it stays"


def test_an_old_checkpoint_that_stays_does_not_end_the_run(tmp_path: Path, monkeypatch, caplog):
    saved(tmp_path, 100)
    replace = os.replace

    def stubborn(source, target):
        if Path(source).name == "step-100":
            raise PermissionError(13, "Permission denied")
        replace(source, target)

    monkeypatch.setattr(os, "replace", stubborn)
    save(tmp_path, 200, parts(200), {}, 1)
    assert "an old checkpoint could not be removed" in caplog.text
    monkeypatch.undo()
    save(tmp_path, 300, parts(300), {}, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", "step-300"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from distributed_kd.errors import StorageError
from distributed_kd.storage.checkpoints import save

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save(Path(sys.argv[1]), 200, {"learner": {"weights": np.ones(1_000_000)}}, {}, 3)
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_full_disk_is_one_line_and_costs_no_checkpoint(tmp_path: Path):
    folder = saved(tmp_path / "checkpoints", 100)
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    run = subprocess.run([sys.executable, "-c", FULL_DISK, folder], capture_output=True, text=True, timeout=60)
    assert run.returncode == 7, run.stderr
    assert run.stderr == ""
    assert run.stdout.count("\n") == 1
    assert run.stdout.startswith(f"a checkpoint could not be written (path={folder}): File too large. ")
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    assert_is(folder, 100)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_device_without_space_is_a_storage_error(tmp_path: Path, monkeypatch):
    folder = saved(tmp_path, 100)
    monkeypatch.setattr(files, "open", lambda *_: Path("/dev/full").open("wb"), raising=False)  # noqa: SIM115
    with pytest.raises(StorageError, match=r"No space left on device\. Free some space"):
        saved(folder, 200)
    assert_is(folder, 100)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a checkpoint could not be written"):
        saved(tmp_path / "file" / "checkpoints", 1)
