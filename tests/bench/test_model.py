"""bench.model against numbers worked by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributed_kd.bench.model import ALL_CORES, PARTS, Cost, Model, Size, Usage, fitted

COSTS = {
    "rollouts": Cost(per_step=10e-6, per_segment=1e-3),
    "driver": Cost(per_segment=0.5e-3, per_update=0.1e-3),
    "ray": Cost(per_segment=0.2e-3),
    "replay": Cost(per_step=1e-6, per_segment=0.2e-3, per_update=0.4e-3),
    "learner": Cost(per_update=4e-3),
}


def test_a_step_costs_its_share_of_a_segment_and_of_the_updates():
    # 10 us, 1 ms for each 100 steps: 10 us, and a quarter of an update: 1 ms.
    assert Cost(10e-6, 1e-3, 4e-3).of_a_step(Size(1, 100, 0.25)) == pytest.approx(10e-6 + 10e-6 + 1e-3)


def test_the_learner_is_first_where_it_has_most_to_do():
    # An update every 8 steps: 4 ms / 8 = 0.5 ms a step.
    first, rate = Model(COSTS).first(Size(actors=2, segment_steps=100, updates_per_step=1 / 8))
    assert (first, rate) == ("learner", pytest.approx(2_000.0))


def test_a_run_that_only_acts_is_bound_by_its_rollouts_and_more_of_them_by_the_driver():
    model = Model(COSTS)
    assert model.first(Size(2, 100, 0.0)) == ("rollouts", pytest.approx(2 / 20e-6))
    # 5 us of the driver's a step; 40 rollouts could make 2,000,000 steps a second.
    assert model.first(Size(40, 100, 0.0)) == ("driver", pytest.approx(200_000.0))
    # Segments ten times as large: half a microsecond of the driver's, 1.2 us of the replay's, or .6 with two shards.
    assert model.first(Size(40, 1_000, 0.0)) == ("replay", pytest.approx(1 / 1.2e-6))
    assert model.limits(Size(40, 1_000, 0.0, shards=2))["replay"] == pytest.approx(2 / 1.2e-6)


def test_parts_that_share_cores_are_bound_by_all_of_them_together():
    # 20 + 5 + 2 + 3 us of the cores for each step.
    assert Model(COSTS).first(Size(40, 100, 0.0, cores=2)) == (ALL_CORES, pytest.approx(2 / 30e-6))


def test_a_rollout_that_waits_for_its_environment_takes_no_core_meanwhile():
    model = Model(COSTS, waits=2e-3)
    limits = model.limits(Size(4, 100, 0.0, cores=2))
    assert limits["rollouts"] == pytest.approx(4 / 2.02e-3)
    assert limits[ALL_CORES] == pytest.approx(2 / 30e-6)


def test_what_costs_nothing_bounds_nothing():
    nothing = Model(dict.fromkeys(PARTS, Cost()))
    assert nothing.first(Size(1, 1, 1.0, cores=2))[1] == math.inf


def usage(segment_steps, updates_per_step, costs):
    size, steps = Size(1, segment_steps, updates_per_step), 10_000.0
    taken = {part: steps * costs[part].of_a_step(size) for part in PARTS}
    return Usage(10.0, steps, steps / segment_steps, steps * updates_per_step, taken)


costs = st.builds(Cost, *[st.floats(1e-7, 1e-2)] * 3)


@given(st.fixed_dictionaries({part: costs for part in PARTS}))
def test_costs_are_found_again_from_three_runs(known):
    found = fitted([usage(16, 0.0, known), usage(256, 0.0, known), usage(256, 0.125, known)])
    for part, cost in known.items():
        for size in (Size(1, 64, 0.05), Size(1, 1_024, 0.5)):
            assert found[part].of_a_step(size) == pytest.approx(cost.of_a_step(size), rel=1e-6)


def test_no_cost_is_below_nothing():
    """By noise a run with larger segments took more for a step."""
    runs = [usage(16, 0.0, COSTS), usage(256, 0.0, COSTS), usage(256, 0.125, COSTS)]
    runs[1].cores["driver"] = 10 * runs[0].cores["driver"]
    cost = fitted(runs)["driver"]
    assert min(cost.per_step, cost.per_segment, cost.per_update) >= 0
