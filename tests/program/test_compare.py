"""`compare` as a user starts it: runs side by side, one that fails, all interrupted, and the same command again."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from launching import Started, launch, run_file, summary, wait_for
from test_bad_input import check_told

from distributed_kd.cli import main

pytestmark = pytest.mark.timeout(200)


def odd_file(place: Path, env_steps: int) -> Path:
    """A run file of an environment that can be broken once, for the runs of all seeds together."""
    shutil.copy(Path(__file__).with_name("odd_envs.py"), place)
    env = '[env]\nid = "odd_envs:Odd-v0"\nkwargs = { fault = "raise once", fault_at = 61 }\n'
    path = run_file(place, env_steps, env)
    # Nobody but the rollouts is to meet the fault: the evaluation at the end plays fewer steps.
    for old, new in (("[rollouts]", "[rollouts]\nenv_faults = 0"), ("every_seconds = 0.2", "every_seconds = 0"),
                     ("samples_per_insert = 4.0", "samples_per_insert = 2.0")):  # fmt: skip
        path.write_text(path.read_text().replace(old, new))
    return path


def runs_in(place: Path) -> list[Path]:
    return sorted(path.parent for path in place.glob("*/config.toml"))


def test_one_fails_all_are_interrupted_and_go_on_by_the_same_command(tmp_path):
    (tmp_path / "odd_envs.broken").touch()
    words = ["compare", odd_file(tmp_path, 8_000), "--seeds", 2, "--out", "all", "--runner", "inline", "--allow-env-import"]
    place = tmp_path / "all"

    with Started(*words, cwd=tmp_path, importable=tmp_path) as both:
        both.until(lambda: "failed" in both.out, "one of the two failed")
        sound = next(path for path in runs_in(place) if f"{path.name.split('__')[2]}, code" not in both.out)
        both.until_checkpoint(sound)
        assert len(both.family()) >= 1
        both.signal(signal.SIGINT)
        assert both.ended() == 130
        wait_for(lambda: not both.left(), "every process is gone")
    (line,) = both.err.splitlines()
    assert line.startswith("error: tiny s")
    assert "failed, code 3: the environment failed (env.id=odd_envs:Odd-v0)" in line
    assert "RuntimeError: the engine stalled" in line
    assert "0 of 2 runs are finished" in both.out
    assert "go on     python launch.py compare " in both.out
    first = {path: summary(path) for path in runs_in(place)}
    assert sorted(told["status"] for told in first.values()) == ["failed", "interrupted"]
    assert [path.name.split("__")[:3] for path in first] == [["odd_envs-Odd-v0", "tiny", f"s{seed}"] for seed in (0, 1)]

    ended = launch(*words, cwd=tmp_path, importable=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("goes on") == 2
    for path, before in first.items():
        told = summary(path)
        assert told["status"] == "finished"
        assert told["updates"] > before["updates"] > 0
        assert [word.split()[2] for word in (path / "commands.txt").read_text().splitlines()] == ["train", "resume"]
    assert "[2 of 2 runs finished]" in ended.stdout
    assert " half     tiny          2 " in ended.stdout
    assert "report    all/report.html" in ended.stdout
    assert {path.name for path in place.glob("report.*")} == {"report.html", "report.csv", "report.json"}
    asked = json.loads((place / "comparison.json").read_text())
    assert asked["seeds"] == 2
    assert [one["runs"] for one in asked["files"]] == [[path.name for path in first]]


@pytest.mark.slow
def test_a_killed_comparison_leaves_nothing_and_goes_on(tmp_path):
    words = ["compare", run_file(tmp_path, 8_000), "--seeds", 2, "--out", "all", "--runner", "inline"]
    with Started(*words, cwd=tmp_path) as both:
        both.until(lambda: len(list(tmp_path.glob("all/*/checkpoints/LATEST"))) == 2, "both have a checkpoint")
        assert len(both.family()) >= 3
        both.signal(signal.SIGKILL)
        assert both.ended() == -signal.SIGKILL
        wait_for(lambda: not both.left(), "every process is gone", seconds=10)
    ended = launch(*words, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.count("goes on") == 2


@pytest.mark.slow
def test_a_comparison_on_a_cluster_that_is_shared(tmp_path):
    """Two at once, as there is room for, on the Ray of somebody else, who finds all of it free again."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 7, "include_dashboard": False})
    try:
        words = ["compare", run_file(tmp_path, 2_000), "--seeds", 2, "--out", "all", "--address", cluster.address]
        ended = launch(*words, cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        lines = [line.split()[2] for line in ended.stdout.splitlines() if " tiny s" in line]
        assert lines == ["started", "started", "finished", "finished"]
        ray.init(address=cluster.address, log_to_driver=False)
        wait_for(lambda: ray.available_resources().get("CPU") == 7, "all CPUs are free")
    finally:
        ray.shutdown()
        cluster.shutdown()


THERE = "the comparison was made otherwise"
TABLE = [
    ("compare", "nothing to compare (FILE=): compare needs one file or more. "
     "Give presets (python launch.py presets lists them) or run files"),
    ("compare cartpol --out new", "unknown preset (preset='cartpol'): there is none of this name. Did you mean cartpole?"),
    ("compare none.toml --out new", "no students (students=none): there is nothing to distil into. "
     "Add one with --students.tiny.network.hidden 16 16"),
    ("compare own.toml own.toml --out new",
     "given twice (file=own.toml): it would be compared with itself. Name it once"),
    ("compare own.toml --out new --seeds 0",
     "bad seeds (seeds=0): it must be a whole number from 1 to 1000. Set --seeds 1 or more"),
    ("compare own.toml --out new --seed 3", "not an option here (seed=): each run of a comparison has a seed of its own. "
     "Give --seeds 5 for the seeds 0 to 4"),
    ("compare own.toml --out new --at-once -1",
     "bad at-once (at-once=-1): it must be a whole number from 1 to 1000. Set --at-once 1 or more"),
    ("compare own.toml --out new --grid students.tiny.temprature=0.1,1",
     "unknown flag (students.tiny.temprature=0.1): the run file has no key of this name. "
     "Did you mean --students.tiny.temperature?"),
    ("compare own.toml --out new --grid students.tinny.loss=kl,mse",
     "unknown student (grid=students.tinny.loss): there is none of this name. Did you mean tiny?"),
    ("compare own.toml --out new --grid students.tiny.loss=",
     "bad grid (grid=students.tiny.loss=): a value is empty. Give for example --grid students.tiny.loss=A,B"),
    ("compare own.toml --out new --grid students.tiny.temperature=auto,-3",
     "bad temperature (students.tiny.temperature=-3.0): it must be a finite number above 0. "
     "Set --students.tiny.temperature to a positive number"),
    ("compare own.toml --out new --grid replay.batch_size=32,64 --replay.batch_size 8",
     "conflicting flags (replay.batch_size=32): --replay.batch_size 8 is given too. Keep one of the two"),
    ("compare own.toml --out new --env.id CartPol-v1",
     "unknown environment (env.id=CartPol-v1): Gymnasium has no such id. Did you mean CartPole-v1?"),
    ("compare own.toml --out full",
     "the folder is in use (out=full): it holds something else than a comparison. Give another --out"),
    ("compare own.toml --out own.toml",
     "the folder cannot be made (out=own.toml): a file is in its place. Give another --out"),
    ("compare own.toml --out compared --seeds 2",
     f"{THERE} (seeds=2): it was begun with 3. Give --seeds 3 or more, or another --out"),
    ("compare own.toml --out compared --students.tiny.loss mse", f"{THERE} (students.tiny.loss=mse): "
     "it is kl in compared/files/own.toml. Leave files and flags as they were, or give another --out"),
    ("compare own.toml cartpole --out compared", f"{THERE} (files=own, cartpole): compared holds one of own. "
     "Give the same files and --grid, or another --out"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "line"), TABLE, ids=[words for words, _ in TABLE])
def test_what_cannot_be_compared_is_told_before_anything_starts(words, line, place, capsys):
    from distributed_kd import run_file as run_files
    from distributed_kd.comparing.folder import Comparison
    from distributed_kd.comparing.variants import Variant

    config = run_files.decode({"students": {"tiny": {}}})
    Comparison(place / "compared", [Variant("own", "own.toml", {}, config)], 3, 0.0, None).make("", {})
    if words == "compare":
        words, line = "compare --out new", line
    check_told(2, words, [line], place, capsys)
    assert not (place / "new").exists()


def test_all_that_is_wrong_with_a_grid_is_told_at_once(place, capsys):
    words = "compare own.toml --grid students.tiny.los=kl,mse replay.capcity=1 foo bar=1,1 --seeds x"
    check_told(
        2,
        words,
        [
            "bad seeds (seeds=x): it must be a whole number from 1 to 1000. Set --seeds 1 or more",
            "bad grid (grid=foo): it names no key and its values. Give for example --grid "
            "students.tiny.temperature=0.01,0.1,auto",
            "bad grid (grid=bar=1,1): a value is given twice. Give each value once",
            "no folder (out=): a comparison needs a folder for its runs. Give --out runs/NAME; the same command goes on "
            "there later",
        ],
        place,
        capsys,
    )


def test_help(capsys):
    assert main(["compare", "acrobot", "--help"]) == 0
    page = capsys.readouterr().out
    for option in ("FILE ...", "--out DIR", "--seeds N", "--grid KEY=A,B", "--at-once N", "--runner", "--address", "--data"):
        assert option in page
    assert "(default: Acrobot-v1)" in page
    assert all(len(line) <= 120 for line in page.splitlines())
