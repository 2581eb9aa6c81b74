"""What heartbeats say of an actor, look by look."""

import pytest

from distributed_kd.training.supervision import HEARTBEAT_SECONDS, PATIENCE, Heart


def looks(heart, told, busy=True, proven=True):
    """What is found at each look; `told` are the steps answered, None for silence."""
    return [heart.look(steps, busy, proven) for steps in told]


def test_one_that_moves_is_never_taken_to_hang():
    assert not any(looks(Heart(step_timeout=1.0), range(1, 200)))


def test_an_environment_that_does_not_move_hangs_behind_its_time_out():
    heart = Heart(step_timeout=2.0)  # 4 looks of half a second
    found = looks(heart, [7, 7, 7, 7, 7, 7])
    assert found[:5] == [""] * 5  # the first look has moved
    assert found[5] == "hangs: its environment has not moved for 2 s (rollouts.step_timeout)"


def test_one_that_nothing_is_asked_of_may_stand_still():
    heart = Heart(step_timeout=1.0)
    assert not any(looks(heart, [7] * 100, busy=False))
    # The time counts from when it was asked.
    assert looks(heart, [7, 7, 7])[:2] == ["", ""]
    assert looks(heart, [8] * 2) == ["", ""]


def test_silence_is_borne_for_a_while_and_then_found():
    found = looks(Heart(step_timeout=60.0), [1] + [None] * (PATIENCE + 1))
    assert found[:-1] == [""] * (PATIENCE + 1)
    assert found[-1] == f"hangs: it has given no sign of life for {(PATIENCE + 1) * HEARTBEAT_SECONDS:g} s"


@pytest.mark.parametrize("silence", [PATIENCE, PATIENCE - 1])
def test_one_that_was_silent_before_is_given_twice_as_long(silence):
    heart = Heart(step_timeout=60.0)
    assert not any(looks(heart, [*[None] * silence, 1]))
    assert not any(looks(heart, [None] * 2 * silence))
    assert looks(heart, [None])[0]


def test_while_it_loads_only_the_time_out_of_a_step_counts():
    heart = Heart(step_timeout=10.0)
    found = looks(heart, [None] * 21, proven=False)
    assert found == [""] * 20 + ["hangs: its environment has not moved for 10 s (rollouts.step_timeout)"]
