"""The report over runs: its page section by section, its CSV and its JSON."""

import base64
import csv
import hashlib
import json
import re

import pytest
from run_folders import curve, make_run
from summaries import student
from test_hostile_reports import Elements

from distributed_kd.errors import StorageError
from distributed_kd.reports.report import write_page, write_report
from distributed_kd.reports.reported import read_runs
from distributed_kd.reports.sections import differences, sizes_compared
from distributed_kd.reports.standings import Group


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A report on two finished seeds, a failed one, and one run of another environment."""
    root = tmp_path_factory.mktemp("reported")
    students = {"a": student(500, 0.97, 0.5), "b": student(500, 0.6, 0.5, loss="mse"), "c": student(20, 0.3, 0.02)}
    for seed in (0, 1):
        make_run(root / "runs", seed=seed, students=students, evaluations=curve(a=(40.0, 58.0), b=(20.0, 30.0)),
                 commands=[f"python launch.py train losses --seed {seed}"])  # fmt: skip
    failed = make_run(root / "runs", seed=2, students=students, status="failed")
    summary = json.loads(failed.summary_file.read_text())
    summary["accounting"] |= {"restarts": {"rollout": 3}, "recovery_seconds": {"rollout": {"p50": 4.5, "max": 9.0}}}
    summary["invariants"]["I3"] = 2
    failed.summary_file.write_text(json.dumps(summary))
    failed.note_machine({"processor": "a processor", "cores": "2 cores"})
    make_run(root / "runs", env="Other-v1", label="other", students={"z": student(score=0.99)})
    write_report([root / "runs"], root / "out", "python launch.py report runs --out out")
    return root / "out"


@pytest.fixture(scope="module")
def page(told):
    return Elements((told / "report.html").read_text())


def test_the_answers_stand_on_top(page):
    first = page.text.index("How small can the network be?", page.text.index("}"))
    top = page.text[first : page.text.index("Policies")]
    assert "64x64, 50 % of the parameters, keeps 97 %" in top
    assert "64x64, 10 % of the parameters, keeps 99 %" in top
    assert "Not all runs are finished: 1 failed. " in top


def test_every_picture_is_told_in_words(page):
    pictures = [attributes["aria-label"] for tag, attributes in page.found if tag == "svg"]
    for start in ("Normalised score against size", "Normalised score against time", "Learning curves", "Scores by loss",
                  "Performance profile"):  # fmt: skip
        assert any(label.startswith(start) for label in pictures), start
    assert any("a: 50 % of the parameters, score 0.97" in label for label in pictures)


def test_every_column_of_the_table_sorts_by_numbers(page):
    values = [attributes["data-value"] for _, attributes in page.found if "data-value" in attributes]
    assert {"a", "kl (0.01)", "500.0", "0.97", "0.02"} <= set(values)
    assert sum(tag == "button" for tag, _ in page.found) == 2 * 13, "a heading each, in two tables"


def test_runs_that_failed_are_shown_with_what_befell_them(page):
    for said in ("failed", "1,234 = 1,200 + 34 + 0", "restarts: rollout 3", "rollout back at work after 4.5 s (median)",
                 "what must hold of the data did not: I3 (2 x)", "dropped steps: duplicate 30, fenced 4"):  # fmt: skip
        assert said in page.text, said


def test_how_it_was_made(page):
    for said in ("python launch.py train losses --seed 1", "python launch.py report runs --out out", "a processor, 2 cores",
                 "Acrobot-v1, losses: 0, 1, 2"):  # fmt: skip
        assert said in page.text, said


def test_why_networks_were_not_looked_into(page):
    assert "no checkpoint to start from" in page.text


def test_nothing_but_its_own_style_and_script_is_allowed(told):
    """The policy names the hashes of the two, as a browser computes them."""
    page = (told / "report.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#x27;", "'")
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy and "http" not in policy
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org/)", page), "no address to load from"


def test_the_csv_has_a_row_for_each_policy_of_each_run(told):
    rows = list(csv.DictReader((told / "report.csv").open()))
    assert [(row["label"], row["seed"], row["policy"]) for row in rows[:5]] == [
        ("losses", "0", "teacher"), ("losses", "0", "a"), ("losses", "0", "b"), ("losses", "0", "c"),
        ("losses", "1", "teacher"),
    ]  # fmt: skip
    assert len(rows) == 3 * 4 + 2
    assert (rows[1]["normalised_score"], rows[1]["loss"], rows[1]["steps_to_95"], rows[2]["steps_to_95"]) == (
        "0.97", "kl", "200", "",
    )  # fmt: skip
    assert {row["status"] for row in rows} == {"finished", "failed"}


def test_the_json_has_the_same_and_the_statistics(told):
    read = json.loads((told / "report.json").read_text())
    losses, other = read["groups"]
    assert (losses["label"], losses["best"], other["best"]) == ("losses", "a", "z")
    assert [one["policy"] for one in losses["policies"]] == ["teacher", "a", "b", "c"]
    assert losses["policies"][1]["scores"] == [0.97, 0.97]
    assert losses["teacher_return"] == {"mean": 60.0, "low": 60.0, "high": 60.0, "random": 10.0}
    assert [run["status"] for run in losses["runs"]] == ["finished", "finished", "failed"]
    assert len(losses["rows"]) == 12 and read["unreadable"] == []


def test_losses_are_compared_where_sizes_are_the_same(tmp_path):
    students = {
        "a": student(50),
        "b": student(50, loss="mse"),
        "c": student(20),
        "d": student(20),
        "e": student(9),
    }
    make_run(tmp_path, students=students, config={"students": {"d": {"temperature": 1.0}}})
    group = Group.of("Acrobot-v1", "losses", read_runs([tmp_path])[0])
    assert sizes_compared(group) == [50, 20]


def test_runs_that_differ_in_more_than_the_seed_are_told_of(tmp_path):
    make_run(tmp_path, seed=0)
    make_run(tmp_path, seed=1, config={"seed": 1})
    make_run(tmp_path, seed=2, config={"seed": 2, "replay": {"batch_size": 7}})
    assert differences(Group.of("Acrobot-v1", "losses", read_runs([tmp_path])[0])) == ["replay.batch_size"]


def test_the_page_of_one_run_lies_in_its_folder(tmp_path):
    folder = make_run(tmp_path)
    assert write_page(folder.path, "x") == folder.path / "report.html"
    assert not (folder.path / "report.csv").exists()


def test_where_nothing_can_be_written_it_says_so(tmp_path):
    make_run(tmp_path / "runs")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StorageError, match=r"the report could not be written \(path=.*out\): a file is in the place"):
        write_report([tmp_path / "runs"], tmp_path / "out")
