"""training.calls: what ends is told in the order in which it was asked for, actor by actor, however Ray shows it."""

from dataclasses import dataclass

import pytest
from ray.exceptions import ActorDiedError

from distributed_kd.training import calls
from distributed_kd.training.calls import Call, Calls
from distributed_kd.training.cluster import died, nodes_named


@dataclass(frozen=True)
class Reference:
    """As much of Ray's as is asked of it."""

    actor: str
    number: int

    def task_id(self):
        return self

    def actor_id(self):
        return self.actor


@pytest.fixture
def ended(monkeypatch):
    """References that have ended, the newest of which is what waiting for any shows."""
    over = []

    def wait(asked, timeout, fetch_local, num_returns=1):
        ready = [reference for reference in reversed(over) if reference in asked][:num_returns]
        return ready, [reference for reference in asked if reference not in ready]

    monkeypatch.setattr(calls.ray, "wait", wait)
    return over


def told(expected):
    return [reference for reference, _ in expected.ended(0.0)]


def test_of_two_that_have_ended_the_one_asked_for_first_is_told_first(ended):
    expected, (first, second) = Calls(), (Reference("a", 1), Reference("a", 2))
    for reference in (first, second):
        expected.expect(reference, Call("a"))
    ended += [first, second]
    assert [told(expected), told(expected), told(expected)] == [[first], [second], []]


def test_all_that_have_ended_are_told_at_once_and_only_where_none_has_is_one_waited_for(ended):
    expected, of = Calls(), [Reference(actor, 1) for actor in "abc"]
    for reference in of:
        expected.expect(reference, Call("?"))
    ended += of[:2]
    assert sorted(told(expected), key=of.index) == of[:2]
    assert expected.busy == {None}
    assert told(expected) == []
    ended.append(of[2])
    assert told(expected) == [of[2]]


def test_what_is_given_up_for_another_that_ended_at_once_is_told_no_more(ended):
    expected, first, second = Calls(), Reference("a", 1), Reference("b", 1)
    expected.expect(first, Call("a", owner="both"))
    expected.expect(second, Call("b", owner="both"))
    ended += [first, second]
    for _ in expected.ended(0.0):
        assert len(expected.give_up("both")) == 1
    assert not expected.busy


def test_a_fault_in_what_is_done_leaves_the_others_to_be_told(ended):
    expected, of = Calls(), [Reference(actor, 1) for actor in "ab"]
    for reference in of:
        expected.expect(reference, Call("?"))
    ended += of
    one, _ = next(expected.ended(0.0))
    assert told(expected) == [reference for reference in of if reference != one]


def test_another_actor_is_not_waited_for(ended):
    expected, (slow, quick) = Calls(), (Reference("a", 1), Reference("b", 1))
    for reference in (slow, quick):
        expected.expect(reference, Call("?"))
    ended.append(quick)
    assert told(expected) == [quick]
    assert told(expected) == []


def test_a_second_call_that_ends_alone_waits_for_the_first(ended):
    """Whose answer was lost on the way, so that Ray asks for it again."""
    expected, (first, second) = Calls(), (Reference("a", 1), Reference("a", 2))
    for reference in (first, second):
        expected.expect(reference, Call("a"))
    ended.append(second)
    assert told(expected) == []
    ended.append(first)
    assert [told(expected), told(expected)] == [[first], [second]]


def test_what_was_given_up_is_told_no_more(ended):
    expected, mine, others = Calls(), Reference("a", 1), Reference("a", 2)
    expected.expect(mine, Call("a", owner="me"))
    expected.expect(others, Call("a", owner="you"))
    assert expected.busy == {"me", "you"}
    assert [call.owner for call in expected.give_up("me")] == ["me"]
    ended += [mine, others]
    assert [told(expected), expected.busy] == [[others], set()]


def test_how_an_actor_died_is_one_line_without_who_it_was():
    error = ActorDiedError()
    error.error_msg = "It died.\n\tclass_name: X\n\tpid: 1\nIts process has ended."
    assert died(error) == "died (ActorDiedError): It died. Its process has ended."


def test_the_node_that_an_actor_died_with_is_told_with_it():
    node = "0c" * 28
    error = ActorDiedError()
    why = f"The actor died because its node has died. Node Id: {node}"
    error.error_msg = f"{ActorDiedError.BASE_ERROR_MSG}\n\tpid: 1\n{why}\n\tit was preempted"
    assert nodes_named(f"rollout 3 {died(error)}. It is replaced") == {node}
    assert nodes_named("rollout 3 hangs") == set()
