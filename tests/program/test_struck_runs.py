"""`--chaos`: faults put into a whole run on purpose, and what the run says of them at its end."""

import pytest
from launching import assert_nothing_is_lost, launch, run_file, summary

pytestmark = pytest.mark.timeout(300)


def test_a_run_lives_through_its_faults_and_counts_them(tmp_path):
    words = ["--out", "run", "--stop.minutes", 0.9, "--checkpoint.every_seconds", 3, "--rollouts.env_faults", 10_000]
    faults = "kill=rollout:8s,learner:12s;env=raise:0.01,nan:0.01"
    ended = launch("train", run_file(tmp_path, 10**9), *words, "--chaos", faults, cwd=tmp_path, seconds=250)
    assert ended.returncode == 0, ended.stderr
    told = summary(tmp_path / "run")
    account = told["accounting"]
    assert_nothing_is_lost(told, batch_size=32)
    assert account["on_purpose"]["kill rollout"] == account["restarts"]["rollout"] > 0
    assert account["on_purpose"]["kill learner"] == account["restarts"]["learner"] == account["rollbacks"]["count"] > 0
    assert account["dropped"]["env_error"] > 0 and account["dropped"]["env_nan"] > 0
    assert 0 < account["recovery_seconds"]["rollout"]["count"] <= account["restarts"]["rollout"]
    assert account["recovery_seconds"]["learner"]["max"] < 60
    assert "on purpose" in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["learner", "replay"])
def test_a_frozen_learner_or_replay_is_replaced_and_costs_no_budget(kind, tmp_path):
    words = ["--out", "run", "--stop.minutes", 1.2, "--checkpoint.every_seconds", 2, "--supervision.restarts", 0]
    ended = launch("train", run_file(tmp_path, 10**9), *words, "--chaos", f"freeze={kind}:12s", cwd=tmp_path, seconds=250)
    assert ended.returncode == 0, ended.stderr
    told = summary(tmp_path / "run")
    assert_nothing_is_lost(told, batch_size=32)
    assert told["accounting"]["recovery_seconds"][kind]["count"] > 0
    assert f"the {kind} hangs: it has given no sign of life" in ended.stderr


@pytest.mark.slow
def test_calls_that_ray_loses_are_made_good(tmp_path):
    words = ["--out", "run", "--stop.minutes", 1, "--checkpoint.every_seconds", 5, "--supervision.restarts", 10_000]
    ended = launch("train", run_file(tmp_path, 10**9), *words, "--chaos", "rpc=5", cwd=tmp_path, seconds=250)
    assert ended.returncode == 0, ended.stderr
    told = summary(tmp_path / "run")
    assert_nothing_is_lost(told, batch_size=32)
    assert told["updates"] > 0
    assert "duplicate" not in told["accounting"]["dropped"], "a call that was repeated was answered and not done again"
    assert told["accounting"]["rollbacks"]["count"] == 0, "neither learner nor replay was taken for lost"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--chaos", "kill=rolout:20s"],
         "error: unknown fault (chaos=kill=rolout): there is none of this name. Did you mean kill=rollout?"),
        (["--chaos", "kill=rollout:20s", "--runner", "inline"],
         "error: options exclude each other (chaos=kill=rollout:20s): the inline runner uses no cluster. Drop one"),
        (["--chaos", "rpc=20", "--address", "auto"],
         "error: options exclude each other (chaos=rpc=20): the calls of a Ray that runs already cannot be lost on purpose. "
         "Drop one"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_at_once(words, line, tmp_path):
    ended = launch("train", "cartpole", *words, cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stderr.splitlines() == [line]
    assert not (tmp_path / "runs").exists()
