"""What the program says of itself: help, presets."""

import subprocess
import sys

import pytest
from launching import ROOT, launch

from distributed_kd import cli, presets
from distributed_kd.cli import main


def said(capsys, *words) -> str:
    """What a command prints; argparse's own help leaves by SystemExit."""
    try:
        code = main(list(words))
    except SystemExit as leaving:
        code = leaving.code
    told = capsys.readouterr()
    assert (code, told.err) == (0, "")
    assert all(len(line) <= 120 for line in told.out.splitlines())
    assert not any(line != line.rstrip() for line in told.out.splitlines())
    return told.out


def test_without_a_command_it_tells_what_there_is(tmp_path):
    for words in ([], ["--help"]):
        ended = launch(*words, cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        for command in cli.COMMANDS:
            assert f"  {command} " in ended.stdout
        for code in (0, 2, 3, 4, 5, 6, 7, 8, 9, 75, 130):
            assert f" {code} " in ended.stdout.replace("\n", " ")
        assert all(len(line) <= 120 for line in ended.stdout.splitlines())
    assert not list(tmp_path.iterdir())


OPTIONS = ("--data FILE.npz", "--runner", "--address", "--allow-env-import", "--debug")


def test_train_help_names_every_option_and_key(capsys):
    page = said(capsys, "train", "--help")
    for option in (*OPTIONS, "--out", "--seed", "--env.id", "--students.NAME.loss", "--replay.samples_per_insert"):
        assert option in page
    for option in ("--teacher.source", "--students.NAME.td_weight", "--rollouts.behaviour.beta", "--data.held_out"):
        assert option in page
    # The defaults are those of the preset that would be trained.
    assert f"(default: {presets.read('cartpole')['stop']['env_steps']})" in page


def test_train_help_of_a_preset_shows_its_defaults(capsys):
    assert "(default: Acrobot-v1)" in said(capsys, "train", "acrobot", "--help")


def test_resume_help(capsys):
    page = said(capsys, "resume", "--help")
    for option in (*OPTIONS, "DIR"):
        assert option in page
    assert "Only keys of stop, evaluation, checkpoint, supervision, placement, tracking and learner may" in page
    assert "  --out" not in page
    assert "--students.NEW.KEY VALUE adds a" in page


def test_dataset_help(capsys):
    page = said(capsys, "dataset", "--help")
    for option in ("RUN", "--states", "--out FILE.npz", "--from {replay,teacher}", "--seed", "--allow-env-import"):
        assert option in page


SEE_TRAIN, SEE_DATASET = "See python launch.py train --help", "See python launch.py dataset --help"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("trai", "unknown command (command=trai): there is none of this name. Did you mean train?"),
        (
            "train cartpole --runer inline",
            "unknown flag (runer=inline): the run file has no key of this name. "
            "python launch.py train --help lists them all",
        ),
        (
            "train cartpole --students.half.td_wieght 1",
            "unknown flag (students.half.td_wieght=1): the run file has no key of this name. "
            "Did you mean --students.half.td_weight?",
        ),
        ("train cartpole --data", f"argument --data: expected one argument. {SEE_TRAIN}"),
        (
            "train cartpole --runner fast",
            f"argument --runner: invalid choice: 'fast' (choose from 'ray', 'inline'). {SEE_TRAIN}",
        ),
        (
            "resume run --runner fast",
            "argument --runner: invalid choice: 'fast' (choose from 'ray', 'inline'). See python launch.py resume --help",
        ),
        ("resume", "no run (DIR=): resume needs the folder of a run. Give one of runs/"),
        ("resume run --out other", "not an option here (out=other): a run goes on in its own folder. Leave it out"),
        ("dataset run --out x.npz --form replay", f"unrecognized arguments: --form replay. {SEE_DATASET}"),
        (
            "dataset run --out x.npz --from students",
            f"argument --from: invalid choice: 'students' (choose from 'replay', 'teacher'). {SEE_DATASET}",
        ),
        ("dataset run", f"the following arguments are required: --out. {SEE_DATASET}"),
        ("dataset --out x.npz", f"the following arguments are required: RUN. {SEE_DATASET}"),
        ("dataset run --out x.npz --states many", f"argument --states: invalid int value: 'many'. {SEE_DATASET}"),
        ("dataset run --out x.npz --states 9", "bad states (states=9): it must be at least 10. Set --states 10 or more"),
        ("dataset run --out x.npz --seed -1", "bad seed (seed=-1): it must be at least 0. Set --seed 0 or more"),
        (
            "dataset run --out x.npz",
            "not the folder of a run (path=run): there is no config.toml in it. Give the folder of a run, such as runs/NAME",
        ),
    ],
)
def test_options_that_there_are_not(words, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    assert capsys.readouterr().err == f"error: {line}\n"
    assert not list(tmp_path.iterdir())


def test_evaluate_help(capsys):
    page = said(capsys, "evaluate", "--help")
    options = ("RUN", "--policy", "--against", "--episodes", "--seed", "--observation-noise", "--sticky-actions", "--video")
    for option in (*options, "--json", "--allow-env-import"):
        assert option in page


def test_doctor_help(capsys):
    assert "--address" in said(capsys, "doctor", "--help")


def test_presets(capsys):
    page = said(capsys, "presets")
    for name in presets.names():
        assert any(line.startswith(f"{name} ") for line in page.splitlines())
        assert f" {name} {presets.describe(name)} " in f" {' '.join(page.split())} "  # a long one takes two lines


@pytest.mark.parametrize(
    "words", [["presets"], ["train", "--help"], ["compare", "--help"], ["evaluate", "--help"], ["dataset", "--help"]]
)
def test_what_needs_no_ray_does_not_load_it(words, tmp_path):
    code = (
        "import sys, contextlib; from distributed_kd.cli import main\n"
        f"with contextlib.suppress(SystemExit): main({words!r})\n"
        "sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
