"""bench.contenders: who rests, who is measured, and over what."""

import multiprocessing

import pytest

from distributed_kd.bench.contenders import Baton, Rates, contending
from distributed_kd.errors import InternalError

pytestmark = pytest.mark.timeout(120)


def counts_up(baton, per_beat: int) -> None:
    steps = 0
    while baton.beat(steps, steps // 2):
        steps += per_beat


def fails(baton) -> None:
    baton.beat(0, 0)
    raise ValueError("it broke")


def lacks_a_package(baton) -> None:
    import no_such_package  # noqa: F401


def ends_at_once(baton) -> None:
    pass


@pytest.fixture
def pipe():
    ours, theirs = multiprocessing.Pipe()
    yield ours, theirs
    ours.close()


def test_a_turn_is_measured_from_where_it_began_to_the_beat_that_ends_it(pipe):
    ours, theirs = pipe
    # the rest ends at 1.0; beats at 2.0 (1 s: too short for a turn of 1.5 s) and 3.0
    clock = iter([0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    baton = Baton(theirs, settle=0, clock=lambda: next(clock))
    ours.send(1.5)
    assert baton.beat(100, 10)
    assert baton.beat(150, 12)
    ours.send(0.5)  # the next turn begins with 300 steps behind it, at 4.0
    assert baton.beat(300, 30)
    assert ours.recv() is None  # all is there
    assert ours.recv() == Rates(env_steps=100.0, updates=10.0)  # 200 steps and 20 updates in 2 s
    ours.close()
    assert not baton.beat(310, 30)  # nobody waits for this turn any more


def test_what_ends_within_a_rest_is_not_counted(pipe):
    ours, theirs = pipe
    clock = iter([0.0, 10.0, 12.0])
    baton = Baton(theirs, settle=1, clock=lambda: next(clock))
    ours.send(1.0)
    assert baton.beat(0, 0)
    assert baton.beat(1_000, 100)  # of these most were under way already: from here on it counts
    ours.send(1.0)
    assert baton.beat(1_040, 110)
    assert ours.recv() is None
    assert ours.recv() == Rates(env_steps=20.0, updates=5.0)


def test_a_training_in_a_process_of_its_own_takes_turns_and_ends():
    with contending(counts_up, 10) as contender:
        rates = [contender.turn(0.01) for _ in range(3)]
        assert all(one.env_steps > 0 and one.updates == pytest.approx(one.env_steps / 2, rel=0.5) for one in rates)
        assert contender.taken == rates
    assert contender._process.exitcode == 0


@pytest.mark.parametrize(
    ("train", "error", "told"),
    [
        (fails, InternalError, "ValueError: it broke"),
        (lacks_a_package, ImportError, "no_such_package"),
        (ends_at_once, InternalError, "without a word"),
    ],
)
def test_a_training_that_fails_says_why(train, error, told):
    with pytest.raises(error, match=told), contending(train) as contender:
        contender.turn(0.0)
