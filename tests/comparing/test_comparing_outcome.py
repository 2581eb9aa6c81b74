"""How a comparison ends: what is printed and written, and which code it ends with."""

import sys
from pathlib import Path

import pytest
from trials import Fake

from distributed_kd.comparing.outcome import told
from distributed_kd.comparing.trial import State

sys.path.insert(0, str(Path(__file__).parents[1] / "reports"))
from run_folders import make_run
from summaries import student


def ended(name, folder, state, **about):
    trial = Fake(name, state=state, **about)
    trial.folder, trial.log = folder, folder.path.with_suffix(".txt")
    trial.exit_code = trial.code
    return trial


@pytest.fixture
def two(tmp_path):
    return [make_run(tmp_path, seed=seed, label="a", students={"tiny": student(score=0.5 + seed)}) for seed in (0, 1)]


def test_all_are_finished(two, tmp_path, capsys):
    trials = [ended(f"a s{seed}", folder, State.FINISHED) for seed, folder in enumerate(two)]
    assert told(trials, tmp_path, "python launch.py compare a.toml", 0) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert " tiny     a             2         100   10 %            1.000  0.500 … 1.500 " in shown.out
    assert shown.out.splitlines()[-2:] == [f"report    {tmp_path}/report.html", f"compare   {tmp_path}"]
    assert "python launch.py compare a.toml" in (tmp_path / "report.html").read_text()


def test_what_failed_is_told_and_gives_its_code(two, tmp_path, capsys):
    failed = ended("a s1", two[1], State.FAILED, code=3, why="code 3: the engine stalled.")
    two[1].write_summary({**two[1].read_summary(), "status": "failed"})
    trials = [ended("a s0", two[0], State.FINISHED), failed]
    assert told(trials, tmp_path, "python launch.py compare 'a\x1b.toml'", 0) == 3
    shown = capsys.readouterr()
    assert shown.err == f"error: a s1 failed, code 3: the engine stalled. {two[1].path}.txt has all that it printed\n"
    assert " tiny     a             1 " in shown.out
    assert "1 of 2 runs are finished, and only these are in the table" in shown.out
    assert r"go on     python launch.py compare 'a\x1b.toml'" in shown.out
    assert told(trials, tmp_path, "", 130) == 130, "of a signal the code is the signal's"


def test_nothing_was_finished_nor_begun(tmp_path, capsys):
    class Nowhere:
        path = config_file = tmp_path / "none"

    trials = [ended("a s0", Nowhere, State.FAILED, code=5, why="code 5"), ended("a s1", Nowhere, State.WAITING)]
    assert told(trials, tmp_path, "x", 0) == 5
    shown = capsys.readouterr()
    assert "0 of 2 runs are finished\n" in shown.out
    assert "report" not in shown.out
    assert not list(tmp_path.iterdir())
    assert told([ended("a s0", Nowhere, State.STOPPED, code=75)], tmp_path, "x", 0) == 75
