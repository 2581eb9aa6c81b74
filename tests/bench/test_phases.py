"""bench.phases and bench.profile: time by phase, each without what it calls, measured by a clock that is set by hand."""

import pytest

from distributed_kd.bench import phases
from distributed_kd.bench.phases import HOOKS, OTHER, PER_STEP, PER_UPDATE, Stopwatch, hooked, replaced
from distributed_kd.bench.profile import tabulated


class Clock:
    """Stands still but for what is let pass."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def let_pass(self, seconds: float) -> None:
        self.now += seconds


class Work:
    """Takes 1 s, then calls a part that takes 5 s, then takes 2 s more."""

    def __init__(self, clock):
        self.clock = clock

    def whole(self) -> str:
        self.clock.let_pass(1.0)
        self.part()
        self.clock.let_pass(2.0)
        return "done"

    def part(self) -> None:
        self.clock.let_pass(5.0)

    @classmethod
    def made(cls, clock) -> "Work":
        clock.let_pass(7.0)
        return cls(clock)


class Heir(Work):
    pass


def test_a_phase_is_told_its_own_time_without_that_of_the_phases_it_calls():
    clock = Clock()
    stopwatch, work = Stopwatch(clock), Work(clock)
    with (
        replaced(Work, "whole", lambda f: stopwatch.timed("outer", f)),
        replaced(Work, "part", lambda f: stopwatch.timed("inner", f)),
    ):
        clock.let_pass(10.0)
        assert work.whole() == "done"
        work.part()
    # outer 1 + 2, inner 5 within it and 5 by itself, and 10 before both
    assert stopwatch.read() == {"outer": 3.0, "inner": 10.0, OTHER: 10.0}
    work.whole()
    assert stopwatch.read() == {"outer": 3.0, "inner": 10.0, OTHER: 18.0}  # nothing is timed behind the block


def test_a_phase_that_calls_itself_counts_once():
    clock = Clock()
    stopwatch = Stopwatch(clock)

    def down(depth: int) -> None:
        clock.let_pass(1.0)
        if depth:
            timed(depth - 1)

    timed = stopwatch.timed("down", down)
    timed(3)
    assert stopwatch.read()["down"] == 4.0


def test_a_phase_that_raises_ends():
    clock = Clock()
    stopwatch = Stopwatch(clock)

    def fails() -> None:
        clock.let_pass(1.0)
        raise ValueError("as it should")

    with pytest.raises(ValueError, match="as it should"):
        stopwatch.timed("fails", fails)()
    clock.let_pass(2.0)
    assert stopwatch.read() == {"fails": 1.0, OTHER: 2.0}


def test_a_restart_within_a_phase_goes_on_with_it():
    clock = Clock()
    stopwatch = Stopwatch(clock)

    def work() -> None:
        clock.let_pass(1.0)
        stopwatch.restart()
        clock.let_pass(2.0)

    stopwatch.timed("phase", work)()
    assert stopwatch.read()["phase"] == 2.0


def test_what_is_replaced_comes_back_as_it_was():
    before = vars(Work)["made"]
    clock = Clock()
    stopwatch = Stopwatch(clock)
    with replaced(Work, "made", lambda f: stopwatch.timed("made", f)):
        assert isinstance(Work.made(clock), Work) and isinstance(Heir.made(clock), Heir)
    assert stopwatch.read()["made"] == 14.0
    assert vars(Work)["made"] is before
    with replaced(Heir, "part", lambda _: lambda self: None):  # inherited: the class it comes from is left alone
        Work(clock).part()
        assert clock.now == 119.0
    assert "part" not in vars(Heir)


def test_a_hook_whose_function_is_gone_is_told():
    hooks = {"env": ("distributed_kd.envs.lanes:SyncLanes.no_such_thing",)}
    with pytest.raises(AttributeError, match="no_such_thing"), hooked(Stopwatch(), hooks):
        pass


def test_every_phase_has_hooks_and_each_leads_to_a_function():
    assert set(HOOKS) == {*PER_STEP, *PER_UPDATE}
    with hooked(Stopwatch()):
        for names in HOOKS.values():
            for name in names:
                owner, attribute = phases._found(name)
                assert callable(getattr(owner, attribute))


def test_a_profile_is_per_step_or_per_update_and_its_shares_are_all_of_the_time():
    # 100 steps and 10 updates in 1 s: half a second of acting is 5,000 µs a step, 0.3 s of backward 30,000 µs an update
    table = tabulated("a run", {"act": 0.5, "backward": 0.3, OTHER: 0.2}, env_steps=100, updates=10)
    rows = {one.what: one for one in table.figures}
    assert list(rows) == [*PER_STEP, *PER_UPDATE, OTHER]
    assert (rows["act"].value, rows["act"].unit, rows["act"].ratio) == (pytest.approx(5_000.0), "µs per env step", 0.5)
    assert (rows["backward"].value, rows["backward"].unit) == (pytest.approx(30_000.0), "µs per update")
    assert rows["backward"].other == pytest.approx(100_000.0) and rows["act"].other == pytest.approx(10_000.0)
    assert sum(one.ratio for one in table.figures) == pytest.approx(1.0)
