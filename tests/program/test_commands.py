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


OPTIONS = ("--runner", "--address", "--allow-env-import", "--debug")


def test_train_help_names_every_option_and_key(capsys):
    page = said(capsys, "train", "--help")
    for option in (*OPTIONS, "--out", "--seed", "--env.id", "--students.NAME.loss", "--replay.samples_per_insert"):
        assert option in page
    # The defaults are those of the preset that would be trained.
    assert f"(default: {presets.read('cartpole')['stop']['env_steps']})" in page


def test_train_help_of_a_preset_shows_its_defaults(capsys):
    assert "(default: Acrobot-v1)" in said(capsys, "train", "acrobot", "--help")


def test_resume_help(capsys):
    page = said(capsys, "resume", "--help")
    for option in (*OPTIONS, "DIR"):
        assert option in page
    assert "Only keys of stop, evaluation, checkpoint and learner may change" in page
    assert "  --out" not in page


def test_evaluate_help(capsys):
    page = said(capsys, "evaluate", "--help")
    for option in ("RUN", "--policy", "--episodes", "--seed", "--video", "--json", "--allow-env-import"):
        assert option in page


def test_doctor_help(capsys):
    assert "--address" in said(capsys, "doctor", "--help")


def test_presets(capsys):
    lines = said(capsys, "presets").splitlines()
    for name in presets.names():
        assert any(line.startswith(f"{name} ") and presets.describe(name) in line for line in lines)


@pytest.mark.parametrize("words", [["presets"], ["train", "--help"], ["evaluate", "--help"]])
def test_what_needs_no_ray_does_not_load_it(words, tmp_path):
    code = (
        "import sys, contextlib; from distributed_kd.cli import main\n"
        f"with contextlib.suppress(SystemExit): main({words!r})\n"
        "sys.exit(bool({'ray', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
