"""What a finished run on Ray leaves in its folder, and whether what it says there is true."""

import json
import os
import shutil
import tomllib

import numpy as np
import pytest
from launching import assert_accounts_add_up, launch, metrics, never_fall, strict, summary
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from distributed_kd import networks, run_file
from distributed_kd.cli import main
from distributed_kd.envs.spec import read_spec
from distributed_kd.maths.statistics import bootstrap_ci95
from distributed_kd.records import Weights
from distributed_kd.rollouts.evaluation import Evaluator
from distributed_kd.storage import checkpoints
from distributed_kd.training.parts import Parts

# The first test to ask for the run waits for all of it.
pytestmark = pytest.mark.timeout(150)

POLICY = {"parameters": int, "return_mean": float, "return_ci95": [float, float], "episodes": int, "updates": int,
          "decision_microseconds": float}  # fmt: skip
STUDENT = {**POLICY, "parameter_share": float, "normalised_score": float, "action_agreement": float, "loss": str,
           "gap_weighted_agreement": float}  # fmt: skip
RESTARTS = {"rollout": int, "replay": int, "learner": int, "evaluation": int}
SUMMARY = {
    "env": str,
    "seed": int,
    "status": str,
    "env_steps": int,
    "updates": int,
    "wall_seconds": float,
    "random_return": float,
    "teacher": POLICY,
    "students": {"half": STUDENT, "tiny": STUDENT},
    "throughput": {"env_steps_per_second": float, "updates_per_second": float, "learner_busy_share": float},
    "replay": {"inserted": int, "evicted": int, "size": int, "sampled": int, "samples_per_insert": float,
               "prioritised": int, "late_priorities": int},
    "accounting": {"generated": int, "accepted": int, "dropped": {}, "unknown": int, "restarts": RESTARTS, "env_faults": {},
                   "skipped_updates": {}, "rollbacks": {"count": int, "env_steps": int, "updates": int},
                   "recovery_seconds": {}, "on_purpose": {}},
    "checkpoints": {"count": int, "last_step": int, "last_bytes": int, "largest_stall_seconds": float, "stall_share": float},
    "invariants": dict.fromkeys(("I1", "I2", "I3", "I4", "I5", "I6", "I7", "I9"), int),
}  # fmt: skip


def kinds(value):
    """The shape of what JSON holds: types in place of values."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    return [kinds(item) for item in value] if isinstance(value, list) else type(value)


def evaluations(folder):
    return [line["evaluation"] for line in metrics(folder) if "evaluation" in line]


def parts_of(folder):
    config = run_file.decode(run_file.read_toml(folder / "config.toml"))
    return config, Parts(config, read_spec(config.env))


def saved_weights(folder):
    """The weights of the newest checkpoint, as the learner publishes them."""
    checkpoint = checkpoints.load_newest(folder / "checkpoints")
    learner = checkpoint.parts["learner"]
    _, parts = parts_of(folder)
    flat = {}
    for name, network in parts.networks().items():
        owner = learner["teacher"] if name == "teacher" else learner["students"][name]
        saved = owner["trained"]["network"]
        flat[name] = np.concatenate([saved[key].reshape(-1) for key, _ in network.named_parameters()])
    return Weights(checkpoint.step, flat)


def test_the_folder_holds_all_its_files(finished):
    files = {path.name for path in finished.folder.iterdir()}
    named = {
        "config.toml",
        "metrics.jsonl",
        "tb",
        "checkpoints",
        "summary.json",
        "machine.json",
        "report.html",
        "score_vs_size.svg",
        "commands.txt",
        "lock",
    }
    assert files == {*named, "lock"}  # a teacher that learns here is in the checkpoints: there is no folder `teachers`
    assert not any(".tmp-" in name for _, _, names in os.walk(finished.folder) for name in names)


def test_the_summary_has_exactly_its_keys(finished):
    told = summary(finished.folder)
    assert kinds(told) == SUMMARY
    assert (told["env"], told["seed"], told["status"]) == ("CartPole-v1", 3, "finished")
    assert [student["loss"] for student in told["students"].values()] == ["kl", "mse"]
    assert told["teacher"]["episodes"] == told["students"]["tiny"]["episodes"] == 3


def test_the_command_line_is_kept(finished):
    line = f"python launch.py train {finished.run_file} --seed 3 --out run\n"
    assert (finished.folder / "commands.txt").read_text() == line


def test_agreement_by_gap_is_a_share_too(finished):
    for student in summary(finished.folder)["students"].values():
        assert 0 <= student["gap_weighted_agreement"] <= 1


def test_sizes_are_those_of_the_networks(finished):
    told = summary(finished.folder)
    # 4 inputs, one hidden layer of h, 2 outputs: 4 h + h + 2 h + 2.
    sizes = {"teacher": 7 * 32 + 2, "half": 7 * 16 + 2, "tiny": 7 * 4 + 2}
    assert {name: told["students"].get(name, told["teacher"])["parameters"] for name in sizes} == sizes
    assert told["students"]["tiny"]["parameter_share"] == 30 / 226


def test_every_step_is_accounted_for(finished):
    told = summary(finished.folder)
    assert told["replay"]["evicted"] > 0, "the replay was to be small enough that evictions are counted too"
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=32)
    # Whole segments of 8 lanes x 8 steps, none beyond the bound but the last.
    assert 16_000 <= told["env_steps"] < 16_000 + 64
    assert told["env_steps"] % 64 == 0


def test_the_config_is_whole(finished):
    text = (finished.folder / "config.toml").read_text()
    config = run_file.decode(tomllib.loads(text))
    assert run_file.encode(config) == text
    assert set(tomllib.loads(text)) == set(run_file.RunConfig.__dataclass_fields__)
    assert config.seed == 3
    expected = run_file.decode(run_file.merge(run_file.read_toml(finished.run_file), {"seed": 3}))
    assert config == expected


def test_metrics_are_strict_json_whose_counts_never_fall(finished):
    lines = metrics(finished.folder)
    assert all({"time", "env_steps", "updates"} <= line.keys() for line in lines)
    assert never_fall(lines, "time", "env_steps", "updates")
    told = summary(finished.folder)
    assert (lines[-1]["env_steps"], lines[-1]["updates"]) == (told["env_steps"], told["updates"])
    charts = [line["charts"] for line in lines if "charts" in line]
    assert charts[-1]["replay_inserted"] == told["replay"]["inserted"]
    assert never_fall(charts, "replay_inserted", "replay_sampled")
    # The ring never holds more than its rows, and the pace is never exceeded.
    assert all(chart["replay_size"] <= 1000 and chart["samples_per_insert"] <= 4.0 for chart in charts)
    losses = [line["losses"] for line in lines if line.get("losses")]
    assert losses
    assert set(losses[-1]) == {"teacher", "half", "tiny"}
    assert all(np.isfinite(losses[-1][name]["loss"]) for name in losses[-1])


def test_tensorboard_reads_the_same_figures(finished):
    events = EventAccumulator(str(finished.folder / "tb")).Reload()
    tags = set(events.Tags()["scalars"])
    for name in ("teacher", "half", "tiny"):
        assert {f"losses/{name}/loss", f"losses/{name}/grad_norm", f"evaluation/{name}/return_mean"} <= tags
    assert {"charts/env_steps_per_second", "charts/samples_per_insert", "evaluation/random/return_mean"} <= tags
    assert any(tag.startswith("episodes/teacher/") for tag in tags)
    curve = [(line["env_steps"], line["evaluation"]["half"]["return_mean"]) for line in metrics(finished.folder)
             if "evaluation" in line]  # fmt: skip
    shown = [(event.step, event.value) for event in events.Scalars("evaluation/half/return_mean")]
    assert shown == [(step, pytest.approx(value, rel=1e-6)) for step, value in curve]


def test_there_were_evaluations_and_checkpoints_on_the_way(finished):
    versions = [evaluation["version"] for evaluation in evaluations(finished.folder)]
    told = summary(finished.folder)
    assert len(versions) >= 2
    assert versions == sorted(versions)
    assert versions[-1] == told["updates"]
    # Where one was just taken when the run ends, the last bears the same number of updates and a -2 behind it.
    saved = [path.name for path in (finished.folder / "checkpoints").glob("step-*")]
    assert 2 <= len(saved) <= 3
    assert max(int(name.split("-")[1]) for name in saved) == told["updates"]
    latest = (finished.folder / "checkpoints" / "LATEST").read_text().strip()
    assert latest in saved
    assert latest.split("-")[1] == str(told["updates"])


def test_mistake_18_the_score_is_that_of_the_last_weights(finished):
    """Not the best of all evaluations: the last weights play again and get the very scores that are reported."""
    told = summary(finished.folder)
    config, parts = parts_of(finished.folder)
    evaluator = Evaluator(**parts.evaluator())
    again = evaluator.evaluate(saved_weights(finished.folder), final=True)
    evaluator.close()
    for name in config.policies:
        reported = told["teacher"] if name == "teacher" else told["students"][name]
        returns = again.scores[name].returns
        assert reported["return_mean"] == pytest.approx(np.mean(returns))
        assert reported["return_ci95"] == pytest.approx(bootstrap_ci95(returns))
        assert evaluations(finished.folder)[-1][name]["return_mean"] == pytest.approx(np.mean(returns))
    assert told["random_return"] == pytest.approx(np.mean(again.scores["random"].returns))
    for key, score in (("action_agreement", "agreement"), ("gap_weighted_agreement", "gap_weighted_agreement")):
        assert told["students"]["tiny"][key] == pytest.approx(getattr(again.scores["tiny"], score))


def test_mistake_16_a_share_is_counted_from_the_random_score(finished):
    told = summary(finished.folder)
    random, teacher = told["random_return"], told["teacher"]["return_mean"]
    for student in told["students"].values():
        assert student["normalised_score"] == pytest.approx((student["return_mean"] - random) / (teacher - random))


def test_what_is_printed(finished):
    told, lines = summary(finished.folder), finished.out.splitlines()
    assert lines[0] == "plan"
    assert "run   run" in lines
    rows = {line.split()[0]: line.split() for line in lines if line.startswith(" ")}
    assert rows["teacher"][1] == "226"
    assert rows["tiny"][1:4] == ["30", "13", "%"]
    assert rows["half"][4] == f"{told['students']['half']['return_mean']:.1f}"
    assert rows["random"][1] == f"{told['random_return']:.1f}"
    # Largest first, so that the eye goes down with the size.
    assert lines.index(next(line for line in lines if line.startswith(" half"))) < lines.index(
        next(line for line in lines if line.startswith(" tiny"))
    )
    assert lines[-3:] == ["report    run/report.html", "picture   run/score_vs_size.svg", "run       run"]
    assert all(len(line) <= 120 or "smallest student" in line or " steps (" in line for line in lines)
    assert "\x1b" not in finished.out


def test_the_weights_are_not_those_of_the_start(finished):
    _, parts = parts_of(finished.folder)
    weights = saved_weights(finished.folder)
    for name, network in parts.networks().items():
        assert not np.array_equal(networks.to_flat(network), weights.flat[name]), name


@pytest.mark.parametrize("policy", ["teacher", "tiny"])
def test_evaluate_plays_the_saved_weights(finished, capsys, policy):
    asked = ["evaluate", str(finished.folder), "--policy", policy, "--episodes", "4"]
    assert main([*asked, "--json"]) == 0
    told = strict(capsys.readouterr().out)
    scored = {"policy", "seed", "episodes", "return_mean", "return_ci95", "returns", "lengths"}
    assert set(told) == {*scored, "observation_noise", "sticky_actions"}
    assert (told["policy"], told["seed"], told["episodes"], len(told["returns"])) == (policy, 0, 4, 4)
    assert told["return_mean"] == pytest.approx(np.mean(told["returns"]))
    assert told["returns"] == told["lengths"]  # CartPole pays 1 a step
    assert main([*asked, "--json"]) == 0
    assert strict(capsys.readouterr().out) == told, "the same seed plays the same episodes"
    assert main(asked) == 0
    assert capsys.readouterr().out.startswith(f"{policy}: return {told['return_mean']:.1f} (95 % interval ")


def test_evaluate_as_a_user_starts_it(finished):
    ended = launch("evaluate", finished.folder, "--policy", "half", "--episodes", 2, "--json", cwd=finished.folder)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["policy"] == "half"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--policy", "tin"], "unknown policy (policy=tin): the run has none of this name. Did you mean tiny?"),
        (
            ["--policy", "zzz"],
            "unknown policy (policy=zzz): the run has none of this name. The policies are teacher, half, tiny, random",
        ),
        (
            ["--policy", "tiny", "--episodes", "0"],
            "bad number of episodes (episodes=0): it must be at least 1. Set --episodes 20",
        ),
        (["--policy", "tiny", "--seed", "-1"], "bad seed (seed=-1): it must be at least 0. Set --seed 0"),
        ([], "the following arguments are required: --policy. See python launch.py evaluate --help"),
    ],
)
def test_evaluate_tells_what_is_wrong(finished, capsys, words, line):
    assert main(["evaluate", str(finished.folder), *words]) == 2
    assert capsys.readouterr().err == f"error: {line}\n"


def test_evaluate_without_a_whole_checkpoint(finished, tmp_path, capsys):
    shutil.copytree(finished.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert main(["evaluate", str(tmp_path / "run"), "--policy", "tiny"]) == 4
    where = tmp_path / "run" / "checkpoints"
    assert capsys.readouterr().err == (
        f"error: no checkpoint to start from (path={where}): there is none. "
        "Bring back the folder from a copy, or start a new run\n"
    )


def test_a_finished_run_does_not_start_over_its_own_folder(finished, capsys):
    before = summary(finished.folder)
    assert main(["train", str(finished.run_file), "--runner", "inline", "--out", str(finished.folder)]) == 2
    assert capsys.readouterr().err == (
        f"error: the folder is in use (out={finished.folder}): it holds a run already. "
        f'Go on with "python launch.py resume {finished.folder}", or give another --out\n'
    )
    assert summary(finished.folder) == before


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (
            ["--replay.capacity", "2000"],
            ["the run was made with another value (replay.capacity=2000): it is 1000 in {config}. {fix}"],
        ),
        (
            ["--teacher.gamma", "0.9", "--seed", "4"],
            [
                "the run was made with another value (seed=4): it is 3 in {config}. {fix}",
                "the run was made with another value (teacher.gamma=0.9): it is 0.99 in {config}. {fix}",
            ],
        ),
        (
            ["--students.tiny", "none"],
            ["the run was made with another value (students.tiny.network.kind=None): it is mlp in {config}. {fix}"],
        ),
    ],
)
def test_resume_with_what_may_not_change_tells_the_difference(finished, capsys, words, lines):
    config = finished.folder / "config.toml"
    before = config.read_bytes()
    may = "stop, evaluation, checkpoint, supervision, placement, tracking, learner and new students"
    fix = f"Leave it, or start a new run; only {may} may change"
    assert main(["resume", str(finished.folder), *words]) == 4
    told = capsys.readouterr().err.splitlines()
    expected = [f"error: {line.format(config=config, fix=fix)}" for line in lines]
    assert told[: len(expected)] == expected
    assert all(line.startswith("error: the run was made with another value (") for line in told)
    assert config.read_bytes() == before


def test_a_checkpoint_of_other_shapes_is_told_whole(finished, tmp_path, capsys):
    """The run file was edited by hand after the run: every parameter that does not fit is named."""
    folder = tmp_path / "run"
    shutil.copytree(finished.folder, folder)
    text = (folder / "config.toml").read_text()
    tables = tomllib.loads(text)
    tables["students"]["tiny"]["network"]["hidden"] = [5]
    (folder / "config.toml").write_text(run_file.encode(run_file.decode(tables)))
    for words in (["resume", str(folder), "--runner", "inline"], ["evaluate", str(folder), "--policy", "half"]):
        assert main(words) == 4
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 3  # weight and bias of the hidden layer, weight of the last
        for line in told:
            assert line.startswith("error: the checkpoint does not fit (tiny.")
            assert line.endswith(". Use the run file that the checkpoint was made with")
    assert "(4, 4)" in told[0]
    assert "(5, 4)" in told[0]
