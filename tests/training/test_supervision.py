"""What heartbeats say of an actor, look by look, and what is done where they say that it hangs."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from journals import CONFIG, journal

from distributed_kd.training import supervision
from distributed_kd.training.cluster import ActorLost, Core
from distributed_kd.training.heart import HEARTBEAT_SECONDS, MOST_AT_ONCE, PATIENCE, PATIENCE_WITH_CORE, Heart, Rounds
from distributed_kd.training.supervision import Supervision


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


def test_silence_while_it_loads_buys_no_patience():
    """Else a frozen learner is found late by twice the time that it took to start."""
    heart = Heart(step_timeout=60.0)
    assert not any(looks(heart, [*[None] * 40, 1], proven=False))
    assert looks(heart, [None] * (PATIENCE + 1))[-1]


def test_silence_is_counted_from_when_it_was_at_work():
    heart = Heart(step_timeout=60.0)
    assert not any(looks(heart, [None] * 40, proven=False))
    found = looks(heart, [None] * (PATIENCE + 1))
    assert found[:-1] == [""] * PATIENCE and found[-1]


@pytest.mark.parametrize(("count", "turns"), [(0, 1), (1, 1), (MOST_AT_ONCE, 1), (MOST_AT_ONCE + 1, 2), (1_001, 21)])
def test_of_many_each_is_looked_at_in_its_turn(count, turns):
    rounds, everyone = Rounds(), list(range(count))
    looked = [rounds.next(everyone) for _ in range(turns)]
    assert sorted(one for some, _ in looked for one in some) == everyone
    assert all(len(some) <= MOST_AT_ONCE for some, _ in looked)
    assert {seconds for _, seconds in looked} == {turns * HEARTBEAT_SECONDS}


def test_one_that_is_looked_at_less_often_is_given_as_long():
    heart = Heart(step_timeout=2.0)
    found = [heart.look(7, busy=True, proven=True, seconds=1.0) for _ in range(4)]
    assert found == ["", "", "", "hangs: its environment has not moved for 2 s (rollouts.step_timeout)"]


@dataclass(frozen=True)
class Sign:
    """Of an actor that has answered once, and never again."""

    of: str
    ended: list
    steps: int = 7
    resident: int = 0
    node: str = "here"

    def end(self):
        self.ended.append(self.of)


@dataclass(eq=False)
class Silent:
    """An actor's handle: each `pulse` is asked for, and only the first is answered."""

    name: str
    asked: list = field(default_factory=list)

    @property
    def pulse(self):
        return SimpleNamespace(remote=lambda: self.asked.append(None) or (self, len(self.asked)))


@pytest.fixture
def crew(tmp_path, monkeypatch):
    """Of silent actors, looked at whenever it is asked to attend."""
    killed, ended = [], []
    fake = SimpleNamespace(
        wait=lambda asked, **_: ([one for one in asked if one[1] == 1], []),
        get=lambda pulse: Sign(pulse[0].name, ended),
        kill=lambda handle, no_restart: killed.append(handle.name),
    )
    monkeypatch.setattr(supervision, "ray", fake)
    run = SimpleNamespace(config=CONFIG, incarnation=0, journal=journal(tmp_path))
    cluster = SimpleNamespace(start=lambda kind, number, incarnation: Silent("rollout"), is_gone=lambda node: False)
    calls = SimpleNamespace(expect=lambda *_: None, ended=lambda seconds: [], give_up=lambda owner: [], busy=set())
    found = Supervision(run, calls, cluster, lambda life: None, failed=pytest.fail)
    found._timer = SimpleNamespace(due=True, restart=lambda: None)
    found.killed, found.ended = killed, ended
    return found


def test_a_silent_rollout_is_replaced_and_its_process_ended(crew):
    life = crew.begin("rollout", 0)
    crew._on_there(life, Sign("rollout", crew.ended))
    life.proven = True
    for _ in range(1 + PATIENCE):
        crew.attend(0.0)
    assert not life.is_over
    crew.attend(0.0)
    assert life.is_over
    assert (crew.killed, crew.ended) == (["rollout"], ["rollout"])


@pytest.mark.parametrize("kind", ["learner", "replay"])
def test_of_a_silent_learner_or_replay_the_loop_is_told_and_its_process_ended(kind, crew):
    crew.watch(Core([Silent("replay")], Silent("learner"), [], []))
    crew.at_work(*crew.lives("learner", "replay"))
    (other,) = [life for life in crew.lives("learner", "replay") if life.kind != kind]
    other.proven = False  # it may be silent: it loads
    for _ in range(2 + PATIENCE_WITH_CORE):
        crew.attend(0.0)
    with pytest.raises(ActorLost, match=f"the {kind} hangs: it has given no sign of life"):
        crew.attend(0.0)
    assert (crew.killed, crew.ended) == ([], [kind])
