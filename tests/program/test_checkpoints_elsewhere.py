"""Runs whose checkpoints lie at a URL: started, stopped and resumed as those that keep them in their folder."""

import shutil
import signal
from pathlib import Path

import pytest
from launching import Started, launch, run_file, summary
from test_inline_runs import contents

from distributed_kd.cli import main
from distributed_kd.storage.checkpoints import load_newest

pytestmark = pytest.mark.timeout(300)
INLINE = ("--runner", "inline", "--evaluation.every_seconds", 0, "--checkpoint.every_seconds", 0)


def learner(where) -> object:
    return contents(load_newest(where).parts["learner"])


def test_a_run_goes_on_from_a_url_and_learns_the_same(tmp_path):
    """In three processes: what is learned is that of a run that keeps its checkpoints in its folder, to the bit."""
    source, url = run_file(tmp_path, 800), f"local://{tmp_path}/store/run"
    ended = launch("train", source, *INLINE, "--checkpoint.to", url, "--out", "run", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    first = load_newest(url)
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    assert f'to = "{url}"' in (tmp_path / "run" / "config.toml").read_text()
    assert summary(tmp_path / "run")["checkpoints"]["last_step"] == first.step

    (tmp_path / "run").rename(tmp_path / "lost")  # with its machine, but for a copy of its run file
    (tmp_path / "run").mkdir()
    shutil.copy(tmp_path / "lost" / "config.toml", tmp_path / "run")
    ended = launch("resume", "run", "--stop.env_steps", 1_600, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"resuming from {url}/{first.name}\n" in ended.stdout
    assert main(["train", str(source), *map(str, INLINE), "--out", str(tmp_path / "here")]) == 0
    assert main(["resume", str(tmp_path / "here"), "--stop.env_steps", "1600"]) == 0
    assert learner(url) == learner(tmp_path / "here" / "checkpoints")

    # Whoever else reads a run's checkpoints finds them there.
    ended = launch("evaluate", "run", "--policy", "tiny", "--episodes", 1, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    taught = ["train", str(source), *map(str, INLINE), "--teacher.source", str(tmp_path / "run"), "--stop.env_steps", "400"]
    assert main([*taught, "--out", str(tmp_path / "taught")]) == 0
    states = ["--states", "50", "--out", str(tmp_path / "states.npz")]
    assert main(["dataset", str(tmp_path / "run"), *states]) == 0


def test_what_is_wrong_is_told_before_anything_starts(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, url = run_file(tmp_path, 500), f"local://{tmp_path}/store"
    train = ["train", str(source), *map(str, INLINE)]
    assert main([*train, "--checkpoint.to", url, "--out", "run"]) == 0
    name = load_newest(url).name
    capsys.readouterr()
    cases = {
        url: f"the place is in use (checkpoint.to={url}): it holds {name} already. "
        "Give another --checkpoint.to, or go on with that run",
        "bucket": "bad place for checkpoints (checkpoint.to='bucket'): it must be a whole URL. "
        "Set --checkpoint.to s3://BUCKET/PREFIX or file:///FOLDER",
        "file://here": "bad place for checkpoints (checkpoint.to='file://here'): it must be a whole URL. "
        "Set --checkpoint.to s3://BUCKET/PREFIX or file:///FOLDER",
        "ftp://me:secret@host/x": "a place with a secret in it (checkpoint.to=(not shown)): it would stand in config.toml. "
        "Give credentials in the environment, as the store expects them",
        "nowhere://x": "unknown kind of place (checkpoint.to=nowhere://x): fsspec knows no nowhere://. "
        "Set --checkpoint.to s3://BUCKET/PREFIX or gs://BUCKET/PREFIX",
    }
    for to, line in cases.items():
        assert main([*train, "--checkpoint.to", to, "--out", "other"]) == 2
        assert capsys.readouterr().err == f"error: {line}\n"
    assert not Path("other").exists()
    assert main(["resume", "run", "--checkpoint.to", "memory://elsewhere"]) == 4
    told = capsys.readouterr().err
    assert told.startswith("error: the run was made with another value (checkpoint.to=memory://elsewhere): ")

    shutil.rmtree(tmp_path / "store")
    assert main(["resume", "run"]) == 4
    assert capsys.readouterr().err.startswith(f"error: no checkpoint to start from (path={url}): there is none. ")


@pytest.mark.slow
def test_on_ray_a_run_is_preempted_killed_and_resumed(tmp_path):
    source, store, folder = run_file(tmp_path, 1_000_000_000), tmp_path / "store", tmp_path / "run"
    words = ["--checkpoint.to", f"local://{store}", "--out", "run"]
    with Started("train", source, *words, cwd=tmp_path) as run:
        run.until((store / "LATEST").is_file, "a checkpoint was committed")
        run.signal(signal.SIGKILL)
        run.ended()
    with Started("resume", "run", cwd=tmp_path) as run:
        unlearned = ("step-0", (store / "LATEST").read_text())  # the name of one from before the first update begins so
        run.until(lambda: not (store / "LATEST").read_text().startswith(unlearned), "it learned on and saved that")
        run.signal(signal.SIGTERM)
        assert run.ended() == 75, run.err
    told = summary(folder)
    assert load_newest(f"local://{store}").step == told["updates"] > 0
    assert launch("resume", "run", "--stop.updates", told["updates"] + 200, cwd=tmp_path).returncode == 0
    assert {path.name.partition("-")[0] for path in store.iterdir()} == {"LATEST", "step"}
    assert len(list(store.iterdir())) == 4, "LATEST and as many as are kept"
