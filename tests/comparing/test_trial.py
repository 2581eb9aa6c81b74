"""One run of a comparison: how it is begun or gone on with, by what lies in its folder, and what is told of its end."""

import signal
import subprocess

import pytest

from distributed_kd import run_file
from distributed_kd.comparing import trial as trials
from distributed_kd.comparing.folder import Comparison
from distributed_kd.comparing.trial import State, Trial, last_error
from distributed_kd.comparing.variants import Variant
from distributed_kd.errors import ConfigurationError
from distributed_kd.storage.checkpoints import save
from distributed_kd.storage.run_folder import RunFolder


class Process:
    """A process that was never started; `code` is how it ended."""

    def __init__(self, words, **about):
        self.words, self.about = words, about
        self.code, self.signals = None, []

    def poll(self):
        return self.code

    def send_signal(self, number):
        self.signals.append(number)


@pytest.fixture(autouse=True)
def started(monkeypatch):
    processes = []
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: processes.append(Process(*a, **k)) or processes[-1])
    return processes


def trial_in(path, **tables):
    config = run_file.decode(run_file.merge({"students": {"tiny": {}}}, tables))
    return Trial(Comparison(path, [], 2, 0.0, None), Variant("a", "a.toml", {}, config), 1)


def begun(trial, status="interrupted", checkpoint=True) -> RunFolder:
    folder = RunFolder.create(trial.folder.path, "")
    folder.write_summary({"status": status})
    if checkpoint:
        save(folder.checkpoints, 7, {"learner": {}}, {}, 1)
    return folder


def test_a_new_one_is_begun_in_a_process_and_session_of_its_own(tmp_path, started):
    trial = trial_in(tmp_path)
    trial.start(["--runner", "inline"], devices=None)
    (process,) = started
    _, _, _, module, *words = process.words
    assert module == "distributed_kd.cli"
    out = str(tmp_path / "CartPole-v1__a__s1__19700101T000000Z")
    assert words == ["train", str(tmp_path / "files" / "a.toml"), "--seed", "1", "--out", out, "--runner", "inline"]
    assert process.about["start_new_session"]
    assert process.about["stderr"] == subprocess.STDOUT
    assert (trial.state, trial.goes_on) == (State.RUNNING, False)
    assert not trial.look()
    trial.stop(signal.SIGTERM)
    assert (process.signals, trial.state) == ([signal.SIGTERM], State.ENDING)


def test_it_sees_the_gpus_that_it_was_given_and_no_others(tmp_path, started, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    trial_in(tmp_path).start([], devices="2")
    trial_in(tmp_path).start([], devices=None)
    assert [process.about["env"]["CUDA_VISIBLE_DEVICES"] for process in started] == ["2", "0,1,2"]


def test_one_that_was_interrupted_goes_on(tmp_path, started):
    begun(trial_in(tmp_path))
    trial = trial_in(tmp_path)
    assert trial.state == State.WAITING
    trial.start([], devices=None)
    assert started[0].words[4:] == ["resume", str(trial.folder.path)]
    assert trial.goes_on


@pytest.mark.parametrize("whole", [True, False])
def test_one_without_a_checkpoint_is_begun_anew(whole, tmp_path, started):
    folder = begun(trial_in(tmp_path), status="failed", checkpoint=False)
    if not whole:
        folder.config_file.unlink()
    trial = trial_in(tmp_path)
    trial.start([], devices=None)
    assert started[0].words[4] == "train"
    assert not trial.folder.path.exists()
    assert not trial.goes_on


def test_a_folder_in_which_somebody_is_at_work_is_not_touched(tmp_path, started):
    with begun(trial_in(tmp_path), checkpoint=False).lock(), pytest.raises(ConfigurationError, match="in use") as told:
        trial_in(tmp_path).start([], devices=None)
    assert started == []
    trial = trial_in(tmp_path)
    assert trial.folder.config_file.is_file()
    trial.refuse(told.value)
    assert (trial.state, trial.exit_code) == (State.FAILED, 2)
    assert trial.why.startswith("code 2: the folder is in use")


def test_one_that_was_finished_stays_so(tmp_path):
    begun(trial_in(tmp_path), status="finished")
    assert trial_in(tmp_path).state == State.FINISHED


def test_checkpoints_elsewhere_have_a_place_for_each_run(tmp_path, started):
    to = f"file://{tmp_path}/store/"
    trial = trial_in(tmp_path, checkpoint={"to": to})
    trial.start([], devices=None)
    place = f"{to}{trial.folder.path.name}"
    assert started[0].words[-2:] == ["--checkpoint.to", place]
    begun(trial, checkpoint=False)
    save(place, 3, {"learner": {}}, {}, 1)
    trial.start([], devices=None)
    assert started[1].words[4:] == ["resume", str(trial.folder.path)]


@pytest.mark.parametrize(
    ("code", "status", "state", "exit_code"),
    [
        (0, "finished", State.FINISHED, None),
        (0, "failed", State.FAILED, 9),
        (3, "failed", State.FAILED, 3),
        (-9, "failed", State.FAILED, 9),
        (75, "preempted", State.STOPPED, 75),
        (130, "interrupted", State.STOPPED, 130),
    ],
)
def test_its_end(code, status, state, exit_code, tmp_path, started):
    trial = trial_in(tmp_path)
    trial.start([], devices=None)
    begun(trial, status)
    started[0].code = code
    assert trial.look()
    assert trial.state == state
    assert exit_code is None or trial.exit_code == exit_code
    assert not trial.look(), "it ends once"


def test_why_it_failed_is_its_last_error_of_this_time(tmp_path, started):
    trial = trial_in(tmp_path)
    trial.log.parent.mkdir()
    trial.log.write_text("error: of the time before\n")
    trial.start([], devices=None)
    started[0].code = -signal.SIGKILL
    trial.look()
    assert trial.why == "killed by SIGKILL"
    with trial.log.open("a") as log:
        log.write("error: first\nerror: second \x1b[31m\nrun  all\n\n")
    assert trial.why == r"killed by SIGKILL: second \x1b[31m"


def test_the_last_error_of_a_long_log(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "TAIL", 64)
    log = tmp_path / "log.txt"
    log.write_text("x" * 1000 + "\nSegmentation fault\n")
    assert last_error(log, 0) == "Segmentation fault"
    log.write_bytes(b"\xff" * 1000 + b"\nerror: \xff\n")
    assert last_error(log, 0) == "�"
    log.write_text("")
    assert last_error(log, 0) == ""
