"""training.chaos: what the words mean, and that every strike falls when and on whom it may."""

import json
import os
import signal
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from distributed_kd.envs.injected import Injected
from distributed_kd.errors import ConfigurationError
from distributed_kd.training.chaos import CALM, RPC_VARIABLE, Chaos, Strikes
from distributed_kd.training.recoveries import Recoveries


def test_all_words_are_understood():
    chaos = Chaos.parse(
        "kill=rollout:20s,replay:1.5m,learner:2h; freeze=evaluation:30s;env=raise:0.001,hang:1e-4,nan:1;rpc=20"
    )
    assert chaos.every == {
        ("kill", "rollout"): 20.0,
        ("kill", "replay"): 90.0,
        ("kill", "learner"): 7200.0,
        ("freeze", "evaluation"): 30.0,
    }
    assert chaos.env == Injected(raises=0.001, hangs=0.0001, nan=1.0)
    assert chaos.rpc == 20
    assert chaos and not CALM and not Chaos.parse("")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("kill=rolout:20s", ["unknown fault (chaos=kill=rolout): there is none of this name. Did you mean kill=rollout?"]),
        ("kil=rollout:20s", ["unknown fault (chaos=kil): there is none of this name. Did you mean kill?"]),
        ("env=melt:1", ["unknown fault (chaos=env=melt): there is none of this name. Choose from env=raise, env=hang, "]),
        *((f"kill=rollout:{bad}", [f"bad fault (chaos=kill=rollout:{bad}): it must be a time such as 20s or 5m"])
          for bad in ("20", "0s", "-1s", "infs", "nans", "s", "", "20d")),
        *((f"env=raise:{bad}", [f"bad fault (chaos=env=raise:{bad}): it must be a chance above 0 and up to 1"])
          for bad in ("0", "-0.1", "1.1", "nan", "often", "")),
        *((f"rpc={bad}", [f"bad fault (chaos=rpc:{bad}): it must be a whole percentage from 1 to 33"])
          for bad in ("0", "34", "2.5", "nan", "")),
        ("kill=rollout:x;env=raise:2;melt", ["bad fault (chaos=kill=rollout:x)", "bad fault (chaos=env=raise:2)",
                                             "unknown fault (chaos=melt)"]),
    ],
)  # fmt: skip
def test_every_word_that_means_nothing_is_told(text, wrong):
    with pytest.raises(ConfigurationError) as caught:
        Chaos.parse(text)
    assert len(caught.value.lines) == len(wrong)
    for line, begin in zip(caught.value.lines, wrong, strict=True):
        assert line.startswith(begin)


def test_lost_calls_are_asked_of_ray_alone(monkeypatch):
    monkeypatch.delenv(RPC_VARIABLE, raising=False)
    Chaos.parse("kill=rollout:1s").prepare()
    assert RPC_VARIABLE not in os.environ
    monkeypatch.setenv(RPC_VARIABLE, "")  # so that it is taken back behind the test
    Chaos.parse("rpc=20").prepare()
    (how,) = json.loads(os.environ[RPC_VARIABLE]).values()
    assert {how[name] for name in ("req_failure_prob", "resp_failure_prob", "in_flight_failure_prob")} == {20}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Victim:
    """As a `Life`, at which signals arrive."""

    def __init__(self, kind, number, told):
        self.key, self.handle = (kind, number), SimpleNamespace(suffer=self)
        self._told = told

    def remote(self, number):
        self._told.append((*self.key, number))


def struck(text, seconds, seed=0, back=True):
    """What was done to whom within so many seconds, where everyone is at work again at once, or never."""
    clock, told = Clock(), []
    recoveries = Recoveries(clock)
    lives = {"rollout": [Victim("rollout", number, told) for number in range(4)], "learner": [Victim("learner", 0, told)]}

    def at_work(kind):
        return [life for life in lives[kind] if not recoveries.is_under_way(life.key)]

    strikes = Strikes(Chaos.parse(text), np.random.SeedSequence(seed), at_work, recoveries, clock)
    for tenth in range(10 * seconds):
        clock.now = tenth / 10
        strikes.strike()
        if back:
            for life in [*lives["rollout"], *lives["learner"]]:
                recoveries.back(life.key)
    return told, recoveries.struck


def test_strikes_come_as_often_as_asked_and_fall_on_all():
    told, counted = struck("kill=rollout:2s;freeze=learner:5s", seconds=1000)
    assert counted == Counter({"kill rollout": counted["kill rollout"], "freeze learner": counted["freeze learner"]})
    # Uniform from half to one and a half times the mean: 500 +- 4 standard deviations of sqrt(500 / 12).
    assert abs(counted["kill rollout"] - 1000 / 2.05) < 30, "a tenth of a second is lost, half of it at the mean, at each"
    assert abs(counted["freeze learner"] - 1000 / 5.05) < 20
    assert {number for kind, number, _ in told if kind == "rollout"} == {0, 1, 2, 3}
    assert {sent for kind, _, sent in told if kind == "rollout"} == {signal.SIGKILL}
    assert {sent for kind, _, sent in told if kind == "learner"} == {signal.SIGSTOP}


def test_the_seed_decides_when_and_whom():
    text = "kill=rollout:2s,learner:5s"
    assert struck(text, 100, seed=3) == struck(text, 100, seed=3)
    assert struck(text, 100, seed=3) != struck(text, 100, seed=4)


def test_nobody_is_struck_twice_before_being_back():
    told, _ = struck("kill=rollout:1s,learner:1s", seconds=100, back=False)
    assert sorted(told) == [("learner", 0, 9), *(("rollout", number, 9) for number in range(4))]


def test_whoever_is_back_at_work_is_left_in_peace_for_a_while():
    clock, told = Clock(), []
    learner = Victim("learner", 0, told)
    there = []
    strikes = Strikes(Chaos.parse("kill=learner:4s"), np.random.SeedSequence(0), lambda _: there, Recoveries(clock), clock)
    for tenth in range(200):  # it is away for 20 seconds, many times as long as between two strikes
        clock.now = tenth / 10
        strikes.strike()
    there.append(learner)
    for tenth in range(200, 219):
        clock.now = tenth / 10
        strikes.strike()
    assert not told
    clock.now = 22.0
    strikes.strike()
    assert told == [("learner", 0, signal.SIGKILL)]
