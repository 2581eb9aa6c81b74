"""bench.system and bench.watched: what is told of a run that was watched, by hand; and a whole run."""

import math

import numpy as np
import pytest

from distributed_kd import presets
from distributed_kd.bench import system
from distributed_kd.bench.figures import Options
from distributed_kd.bench.watched import STAGES, Seen, Watch
from distributed_kd.envs.spec import read_spec
from distributed_kd.networks import build, parameter_count
from distributed_kd.records import EpisodeStats, LearnerReport, Receipt
from distributed_kd.run_file import decode, merge


def stats(actor: int, version: int, seconds: float = 0.0, started: float = math.nan) -> EpisodeStats:
    none = np.empty(0)
    return EpisodeStats(actor, 0, 0, 256, version, seconds, none, none, none, started)


def report(updates: int, done: int, started: float, ended: float, busy: float = 0.0, waited: float = 0.0) -> LearnerReport:
    return LearnerReport(updates, done, busy, waited, started, ended, starved=False, receipt=receipt(0))


def receipt(inserted: int) -> Receipt:
    return Receipt(inserted, 0, inserted, 0, 10_000)


def test_the_first_of_each_stage_counts():
    watch = Watch(warmup=500)
    watch.collected(stats(0, 0), now=10.0)
    watch.collected(stats(1, 0), now=11.0)
    watch.counted(receipt(256), now=11.5)
    watch.counted(receipt(512), now=12.0)
    watch.counted(receipt(768), now=13.0)
    watch.learned(report(0, done=0, started=1.0, ended=2.0))  # the first weights: nothing was learned for them
    # 1 s of waiting for batches, then 32 updates in 3.2 s: the first was done after 0.1 s
    watch.learned(report(32, done=32, started=20.0, ended=24.2, busy=3.2, waited=1.0))
    watch.learned(report(64, done=32, started=25.0, ended=28.0, busy=3.0))
    assert watch.reached == pytest.approx({"first segment": 10.0, "warm": 12.0, "first update": 21.1})


def test_weights_are_in_use_when_a_rollout_first_begins_with_them():
    watch = Watch()
    watch.collected(stats(0, 0, started=1.0), now=1.1)  # the weights it began with: nobody published them here
    watch.learned(report(32, done=32, started=4.0, ended=5.0))
    watch.collected(stats(0, 0, started=5.1), now=5.2)  # still the old ones
    watch.collected(stats(0, 32, started=5.3), now=5.4)
    watch.collected(stats(0, 32, started=5.4), now=5.5)  # not for the first time
    watch.collected(stats(1, 32, started=5.5), now=5.6)
    watch.learned(report(64, done=32, started=5.0, ended=6.0))
    watch.collected(stats(1, 64, seconds=0.25), now=6.75)  # began at 6.5, by its end
    assert watch.in_use == pytest.approx([0.3, 0.5, 0.5])


def test_the_tables_of_runs_that_were_watched():
    def seen(first_update: float, samples_per_insert: float, in_use: list[float]) -> Seen:
        seconds = {stage: first_update - 5 + place for place, stage in enumerate(STAGES)}
        return Seen(seconds, in_use, {"replay": {"samples_per_insert": samples_per_insert}})

    runs = [seen(8.0, 16.0, [0.01, 0.02]), seen(12.0, 16.4, [0.03]), seen(9.0, 16.0, [0.04, 0.05])]
    stages = system._stages(runs)
    assert [one.what for one in stages.figures] == [f"until: {stage}" for stage in STAGES]
    assert stages.figures[-1].value == 9.0 and stages.figures[-1].is_met
    travel = system._travel(runs, runs, asked=16.0)
    assert travel.figures[0].value == pytest.approx(30.0) and travel.figures[0].is_met is False
    pace, worst = travel.figures[-2:]
    assert (pace.ratio, pace.is_met) == (1.0, True)
    assert (worst.value, worst.is_met) == (pytest.approx(2.5), False)


def test_the_large_publication_is_as_large_as_it_is_said():
    config = decode(merge(presets.read("cartpole"), system.MEGABYTE))
    spec = read_spec(config.env)
    networks = [config.teacher.network, *(one.network for one in config.students.values())]
    counts = [parameter_count(build(one, spec, 0)) for one in networks]
    assert counts[0] == 234_242 and round(4e-6 * sum(counts), 2) == 1.03


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_benchmark():
    tables = system.measure(Options(repeats=1, seconds=0.01))
    learning, start, travel, *profiles = tables
    assert all(one.value > 0 and one.ratio > 0 for one in learning.figures)
    times = [one.value for one in start.figures]
    assert times == sorted(times) and times[0] > 0
    assert travel.figures[-2].is_met and travel.figures[-1].is_met
    for profile in profiles:
        assert sum(one.ratio for one in profile.figures) == pytest.approx(1.0)
        assert all(one.value > 0 for one in profile.figures)
