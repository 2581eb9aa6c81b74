"""A student that is a tree, through the whole program."""

import shutil
import sys
from dataclasses import replace

import pytest
from launching import run_file, strict, summary
from test_inline_runs import STUDENTS, config_of, files, go_on, start

from distributed_kd.cli import main
from distributed_kd.network_config import NetworkConfig
from distributed_kd.student_config import StudentConfig

pytest.importorskip("sklearn")
INLINE = ["--runner", "inline", "--evaluation.every_seconds", "0", "--checkpoint.every_seconds", "0"]
RULES = ["--students.rules.network.kind", "tree", "--students.rules.network.depth", "3"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("trees")
    words = ["train", str(run_file(place, 1_200)), *INLINE, *RULES, "--out", str(place / "run")]
    assert main(words) == 0
    return place / "run"


def test_it_is_scored_beside_the_others_and_drawn(run):
    told = summary(run)["students"]["rules"]
    assert (told["loss"], told["parameters"]) == ("viper", 7 + 7 + 8 * 2)
    assert told["updates"] == summary(run)["updates"]
    assert told["return_mean"] > 0
    assert (run / "tree_rules.svg").read_text().startswith("<?xml")
    page = (run / "report.html").read_text()
    assert page.count('aria-label="rules of rules: ') == 1, "drawn"
    assert "<summary>rules of rules: " in page and ("<pre>if x[" in page or "<pre>action" in page), "and in words"


def test_its_rules_are_told(run, capsys):
    capsys.readouterr()
    assert main(["evaluate", str(run), "--policy", "rules", "--episodes", "2", "--rules"]) == 0
    score, empty, title, first, *_ = capsys.readouterr().out.splitlines()
    assert score.startswith("rules: return ") and empty == "" and title.startswith("rules of rules: ")
    assert first.startswith(("if x[", "action"))
    assert main(["evaluate", str(run), "--policy", "rules,tiny", "--episodes", "2", "--rules", "--json"]) == 0
    rules, tiny = strict(capsys.readouterr().out)["played"]
    assert rules["rules"][0] == first and "rules" not in tiny
    assert main(["evaluate", str(run), "--policy", "tiny", "--rules"]) == 2
    assert capsys.readouterr().err.startswith("error: no rules (policy=tiny): none of the policies is a tree. ")


def test_stopped_and_resumed_it_is_the_same_to_the_bit(tmp_path):
    students = {"a": STUDENTS["a"], "rules": StudentConfig(network=NetworkConfig("tree", depth=3))}
    config = replace(config_of(), students=students)
    start(tmp_path / "whole", config)
    start(tmp_path / "again", config)
    start(tmp_path / "parts", config, stop_after=9)
    go_on(tmp_path / "parts", config)
    parts = ("learner", "replay")
    assert files(tmp_path / "whole", *parts) == files(tmp_path / "again", *parts) == files(tmp_path / "parts", *parts)


def test_it_teaches_another_run(run, tmp_path, capsys):
    source = ["--teacher.source", f"{run}:rules"]
    assert main(["train", str(run_file(tmp_path, 300)), *INLINE, *source, "--out", str(tmp_path / "next")]) == 0
    capsys.readouterr()
    told = main(["train", str(run_file(tmp_path, 300)), *INLINE, *source, "--teacher.frozen", "false"])
    assert told == 4
    assert "a teacher that cannot learn (teacher.frozen=false): a tree learns from no rewards" in capsys.readouterr().err


def test_it_learns_from_a_set_of_states(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["dataset", str(run), "--states", "100", "--out", "states.npz"]) == 0
    words = ["--data", "states.npz", "--stop.updates", "300", "--data.check_every", "50", *RULES, "--out", "taught"]
    assert main(["train", str(run_file(tmp_path)), "--evaluation.every_seconds", "0", *words]) == 0
    assert summary(tmp_path / "taught")["students"]["rules"]["return_mean"] > 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "--students.rules.loss mse",
            "option without effect (students.rules.loss=mse): a tree is fitted to the teacher's actions (viper), and reads "
            "network, warmup, drives alone. Remove it",
        ),
        (
            "--students.rules.network.depth 11",
            "bad depth (students.rules.network.depth=11): a tree that can be read has 1 to 10. "
            "Set --students.rules.network.depth 6",
        ),
        (
            "--students.rules.network.hidden 8",
            "option without effect (students.rules.network.hidden=(8,)): a tree has no layers, only a depth. Remove it",
        ),
        (
            "--students.half.network.depth 3",
            "option without effect (students.half.network.depth=3): mlp is no tree. Remove it",
        ),
        (
            "--teacher.network.kind tree --teacher.network.hidden auto",
            "a teacher that cannot learn (teacher.network.kind=tree): a tree is fitted to a teacher, it learns from no "
            "rewards. Set --teacher.network.kind mlp",
        ),
        (
            "--env.id CartPole-v1 --env.frame_stack 17",
            "network does not fit (students.rules.network.kind=tree): observations of shape [17, 4] are 68 numbers, and a "
            "tree reads 64 at most. Choose another kind",
        ),
    ],
)
def test_what_a_tree_cannot_be_given_is_told(tmp_path, capsys, words, line):
    named = ["train", str(run_file(tmp_path)), "--runner", "inline", *RULES, "--out", str(tmp_path / "run")]
    replaced = [word for word in named if "depth" not in word or "depth" not in words]
    replaced = [word for word in replaced if word != "3"] if "students.rules.network.depth" in words else named
    assert main([*replaced, *words.split()]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"
    assert not (tmp_path / "run").exists()


def test_without_scikit_learn_it_is_told_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    assert main(["train", str(run_file(tmp_path)), "--runner", "inline", *RULES, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == (
        "error: missing package (students.rules.network.kind=tree): a tree is fitted by scikit-learn, which is not "
        'installed. Install it: pip install "distributed-kd[tree]"\n'
    )
    assert not (tmp_path / "run").exists()


def test_it_plays_without_scikit_learn(run, tmp_path, capsys, monkeypatch):
    shutil.copytree(run, tmp_path / "run")
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    assert main(["evaluate", str(tmp_path / "run"), "--policy", "rules", "--episodes", "2", "--rules"]) == 0
