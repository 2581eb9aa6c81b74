"""`report` as a user types it, and the page that `train` leaves; what is on the page is tested in tests/reports."""

import shutil

import pytest
from launching import strict

from distributed_kd import cli


@pytest.fixture(scope="module")
def runs(finished, tmp_path_factory):
    """A folder that holds the finished run, and a copy of it as another seed's."""
    place = tmp_path_factory.mktemp("reports")
    for seed in (3, 4):
        shutil.copytree(finished.folder, place / "runs" / f"CartPole-v1__tiny__s{seed}__20260101T000000Z")
    return place


def test_train_leaves_a_page_and_says_where(finished):
    assert "report    run/report.html" in finished.out.splitlines()
    text = (finished.folder / "report.html").read_text()
    assert "How small can the network be?" in text
    assert text.count("Decision map of ") == 3, "of the teacher and both students"
    for said in ("Rollouts: environment steps a second", "Policy lag", "Age of what is learned from", "seconds waited for"):
        assert f"{said}" in text, said
    assert "cores" in strict((finished.folder / "machine.json").read_text())


def test_report_over_a_folder_of_runs(runs, monkeypatch, capsys):
    monkeypatch.chdir(runs)
    assert cli.main(["report", "runs", "--out", "told"]) == 0
    told = capsys.readouterr()
    assert (told.out.split(), told.err) == (["told/report.html", "told/report.csv", "told/report.json"], "")
    (group,) = strict((runs / "told" / "report.json").read_text())["groups"]
    assert [run["status"] for run in group["runs"]] == ["finished", "finished"]
    assert {len(one["scores"]) for one in group["policies"]} == {2}
    assert "python launch.py report runs --out told" in (runs / "told" / "report.html").read_text()


def test_without_out_it_goes_into_the_folder_itself(runs, tmp_path, monkeypatch):
    (run, *_) = sorted((runs / "runs").iterdir())
    copy = shutil.copytree(run, tmp_path / "copies" / run.name)
    assert cli.main(["report", str(copy.parent)]) == 0
    assert {path.name for path in copy.parent.iterdir()} == {run.name, "report.html", "report.csv", "report.json"}
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", str(copy), str(run)]) == 0
    assert (tmp_path / "report.csv").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report"], "the following arguments are required: DIR"),
        (["report", "nowhere"], "no run (DIR=nowhere): there is no such folder. Give the folder of a run"),
        (["report", "."], "no run (DIR=.): there is no config.toml at or below it. Train a run first"),
        (["report", ""], "no value (DIR=''): it names no folder"),
        (["report", ".", "--out", ""], "no value (DIR=''): it names no folder"),
        (["report", ".", "--serve"], "no run (DIR=.): there is no config.toml at or below it. Train a run first"),
        (["report", ".", "--serve", "--out", "x"], "argument --out: not allowed with argument --serve"),
        (
            ["report", ".", "--port", "80"],
            "option without effect (port=80): a file has no port. Add --serve, or leave it out",
        ),
    ],
)
def test_what_cannot_be_reported_is_told_in_a_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"error: {said}") and told.err.count("\n") == 1 and told.out == ""
    assert not list(tmp_path.iterdir())
