"""Folders of runs that others made to do harm to whoever reports on them: names are names, wherever they are shown."""

import json
import pickle
from pathlib import Path
from xml.etree import ElementTree

import pytest
from run_folders import curve, make_run
from summaries import student

from distributed_kd.reports.results import main
from distributed_kd.storage.files import CONTROL

HOSTILE = "\x1b[2J\x9b31m<script>alert(1)</script>|../../x\r\n# $\\frac$ <img src=x onerror=alert(1)> ]]>"


class Crafted:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def reported(root: Path, *more: str) -> int:
    pictures = ["--picture", str(root / "sizes.svg"), "--curves", str(root / "curves.svg")]
    return main([str(root / "runs"), *pictures, *more])


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two runs, of which the second tells of itself with hostile names everywhere."""
    root = tmp_path / "runs"
    students = {"a": student(), "b": student(score=0.5, share=0.5)}
    make_run(root, students=students, evaluations=curve(a=(40.0, 58.0), b=(20.0, 30.0)))
    bad = make_run(root, students=students, seed=1, commands=[HOSTILE])
    told = json.loads(bad.summary_file.read_text())
    told["env"] = HOSTILE
    told["students"] = {HOSTILE: student(loss=HOSTILE), "b": student(score=0.5, share=0.5)}
    told["accounting"]["dropped"] = {HOSTILE: 3}
    bad.summary_file.write_text(json.dumps(told))
    evaluation = {name: {"return_mean": 5.0} for name in ("teacher", HOSTILE)} | {"env_steps": 100}
    lines = [json.dumps({"time": 1.0, "env_steps": n, "evaluation": {**evaluation, "env_steps": n}}) for n in (100, 200)]
    bad.metrics_file.write_text("\n".join(lines) + "\n")
    return tmp_path


def test_hostile_names_are_names_in_tables_and_pictures(runs, capsys):
    assert reported(runs) == 0
    told = capsys.readouterr()
    assert "alert(1)" in told.out, "or this test would see nothing"
    for text in (told.out, told.err):
        assert not any(CONTROL.search(line) for line in text.splitlines())
        assert "<" not in text
    for picture in ("sizes.svg", "curves.svg"):
        for element in ElementTree.parse(runs / picture).getroot().iter():
            assert element.tag.rpartition("}")[2].lower() not in ("script", "img", "foreignobject")
            assert not any(name.rpartition("}")[2].lower().startswith("on") for name in element.attrib)
    assert {path.name for path in runs.iterdir()} == {"runs", "sizes.svg", "curves.svg"}, "a name is no path"


@pytest.mark.parametrize("slot", ["config.toml", "summary.json", "metrics.jsonl", "commands.txt"])
def test_a_crafted_pickle_in_a_run_that_is_reported_has_no_effect(slot, runs, capsys):
    mark = runs / "mark"
    (folder,) = (path for path in (runs / "runs").iterdir() if "__s0__" in path.name)
    attack = pickle.dumps(Crafted(mark))
    (folder / slot).write_bytes(b"\n".join([attack, attack, b"{}"]))
    assert reported(runs) == {"config.toml": 2, "summary.json": 4, "metrics.jsonl": 4, "commands.txt": 0}[slot]
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert not any(CONTROL.search(line) for line in told.splitlines())
    assert not mark.exists()
    pickle.loads(attack)  # the attack is a real one
    assert mark.exists()
