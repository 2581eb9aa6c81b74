"""bench.plan: what it makes of costs that are known, and what it measures where that is no matter of speed."""

import pytest

from distributed_kd import presets
from distributed_kd.bench import plan
from distributed_kd.bench.environments import SLEEP_SECONDS, SLEEPING
from distributed_kd.bench.figures import Options, Wanted
from distributed_kd.bench.model import PARTS, Cost, Model, Usage
from distributed_kd.bench.plan import Links
from distributed_kd.run_file import decode, merge

TABLES = presets.read("cartpole")
MODEL = Model({
    "rollouts": Cost(per_step=20e-6),
    "driver": Cost(per_segment=0.256e-3),  # a microsecond for each of 256 steps
    "ray": Cost(),
    "replay": Cost(per_step=2e-6, per_update=16e-6),  # an update every 8 steps: 4 us a step
    "learner": Cost(per_update=80e-6),  # 10 us a step
})  # fmt: skip
LINKS = Links(step=50.0, batch=4_000.0, weights=1e6, replay=8e9, policy_updates=8)


def planned(**wanted):
    table = plan._plan(MODEL, decode(TABLES), LINKS, Wanted(TABLES, **wanted))
    return table, {one.what: one for one in table.figures}


def test_a_rate_that_holds():
    table, told = planned(steps=40_000.0, cores=4)
    assert told["updates"].value == 5_000
    assert (told["rollouts: 1, busy"].value, told["rollouts: 1, busy"].is_met) == (pytest.approx(0.8), True)
    assert told["replay: 1 shards, busy"].value == pytest.approx(0.16)
    assert (told["learner, busy"].value, told["learner, busy"].is_met) == (pytest.approx(0.4), True)
    # 35 us a step of all parts together: 1.4 cores, busy for at most four fifths of the time.
    assert told["cores in all"].value == pytest.approx(1.75)
    assert told["machines of 4 cores"].value == 1
    assert "It holds; for more, the first to mend is the" in table.how


def test_a_rate_that_does_not_hold_names_what_is_first_and_what_mends_it():
    table, told = planned(steps=1_000_000.0)
    assert told["learner, busy"].is_met is False
    assert told["replay: 5 shards, busy"].value == pytest.approx(0.8)
    assert told["rollouts: 25, busy"].value == pytest.approx(0.8)
    assert "It does not hold: the learner can do 100,000 steps/s. What mends it: a GPU" in table.how
    # 50 MB/s to 5 shards, 125,000 updates/s of 4 kB, 15,625 publications of a megabyte.
    assert told["into the replay, each shard"].value == pytest.approx(8 * 50e6 / 5 / 1e9)
    assert told["out of the replay, to the learner"].value == pytest.approx(4.0)
    assert told["weights, to each machine"].value == pytest.approx(125.0)
    assert told["memory of each shard"].value == pytest.approx(1.6)


def test_so_many_rollouts_as_fast_as_they_can():
    _, told = planned(actors=10)
    assert told["environment steps"].value == pytest.approx(500_000)
    assert told["rollouts: 10, busy"].value == pytest.approx(1.0)


def test_nothing_wanted_is_as_much_as_the_learner_can_do():
    _, told = planned()
    assert told["environment steps"].value == pytest.approx(80_000)


def test_a_rollout_that_waits_for_its_environment_is_seen():
    slow = merge(TABLES, {"env": {"id": SLEEPING}, "rollouts": {"envs_per_actor": 2, "steps_per_segment": 4}})
    assert plan._waits(slow) > 0.9 * SLEEP_SECONDS


def test_what_travels_is_counted_from_a_segment_and_a_batch():
    links = plan._links(TABLES)
    # A row of 48 bytes for each step and one more for each lane's end, and for the ends of episodes.
    assert 48 * 17 / 16 <= links.step < 60
    # Observations and next ones of 4 numbers, and 6 columns of 4 or 8 bytes, for 128 steps.
    assert links.batch == 128 * (2 * 16 + 8 + 4 + 4 + 4 + 8 + 4)
    assert links.policy_updates == decode(TABLES).learner.updates_per_call


def test_a_machine_that_becomes_slower_is_slower_for_costs_and_runs_alike(monkeypatch):
    started = []

    def used(run, seconds):
        slowness = 2.0 ** (len(started) // 7)  # three runs for costs and four sizes in a round
        started.append(run)
        config = decode(run.tables)
        steps, learned = 10_000.0, run.learns / config.replay.batch_size
        segments, updates = steps / config.rollouts.segment_steps, steps * config.replay.samples_per_insert * learned
        taken = dict.fromkeys(PARTS, slowness * (20e-6 * steps + 1e-4 * (segments + updates)))
        return Usage(sum(taken.values()) / plan.cores(), steps, segments, updates, taken)

    monkeypatch.setattr(plan, "_used", used)
    _, beside, *_ = plan.measure(Options(repeats=3))
    assert [figure.ratio for figure in beside.figures] == pytest.approx([1.0] * 4)
