"""actors.once: a call that is repeated is answered again, and done once."""

from types import SimpleNamespace

import pytest

from distributed_kd.actors import once as module
from distributed_kd.actors.once import KEPT, once


class Actor:
    def __init__(self):
        self.done = []

    @once
    def add(self, what):
        self.done.append(what)
        return len(self.done)

    @once
    def draw(self, what):
        self.done.append(what)
        return -len(self.done)


@pytest.fixture
def called_as(monkeypatch):
    """By which name Ray has a call made; a repetition has the name of the first time."""
    now = SimpleNamespace(task="")
    context = SimpleNamespace(get_task_id=lambda: now.task)
    monkeypatch.setattr(module.ray, "get_runtime_context", lambda: context)

    def call(task, actor, what, method="add"):
        now.task = task
        return getattr(actor, method)(what)

    return call


def test_a_repeated_call_is_answered_as_before_and_changes_nothing(called_as):
    actor = Actor()
    assert [called_as(task, actor, what) for task, what in [("1", "a"), ("2", "b"), ("1", "a"), ("2", "b")]] == [1, 2, 1, 2]
    assert actor.done == ["a", "b"]


def test_each_actor_has_answers_of_its_own_and_keeps_the_newest(called_as):
    one, other = Actor(), Actor()
    for task in range(KEPT + 1):
        called_as(task, one, task)
    assert called_as(1, one, 1) == 2
    assert called_as(1, other, 1) == 1
    assert len(one._answers["add"]) == KEPT


def test_calls_of_another_method_leave_no_answer_behind(called_as):
    actor = Actor()
    assert called_as("drawn", actor, "x", "draw") == -1
    for task in range(KEPT + 1):
        called_as(task, actor, task)
    assert called_as("drawn", actor, "x", "draw") == -1
    assert len(actor.done) == KEPT + 2


def test_a_call_that_failed_is_done_again(called_as):
    class Failing:
        calls = 0

        @once
        def add(self, what):
            self.calls += 1
            raise ValueError(what)

    actor = Failing()
    for _ in range(2):
        with pytest.raises(ValueError, match="x"):
            called_as("1", actor, "x")
    assert actor.calls == 2
