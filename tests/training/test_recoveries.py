"""training.recoveries: seconds from a loss to the first work of the successor."""

from distributed_kd.training.recoveries import Recoveries


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_seconds_count_from_the_strike_or_else_from_the_notice():
    clock = Clock()
    recoveries = Recoveries(clock)
    recoveries.strike("kill", ("rollout", 1))
    clock.now = 1.0
    recoveries.lost(("rollout", 1))  # noticed: it began earlier
    recoveries.lost(("rollout", 2))
    clock.now = 3.0
    recoveries.back(("rollout", 1))
    recoveries.back(("rollout", 2))
    recoveries.back(("rollout", 3))  # was never away
    clock.now = 9.0
    recoveries.back(("rollout", 1))  # works on
    assert recoveries.told() == {"rollout": {"count": 2, "p50": 2.5, "p95": 2.95, "max": 3.0}}
    assert recoveries.struck == {"kill rollout": 1}


def test_what_is_missing_is_known_until_it_is_back():
    recoveries = Recoveries(Clock())
    assert not recoveries.is_under_way(("learner", 0))
    recoveries.strike("freeze", ("learner", 0))
    assert recoveries.is_under_way(("learner", 0))
    recoveries.back(("learner", 0))
    assert not recoveries.is_under_way(("learner", 0))
    recoveries.lost(("evaluation", 0))
    recoveries.forget(("evaluation", 0))
    assert not recoveries.is_under_way(("evaluation", 0)) and "evaluation" not in recoveries.told()
