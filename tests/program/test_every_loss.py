"""Whole runs with every loss of the field, on Ray and in one process, and those that go by scores: the same to the byte.

What a loss computes is tested in `maths/`, how a student learns from it in `learning/`.
"""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from launching import assert_accounts_add_up, launch, metrics, run_file, summary
from test_inline_runs import EVERYTHING, config_of, contents, files, go_on, learner_of, start, without_time

from distributed_kd import presets
from distributed_kd.cli import main
from distributed_kd.config import EvaluationConfig
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.run_file import decode
from distributed_kd.student_config import StudentConfig

pytestmark = pytest.mark.timeout(120)


def evaluations(folder: Path) -> list[dict]:
    return [line["evaluation"] for line in metrics(folder) if "evaluation" in line]


# The 17 students share 20 lanes, so that one learns from its own steps once its lane or two have made 16 of them.
REDUCED = (
    "--stop.env_steps 2000 --teacher.network.hidden 32 --replay.warmup 200 --replay.batch_size 16 "
    "--replay.samples_per_insert 1 --evaluation.episodes 2 --evaluation.every_env_steps 1000 --checkpoint.every_seconds 0"
)


def test_a_run_with_every_loss(tmp_path):
    folder = tmp_path / "run"
    assert main(["train", "losses", "--runner", "inline", *REDUCED.split(), "--out", str(folder)]) == 0
    told, students = summary(folder), decode(presets.read("losses")).students
    assert {name: one["loss"] for name, one in told["students"].items()} == {n: s.label for n, s in students.items()}
    alone = told["students"].pop("policy_gradient")
    # It learns from its own steps alone: it begins later than all others, and from then on with each batch.
    assert 0 < alone["updates"] < told["updates"]
    assert_accounts_add_up(told, samples_per_insert=1.0, batch_size=16)
    last = [line["losses"] for line in metrics(folder) if line.get("losses")][-1]
    assert set(last) == {"teacher", *students}
    assert all(math.isfinite(value) for network in last.values() for value in network.values())
    assert "policy_gradient_loss" in last["policy_gradient"]


@pytest.mark.slow
def test_losses_that_go_by_scores_and_own_steps_on_ray(tmp_path):
    words = [
        *("--students.half.loss", "kl_q", "--students.half.td_weight", 1, "--students.half.distillation", "performance"),
        *("--students.tiny.loss", "policy_gradient", "--students.late.loss", "hint", "--students.late.warmup", 50),
        *("--students.late.network.hidden", 8, "--evaluation.every_env_steps", 500),
    ]
    ended = launch("train", run_file(tmp_path, env_steps=2_500), *words, "--out", "run", cwd=tmp_path, seconds=100)
    assert (ended.returncode, ended.stderr) == (0, "")
    folder = tmp_path / "run"
    told, learner = summary(folder), learner_of(folder)
    updates = {name: one["updates"] for name, one in told["students"].items()}
    assert {name: one["loss"] for name, one in told["students"].items()} == {
        "half": "kl_q+td",
        "tiny": "policy_gradient",
        "late": "kl+hint",
    }
    assert updates == {name: one["updates"] for name, one in learner["students"].items()}
    assert updates["half"] == told["updates"] == updates["late"] + 50
    assert 0 < updates["tiny"] <= told["updates"]
    told["students"] = {"half": told["students"]["half"]}  # the one that learned at every update
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=32)

    lines = metrics(folder)
    logged = {}
    for line in lines:
        for name, losses in line.get("losses", {}).items():
            logged.setdefault(name, set()).update(losses)
    assert {"loss", "td_loss", "distillation"} <= logged["half"]
    assert "policy_gradient_loss" in logged["tiny"]
    assert not logged["late"] & {"td_loss", "policy_gradient_loss", "distillation"}
    shares = [line["losses"]["half"]["distillation"] for line in lines if "half" in line.get("losses", {})]
    assert all(0 <= share <= 1 for share in shares)
    asked_at = [one["env_steps"] for one in evaluations(folder)]
    # Of each 500 steps there is one evaluation at most; the last one is that of the end.
    stretches = [steps // 500 for steps in asked_at[:-1]]
    assert stretches == sorted(set(stretches))
    assert stretches[0] >= 1
    assert asked_at[-1] == told["env_steps"]


def tiny(*hidden: int, **more) -> StudentConfig:
    return StudentConfig(NetworkConfig(hidden=hidden), **more)


BY_SCORES = replace(
    config_of(students=()),
    teacher=TeacherConfig(network=NetworkConfig(hidden=(16,)), n_step=3, target_update=20, teaches="best"),
    students={
        "td": tiny(
            8,
            loss="kl_q",
            td_weight=1.0,
            target_update=50,
            distillation="performance",
            observation_noise=0.1,
            target_noise=0.1,
        ),
        "own": tiny(8, loss="policy_gradient", temperature="auto", distillation="performance"),
        "hint": tiny(4, loss="hint", importance="action_gap", smoothing=0.1, observation_noise=0.2, warmup=30),
    },
    evaluation=EvaluationConfig(episodes=2, every_env_steps=300),
)


@pytest.fixture(scope="module")
def by_scores(tmp_path_factory) -> Path:
    """A finished run in which scores decide what is taught."""
    path = tmp_path_factory.mktemp("scores") / "run"
    assert start(path, BY_SCORES)[1] == 0
    return path


def test_what_goes_by_scores_gives_the_same_bytes_again(by_scores, tmp_path):
    start(tmp_path / "again", BY_SCORES)
    assert files(tmp_path / "again", *EVERYTHING) == files(by_scores, *EVERYTHING)
    assert without_time(summary(tmp_path / "again")) == without_time(summary(by_scores))


# Segments of 48 steps: the warm-up ends with the 5th, evaluations follow the 7th, 13th, 19th, 25th and 32nd.
@pytest.mark.parametrize("point", [3, 6, 7, 20])
def test_what_goes_by_scores_goes_on_as_if_never_stopped(point, by_scores, tmp_path):
    path = tmp_path / "stopped"
    told, code = start(path, BY_SCORES, stop_after=point)
    assert (told["status"], code, told["env_steps"]) == ("preempted", 75, 48 * point)
    assert go_on(path, BY_SCORES)[1] == 0
    assert files(path, *EVERYTHING) == files(by_scores, *EVERYTHING)
    assert without_time(summary(path)) == without_time(summary(by_scores))
    assert [one["env_steps"] for one in evaluations(path)] == [one["env_steps"] for one in evaluations(by_scores)]


def test_the_scores_are_those_of_the_evaluations(by_scores):
    """What the learner holds is what the evaluations said, and they were where the run file wants them."""
    *on_the_way, _ = evaluations(by_scores)
    assert [one["env_steps"] for one in on_the_way] == [336, 624, 912, 1_200, 1_536]
    learner = learner_of(by_scores)
    assert learner["teacher"]["best"]["return"] == max(one["teacher"]["return_mean"] for one in on_the_way)
    for name in ("td", "own"):
        shares = [one[name]["normalised_score"] for one in on_the_way if one[name]["normalised_score"] is not None]
        assert learner["students"][name]["score"] == shares[-1]
    assert learner["students"]["hint"]["score"] == 0


def test_scores_decide_what_is_learned(by_scores, tmp_path):
    """Without them the same student would be another one; the teacher, and one that does not ask, are as they were."""
    students = {**BY_SCORES.students, "td": replace(BY_SCORES.students["td"], distillation="constant")}
    # All lanes are the teacher's but those of `own`, so that nothing but the scores tells the two runs apart.
    students = {name: one if name == "own" else replace(one, drives=False) for name, one in students.items()}
    by_score = {**students, "td": replace(students["td"], distillation="performance")}
    for name, these in (("constant", students), ("performance", by_score)):
        start(tmp_path / name, replace(BY_SCORES, students=these))
    constant, performance = (learner_of(tmp_path / name) for name in ("constant", "performance"))
    for name in ("own", "hint"):
        assert contents(constant["students"][name]) == contents(performance["students"][name])
    assert contents(constant["teacher"]) == contents(performance["teacher"])
    networks = [contents(one["students"]["td"]["trained"]["network"]) for one in (constant, performance)]
    assert networks[0] != networks[1]
