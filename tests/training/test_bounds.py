"""When a run is over, and how far it has come."""

from types import SimpleNamespace

import pytest

from distributed_kd.config import ReplayConfig, RunConfig, StopConfig
from distributed_kd.training import bounds
from distributed_kd.training.bounds import Bounds


@pytest.fixture
def clock(monkeypatch):
    """The time that bounds see, in seconds."""
    now = [1_000.0]
    monkeypatch.setattr(bounds, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def of(env_steps=0, updates=0, minutes=0.0, earlier=0.0, warmup=100, batch_size=10, pace=4.0):
    replay = ReplayConfig(warmup=warmup, batch_size=batch_size, samples_per_insert=pace)
    made = Bounds.of(RunConfig(stop=StopConfig(env_steps, updates, minutes), replay=replay), earlier)
    made._began = bounds.time.monotonic()
    return made


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ({"env_steps": 1_000}, 1_000),
        # 1,001 updates of 10 samples at 4 samples an insert need 2,502.5 inserts.
        ({"updates": 1_001}, 2_503),
        ({"env_steps": 2_000, "updates": 1_001}, 2_000),
        ({"env_steps": 9_000, "updates": 1_001}, 2_503),
        # Updates begin behind the warm-up, however few they are.
        ({"updates": 3}, 100),
        # Without a pace updates say nothing of inserts.
        ({"updates": 1_001, "pace": 0.0}, 0),
        ({"updates": 1_001, "pace": 0.0, "env_steps": 500}, 500),
        ({"minutes": 1.0}, 0),
    ],
)
def test_how_many_inserts_are_wanted(given, bound, clock):
    made = of(**given)
    assert made.insert_bound == bound
    assert made.inserting_is_over(bound) == bool(bound)
    assert not made.inserting_is_over(bound - 1)


def test_updates(clock):
    assert [of(updates=10).learning_is_over(updates) for updates in (0, 9, 10, 11)] == [False, False, True, True]
    assert not of(env_steps=10).learning_is_over(10**9)


def test_minutes_count_what_was_spent_before(clock):
    made = of(minutes=2.0, earlier=90.0)
    clock[0] += 29.9
    assert not made.out_of_time
    assert not made.inserting_is_over(0)
    clock[0] += 0.2
    assert made.out_of_time
    assert made.inserting_is_over(0)
    assert made.seconds == pytest.approx(120.1)


def test_without_a_bound_on_time_there_is_always_more(clock):
    made = of(env_steps=5)
    clock[0] += 10**9
    assert not made.out_of_time


def test_progress_is_that_of_the_nearest_bound(clock):
    made = of(env_steps=1_000, updates=100, minutes=1.0)
    clock[0] += 6.0
    assert made.progress(500, 20) == 0.5
    assert made.progress(100, 70) == 0.7
    assert made.progress(0, 0) == pytest.approx(0.1)
    assert made.progress(5_000, 0) == 1.0
    assert of(updates=100).progress(10**9, 25) == 0.25
