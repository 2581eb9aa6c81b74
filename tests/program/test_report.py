"""`report` as a user types it, and the page that `train` leaves; what is on the page is tested in tests/reports."""

import shutil

import pytest
from launching import launch, run_file, strict

from distributed_kd import cli


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two tiny runs of a file, seeds 0 and 1; the last one's output."""
    place = tmp_path_factory.mktemp("reports")
    source = run_file(place)
    for seed in (0, 1):
        out = f"runs/CartPole-v1__tiny__s{seed}__20260101T000000Z"
        ended = launch("train", source, "--runner", "inline", "--seed", seed, "--out", out, cwd=place)
        assert (ended.returncode, ended.stderr) == (0, "")
    return place, ended.stdout


def test_train_leaves_a_page_and_says_where(runs):
    place, out = runs
    page = place / "runs" / "CartPole-v1__tiny__s1__20260101T000000Z" / "report.html"
    assert out.splitlines()[-1] == f"report    {page.relative_to(place)}"
    text = page.read_text()
    assert "How small can the network be?" in text
    assert text.count("Decision map of ") == 3, "of the teacher and both students"
    assert "cores" in strict((page.parent / "machine.json").read_text())


def test_report_over_a_folder_of_runs(runs, monkeypatch, capsys):
    place, _ = runs
    monkeypatch.chdir(place)
    assert cli.main(["report", "runs", "--out", "told"]) == 0
    told = capsys.readouterr()
    assert (told.out.split(), told.err) == (["told/report.html", "told/report.csv", "told/report.json"], "")
    (group,) = strict((place / "told" / "report.json").read_text())["groups"]
    assert [run["status"] for run in group["runs"]] == ["finished", "finished"]
    assert {len(one["scores"]) for one in group["policies"]} == {2}
    assert "python launch.py report runs --out told" in (place / "told" / "report.html").read_text()


def test_without_out_it_goes_into_the_folder_itself(runs, tmp_path, monkeypatch, capsys):
    place, _ = runs
    copy = tmp_path / "copy"
    shutil.copytree(place / "runs", copy)
    assert cli.main(["report", str(copy)]) == 0
    assert (copy / "report.html").is_file()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["report", *map(str, sorted(copy.glob("*tiny*")))]) == 0
    assert (tmp_path / "report.csv").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report"], "the following arguments are required: DIR"),
        (["report", "nowhere"], "no run (DIR=nowhere): there is no such folder. Give the folder of a run"),
        (["report", "."], "no run (DIR=.): there is no config.toml at or below it. Train a run first"),
        (["report", ""], "no value (DIR=''): it names no folder"),
        (["report", ".", "--out", ""], "no value (DIR=''): it names no folder"),
        (["report", ".", "--serve"], "unrecognized arguments: --serve"),
    ],
)
def test_what_cannot_be_reported_is_told_in_a_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    told = capsys.readouterr()
    assert told.err.startswith(f"error: {said}") and told.err.count("\n") == 1 and told.out == ""
    assert not list(tmp_path.iterdir())
