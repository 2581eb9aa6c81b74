"""training.elastic: how many rollouts are wanted, when a shortage is told, and what a run has to answer for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed_kd.config import SupervisionConfig
from distributed_kd.errors import InternalError
from distributed_kd.training.elastic import MOST_PENDING, SHORTAGE_SECONDS, Budget, Shortage, Size


def test_exactly_so_many_are_begun_and_begun_again():
    size = Size(3, 3)
    assert size.wanted([], []) == [0, 1, 2]
    assert size.wanted({0, 2}, {2}) == [1]
    assert size.wanted({0, 1, 2}, {0, 1, 2}) == []


def test_the_least_are_begun_at_once_and_of_the_others_a_few_may_wait():
    size = Size(2, 64)
    first = size.wanted([], [])
    assert first == list(range(2 + MOST_PENDING))
    assert size.wanted(first, first) == []
    # Two of the further ones found room, and so two more may wait for it; the least do not count as waiting.
    assert size.wanted(first, set(first) - {2, 5}) == [10, 11]
    # One of the least is lost: it is begun whoever waits, and under its own number.
    assert size.wanted(set(first) - {0}, set(first) - {0, 1}) == [0]


@given(st.integers(1, 9), st.integers(0, 30), st.data())
def test_numbers_are_never_begun_twice_nor_beyond_the_most(least, further, data):
    size = Size(least, least + further)
    numbers = st.sets(st.integers(0, size.most - 1))
    begun = data.draw(numbers)
    pending = begun & data.draw(numbers)
    wanted = size.wanted(begun, pending)
    assert len(set(wanted)) == len(wanted) and not set(wanted) & begun
    assert set(range(least)) <= begun | set(wanted) <= set(range(size.most))
    waiting = [number for number in pending | set(wanted) if number >= least]
    assert len(waiting) <= max(MOST_PENDING, sum(number >= least for number in pending))
    # Whoever gives way leaves at most the least, all of which are there.
    left = begun - set(size.giving_way(begun, pending))
    assert left <= set(range(least)) - pending


def test_a_shortage_is_told_once_when_it_lasts_and_once_when_it_is_over():
    shortage = Shortage("rollouts.actors.min", 2)
    assert [shortage.look(1, now) for now in (0.0, SHORTAGE_SECONDS - 1)] == ["", ""]
    assert shortage.look(1, SHORTAGE_SECONDS) == (
        "1 of 2 rollouts are there (rollouts.actors.min=2): the run waits for the others"
    )
    assert shortage.look(0, SHORTAGE_SECONDS + 1) == ""
    assert shortage.look(2, SHORTAGE_SECONDS + 2) == "2 rollouts are there again"
    assert shortage.look(3, SHORTAGE_SECONDS + 3) == ""


def test_a_replacement_in_between_is_no_shortage():
    shortage = Shortage("rollouts.actors", 2)
    told = [shortage.look(there, SHORTAGE_SECONDS * at) for at, there in enumerate((1, 2, 1, 2))]
    assert told == [""] * 4


def budget(restarts, gone=()):
    return Budget(SupervisionConfig(restarts=restarts, within_seconds=100.0), lambda node: node in gone)


def test_one_replacement_too_many_of_late_ends_the_run():
    held = budget(restarts=2)
    held.spend("rollout 0 died", ["a"], 0.0)
    held.spend("rollout 1 died", [], 1.0)
    with pytest.raises(InternalError) as raised:
        held.spend("rollout 2 died", ["a"], 2.0)
    assert raised.value.lines == (
        "too much has failed (supervision.restarts=2): rollout 2 died, after 2 replacements within 100 s. "
        "Mend the cause, or allow more",
    )
    held.spend("rollout 2 died", ["a"], 100.5)  # the first is long ago


def test_what_a_node_took_with_it_costs_nothing_also_what_was_lost_before_it_was_seen_to_be_gone():
    gone = set()
    held = budget(restarts=2, gone=gone)
    held.spend("rollout 0 died", ["a"], 0.0)
    held.spend("rollout 1 died", ["b"], 0.0)
    gone.add("a")
    for number in range(2, 9):
        held.spend(f"rollout {number} died", ["a"], 1.0)
    held.spend("the learner died", ["a", "c"], 1.0)  # one of its nodes explains it
    held.spend("rollout 9 died", ["b"], 2.0)
    with pytest.raises(InternalError, match="after 2 replacements"):
        held.spend("rollout 9 died", ["b"], 3.0)
