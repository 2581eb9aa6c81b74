"""The loop of a comparison over runs that never run: who starts when, and what a signal or a fault does to them."""

import os
import signal

import pytest
from trials import Fake

from distributed_kd.comparing import driver
from distributed_kd.comparing.driver import drive
from distributed_kd.comparing.room import Need, Room
from distributed_kd.comparing.trial import State
from distributed_kd.training.plan import Node


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(driver, "BEAT_SECONDS", 0.0)


class Events(list):
    """What was told, and the most runs that were under way at once."""

    def __init__(self, trials):
        super().__init__()
        self.trials, self.most = trials, 0

    def tell(self, changed):
        self.most = max(self.most, sum(trial.is_running for trial in self.trials))
        if changed is not None:
            self.append(f"{changed.name} {changed.state}")


def driven(trials, cores=2, at_once=0, gpus=()):
    events = Events(trials)
    code = drive(trials, Room([Node(cores, len(gpus))]), at_once, ["--runner", "inline"], gpus, events.tell)
    return code, events


def test_as_many_as_there_is_room_for_in_their_order():
    trials = [Fake("a", looks=3), Fake("b", looks=1), Fake("c", looks=1)]
    code, events = driven(trials)
    assert code == 0
    assert events == ["a running", "b running", "b finished", "c running", "c finished", "a finished"]
    assert events.most == 2
    assert trials[0].started_with == (("--runner", "inline"), None)


def test_no_more_at_once_than_was_asked():
    _, events = driven([Fake(name) for name in "abcd"], cores=8, at_once=1)
    assert events.most == 1
    assert len(events) == 8


def test_a_small_one_passes_a_large_one_that_waits_for_room():
    _, events = driven([Fake("a", looks=3), Fake("large", cpus=2.0), Fake("small")])
    assert events[:2] == ["a running", "small running"]
    assert events[-2:] == ["large running", "large finished"]


def test_those_that_were_over_are_left_alone_and_one_that_fails_ends_no_other():
    done = Fake("done", state=State.FINISHED)
    trials = [done, Fake("a", code=3), Fake("b", looks=3), Fake("locked", refused=True)]
    code, events = driven(trials)
    assert code == 0  # what failed is for who tells of the end
    assert done.started_with is None
    assert events == ["a running", "b running", "a failed", "locked failed", "b finished"]
    assert trials[3].why == "the folder is in use"


def test_one_that_cannot_be_started_leaves_its_room_to_others():
    _, events = driven([Fake("locked", refused=True), Fake("a")], cores=1)
    assert events == ["locked failed", "a running", "a finished"]


def test_each_has_gpus_of_its_own():
    class OnGpu(Fake):
        need = Need([{"CPU": 1.0, "GPU": 1.0}])

    trials = [OnGpu("a", looks=2), OnGpu("b", looks=2), OnGpu("c")]
    driven(trials, cores=8, gpus=("4", "7"))
    assert [trial.started_with[1] for trial in trials] == ["4", "7", "4"]


def test_a_signal_is_passed_on_once_and_nothing_more_is_started():
    class Signalled(Fake):
        def look(self):
            if self.looks == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().look()

    trials = [Signalled("a", looks=4), Fake("b", looks=9), Fake("c")]
    before = signal.getsignal(signal.SIGTERM)  # another test's Ray may have left one
    code, events = driven(trials)
    assert code == 75
    assert trials[0].stopped_with == trials[1].stopped_with == [signal.SIGTERM]
    assert [trial.state for trial in trials] == [State.STOPPED, State.STOPPED, State.WAITING]
    assert "a ending" in events and "b ending" in events
    assert signal.getsignal(signal.SIGTERM) == before


def test_where_the_driver_itself_fails_it_ends_all_and_waits_for_them():
    class Broken(Fake):
        def look(self):
            raise OSError("no more processes")

    trials = [Broken("a"), Fake("b", looks=9)]
    with pytest.raises(OSError, match="no more processes"):
        driven(trials)
    assert [(trial.stopped_with, trial.waited) for trial in trials] == 2 * [([signal.SIGTERM], True)]
