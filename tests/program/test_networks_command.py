"""`networks`: what the networks of a run are and cost before anything is trained, and the word where one does not fit."""

import json
import subprocess
import sys

import pytest
from launching import ROOT, run_file

from distributed_kd.cli import main

NO_IMAGE = "observations of shape [4] are no images. Choose mlp"


def printed(capsys, *words: object) -> str:
    assert main(["networks", *map(str, words)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    return told.out


def table(page: str) -> dict[str, list[str]]:
    """The last table of a page: each network's figures by its name."""
    lines = page.rstrip("\n").splitlines()
    begin = max(place for place, line in enumerate(lines) if not line) + 2
    return {line.split()[0]: line.split() for line in lines[begin:]}


def test_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = printed(capsys, run_file(tmp_path))
    # 4 inputs, one hidden layer of h, 2 outputs: 4 h + h + 2 h + 2 parameters, and 4 h + 2 h multiply-adds.
    assert table(page) == {
        "teacher": ["teacher", "mlp", "32", "226", "100.0", "%", "192", "904"],
        "half": ["half", "mlp", "16", "114", "50.4", "%", "96", "456"],
        "tiny": ["tiny", "mlp", "4", "30", "13.3", "%", "24", "120"],
    }
    assert all(len(line) <= 100 for line in page.splitlines())
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_without_a_file_it_is_cartpole(capsys):
    assert printed(capsys) == printed(capsys, "cartpole")


def test_a_preset_of_images(capsys):
    pytest.importorskip("minatar")
    rows = table(printed(capsys, "minatar-breakout"))
    # 10x10 of 4 channels, a convolution of 3x3 to 16, a layer of 128, 3 actions (MinAtar's smallest set).
    convolution, linear, head = 16 * 4 * 9 + 16, 16 * 8 * 8 * 128 + 128, 128 * 3 + 3
    assert rows["teacher"][:4] == ["teacher", "minatar", "16,", "128"]
    assert rows["teacher"][4] == f"{convolution + linear + head:,}"
    assert list(rows) == ["teacher", "quarter", "fifteenth", "fiftieth"]


def test_json_is_one_object(capsys):
    told = json.loads(printed(capsys, "cartpole", "--json", "--teacher.network.hidden", 8, "--teacher.dueling", "true"))
    assert (told["env"], told["input"], told["actions"]) == ("CartPole-v1", [4], 2)
    teacher = told["networks"]["teacher"]
    # A hidden layer of 8; the head has two advantages, and a value beside them: 4 * 8 + 8, 8 * 2 + 2, 8 + 1.
    assert [(layer["parameters"], layer["multiply_adds"], layer["output"]) for layer in teacher["layers"]] == [
        (40, 32, [8]),
        (18, 16, [2]),
        (9, 8, [1]),
    ]
    assert (teacher["parameters"], teacher["multiply_adds"], teacher["bytes"]) == (67, 56, 268)
    students = {name: one["parameter_share"] for name, one in told["networks"].items() if name != "teacher"}
    assert students["smallest"] == (4 * 16 + 16 + 16 * 16 + 16 + 16 * 2 + 2) / 67


def test_a_teacher_from_elsewhere_is_told_as_it_is(tmp_path, monkeypatch, capsys):
    """Not as the run file would have it, and several as what they are together."""
    monkeypatch.chdir(tmp_path)
    source, words = run_file(tmp_path, 400), ("--runner", "inline", "--out")
    assert main(["train", str(source), *words, "a", "--teacher.network.hidden", "6", "--teacher.dueling", "true"]) == 0
    capsys.readouterr()
    # 4 inputs, a layer of 6, two advantages and a value: 4 * 6 + 6, 6 * 2 + 2, 6 + 1.
    assert table(printed(capsys, source, "--teacher.source", "a"))["teacher"][1:4] == ["mlp", "6", "51"]
    rows = table(printed(capsys, source, "--teacher.source", "a", "a:half"))
    assert rows["teacher"][1:5] == ["mean", "of", "2", str(51 + 114 + 2)]  # and one weight for each
    peers = [
        word for name in ("half", "tiny") for word in (f"--students.{name}.td_weight", 1, f"--students.{name}.loss", "mse")
    ]
    rows = table(printed(capsys, source, "--teacher.source", "peers", *peers))
    assert rows["teacher"][1:5] == ["mean", "of", "2", str(114 + 30 + 2)]


def test_flags_and_stacks_change_what_is_told(capsys):
    whole = json.loads(printed(capsys, "cartpole", "--json", "--env.frame_stack", 3, "--students.new.network.hidden", 5))
    assert whole["input"] == [3, 4]
    assert whole["networks"]["new"]["parameters"] == 12 * 5 + 5 + 5 * 2 + 2


@pytest.mark.parametrize("key", ["teacher.network", "students.half.network"])
@pytest.mark.parametrize("command", ["networks", "train"])
def test_a_network_that_does_not_fit_is_told_by_its_key(command, key, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for kind in ("nature", "minatar", "impala"):
        words = [f"--{key}.kind", kind, f"--{key}.hidden", "8"]
        assert main([command, str(run_file(tmp_path)), *words]) == 2
        assert capsys.readouterr().err == f"error: network does not fit ({key}.kind={kind}): {NO_IMAGE}\n"
    assert not (tmp_path / "runs").exists()


def test_an_image_that_is_too_small(capsys):
    pytest.importorskip("minatar")
    assert main(["networks", "minatar-breakout", "--students.quarter.network.kind", "nature"]) == 2
    assert capsys.readouterr().err == (
        "error: network does not fit (students.quarter.network.kind=nature): images of 10x10 are too small for it: "
        "it needs 36x36 at least. Choose mlp\n"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "cartpole --students.half.network.kind natur",
            "unknown network (students.half.network.kind='natur'): there is no such network. Did you mean nature?",
        ),
        (
            "minatar-breakout --teacher.network.kind transformer",
            "unknown network (teacher.network.kind='transformer'): there is no such network. "
            'Choose mlp, minatar, nature, impala, tree, or "module:factory"',
        ),
        ("cartpol", "unknown preset (preset='cartpol'): there is none of this name. Did you mean cartpole?"),
        ("no.toml", "cannot read the run file (file=no.toml): no such file or directory. Give the path of a TOML file"),
    ],
)
def test_what_cannot_be_told(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["networks", *words.split()]) == 2
    told = capsys.readouterr()
    assert (told.err, told.out) == (f"error: {line}\n", "")


@pytest.mark.parametrize("option", ["--out", "--runner", "--address", "--data"])
def test_options_of_training_are_none_here(option, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    value = "inline" if option == "--runner" else "x"
    assert main(["networks", "cartpole", option, value]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: not an option here ({option[2:]}={value}): networks trains nothing")


def test_help_names_its_options(capsys):
    page = printed(capsys, "--help")
    for option in ("PRESET | FILE.toml", "--json", "--allow-env-import", "--teacher.network.kind", "--env.frame_stack"):
        assert option in page
    assert "  --out" not in page and "  --runner" not in page


def test_it_needs_no_ray():
    code = "import sys; from distributed_kd.cli import main\nmain(['networks', '--json'])\nsys.exit('ray' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert next(iter(json.loads(ended.stdout)["networks"])) == "teacher"
