"""A report on folders that others made to do harm, or that were damaged: it tells of them, and nothing else happens."""

import copy
import csv
import io
import itertools
import json
import os
from html.parser import HTMLParser

import pytest
from run_folders import curve, make_run
from summaries import student
from test_hostile_runs import HOSTILE

from distributed_kd.reports.report import write_report
from distributed_kd.storage.files import CONTROL

WRONG = [
    None,
    True,
    -1,
    0,
    1e308,
    -1e308,
    10**400,
    "x",
    [],
    {},
    [[]],
    {"a": {}},
    float("nan"),
    HOSTILE,
    "\ud800",
    ["low", 2],
]
"""Values of every type where a number, a name or a table is meant"""


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text between them."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def reported(runs, tmp_path) -> Elements:
    """The page on all runs below a folder, checked for whatever could do harm; the CSV and JSON must be well-formed."""
    out = tmp_path / "out"
    assert write_report([runs], out) == [out / "report.html", out / "report.csv", out / "report.json"]
    page = Elements((out / "report.html").read_text())
    assert [tag for tag, _ in page.found].count("script") == 1, "the page's own"
    for tag, attributes in page.found:
        assert tag not in ("iframe", "object", "embed", "img", "link", "base", "form", "foreignobject")
        assert not any(name.startswith("on") or name in ("style", "src", "srcset", "action") for name in attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:image/png;base64,"))

    def refuse(word):
        raise ValueError(f"{word} is no JSON")

    json.loads((out / "report.json").read_text(), parse_constant=refuse)
    rows = list(csv.reader(io.StringIO((out / "report.csv").read_text())))
    assert len({len(row) for row in rows}) == 1
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)
    for path in out.iterdir():
        assert not any(CONTROL.search(line) for line in path.read_text().splitlines())
    return page


def write_summary(folder, told):
    folder.summary_file.write_text(json.dumps(told))


@pytest.fixture
def runs(tmp_path):
    students = {"a": student(), "b": student(score=0.5, share=0.5)}
    make_run(tmp_path / "runs", students=students, evaluations=curve(a=(40.0, 58.0), b=(20.0, 30.0)))
    return tmp_path / "runs"


def test_hostile_names_are_text(runs, tmp_path):
    bad = make_run(runs, seed=1, commands=[HOSTILE, "=cmd|' /C calc'!A0"])
    told = json.loads(bad.summary_file.read_text())
    told |= {"env": HOSTILE, "status": HOSTILE, "students": {HOSTILE: student(loss=HOSTILE), "=1+1": student()}}
    told["accounting"] |= {"dropped": {HOSTILE: 3}, "restarts": {HOSTILE: 1}, "recovery_seconds": {HOSTILE: {"p50": 1.0}}}
    told["invariants"] = {HOSTILE: 1}
    write_summary(bad, told)
    bad.machine_file.write_text(json.dumps({HOSTILE: HOSTILE}))
    line = {"time": 1.0, "updates": 1, "evaluation": {name: {"return_mean": 5.0} for name in ("teacher", HOSTILE)}}
    lines = [line | {"env_steps": n, "evaluation": line["evaluation"] | {"env_steps": n}} for n in (100, 200)]
    bad.metrics_file.write_text("".join(json.dumps(one) + "\n" for one in lines))
    bad.path.rename(runs / "<b>__&amp;__'\"`")
    page = reported(runs, tmp_path)
    assert "alert(1)" in page.text, "or this test would see nothing"


@pytest.mark.parametrize("wrongs", [WRONG[::2], WRONG[1::2]])
def test_summaries_of_wrong_values_are_reported(wrongs, runs, tmp_path):
    """Each value of a summary by turns, in a run of its own."""
    good = json.loads(next(runs.glob("*/summary.json")).read_text())
    places = [(key,) for key in good] + [(key, inner) for key in good if isinstance(good[key], dict) for inner in good[key]]
    places += [("students", "a", key) for key in good["students"]["a"]]
    for seed, (*above, last) in enumerate(places, 1):
        told = copy.deepcopy(good)
        table = told
        for key in above:
            table = table[key]
        table[last] = wrongs[seed % len(wrongs)]
        write_summary(make_run(runs, seed=seed), told)
    reported(runs, tmp_path)


@pytest.mark.parametrize("wrongs", [WRONG[::2], WRONG[1::2]])
def test_metrics_of_wrong_values_are_reported(wrongs, runs, tmp_path):
    keys = ("time", "env_steps", "updates", "charts", "evaluation", "losses")
    good = {"time": 5.0, "env_steps": 100, "updates": 1, "charts": {"replay_size": 3}, "losses": {},
            "evaluation": {"teacher": {"return_mean": 1.0}, "env_steps": 100}}  # fmt: skip
    for seed, (key, wrong) in enumerate(itertools.product(keys, wrongs), 1):
        bad = make_run(runs, seed=seed)
        lines = [good, good | {key: wrong}, good | {"charts": {"replay_size": wrong, HOSTILE: wrong}},
                 good | {"evaluation": {"teacher": {"return_mean": wrong}, "a": wrong, "env_steps": 200}}, good]  # fmt: skip
        bad.metrics_file.write_text("".join(json.dumps(one) + "\n" for one in lines))
        if seed % 2:
            bad.summary_file.unlink()
    reported(runs, tmp_path)


@pytest.mark.parametrize("slot", ["config.toml", "summary.json", "metrics.jsonl", "commands.txt", "machine.json"])
def test_damaged_files_are_told_of_and_the_rest_is_reported(slot, runs, tmp_path, caplog):
    contents = (b"", b"\0" * 100, b"[" * 5000, b"\xff\xfe{", b"[1]\n[2]\n{}\n")
    for seed, content in enumerate(contents, 1):
        (make_run(runs, seed=seed).path / slot).write_bytes(content)
    page = reported(runs, tmp_path)
    for seed in range(len(contents) + 1):
        assert f"__s{seed}__" in page.text
    told = {"config.toml": 4, "summary.json": 5, "metrics.jsonl": 1, "commands.txt": 0, "machine.json": 5}[slot]
    assert caplog.text.count("cannot") == told, "an empty run file is one, and a single damaged line is what a crash leaves"


@pytest.mark.parametrize("slot", ["config.toml", "summary.json", "metrics.jsonl", "commands.txt", "machine.json"])
def test_links_are_not_followed(slot, runs, tmp_path):
    """What they lead to may be anybody's secret, and a report is made to be shown."""
    secret = tmp_path / "secret"
    secret.write_text('{"secret": "hunter2"}\n# hunter2\n')
    bad = make_run(runs, seed=1)
    (bad.path / slot).unlink(missing_ok=True)
    (bad.path / slot).symlink_to(secret)
    page = reported(runs, tmp_path)
    assert "hunter2" not in "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert f"{slot}): it is a link" in page.text


def test_what_is_no_file_is_not_waited_for(runs, tmp_path):
    bad = make_run(runs, seed=1)
    os.mkfifo(bad.metrics_file)
    assert "it is no file" in reported(runs, tmp_path).text


def test_nothing_is_written_outside_out(runs, tmp_path):
    """Links where its files are to be are replaced, and what they led to stays."""
    kept = tmp_path / "kept"
    kept.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.html").symlink_to(kept)
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    reported(runs, tmp_path)
    assert kept.read_text() == "mine"
    assert {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "out", "runs"]


def test_a_run_file_that_asks_for_giants_takes_no_memory(runs, tmp_path):
    config = {"env": {"id": "CartPole-v1"}, "teacher": {"network": {"hidden": [10**6, 10**6]}}}
    make_run(runs, env="CartPole-v1", seed=1, config=config)
    assert "that is more than a report opens" in reported(runs, tmp_path).text


def test_a_checkpoint_elsewhere_is_not_fetched(runs, tmp_path):
    make_run(runs, env="CartPole-v1", seed=1, config={"checkpoint": {"to": "s3://somebody/else"}})
    assert "a report fetches nothing from elsewhere" in reported(runs, tmp_path).text


def test_a_module_is_not_imported(runs, tmp_path):
    make_run(runs, seed=1, label="own", config={"env": {"id": "antigravity:Id-v0"}})
    assert "importing antigravity runs its code" in reported(runs, tmp_path).text
