import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from distributed_kd.replay.pace import FREE, Pace

PACES = st.one_of(st.floats(1e-3, 1e3), st.sampled_from([0.1, 0.3, 1 / 3, 1.0, 7.0, 8.0]))


def test_batches_worked_by_hand():
    pace = Pace(samples_per_insert=8.0, warmup=10, batch_size=64, slack=0)
    assert pace.batches(9, 0) == 0, "warming up"
    assert pace.batches(10, 0) == 1  # 80 samples
    assert pace.batches(24, 0) == 3  # 192 = 3 * 64
    assert pace.batches(24, 64) == 2
    assert pace.batches(24, 192) == 0
    assert pace.batches(24, 256) == 0, "ahead already, which is no debt of batches"


@pytest.mark.parametrize(("per_insert", "inserted", "batches"), [(0.29, 100, 29), (0.57, 100, 57), (1.1, 10, 11)])
def test_a_product_that_rounds_down_loses_no_batch(per_insert, inserted, batches):
    # In floating point 0.29 * 100 is 28.999999999999996, and 1.1 * 10 is 11.000000000000002.
    assert Pace(per_insert, 1, 1, 0).batches(inserted, 0) == batches


def test_insert_limit_worked_by_hand():
    pace = Pace(samples_per_insert=2.0, warmup=100, batch_size=8, slack=30)
    assert pace.insert_limit(0) == 130
    assert pace.insert_limit(200) == 130  # 200 / 2 = 100
    assert pace.insert_limit(207) == 133
    assert pace.insert_limit(1000) == 530


def test_zero_is_free_in_both_directions_once_warm():
    pace = Pace.between(0.0, 50, 64, 32, 2)
    assert pace.batches(49, 0) == 0
    assert pace.batches(50, 10**12) == FREE
    assert pace.insert_limit(0) == FREE


def test_between_leaves_room_for_two_segments_of_every_actor_and_the_inserts_of_a_batch():
    # 2 * 3 * 40, and ceil(64 / 0.5)
    assert Pace.between(0.5, 10, 64, 40, 3) == Pace(0.5, 10, 64, 368)
    assert Pace.between(100.0, 10, 64, 40, 3).slack == 241


@settings(deadline=None, max_examples=150)
@given(per_insert=PACES, warmup=st.integers(1, 500), batch=st.integers(1, 200), sampled=st.lists(st.integers(0, 10**7)))
def test_the_insert_limit_never_falls(per_insert, warmup, batch, sampled):
    pace = Pace.between(per_insert, warmup, batch, 16, 2)
    limits = [pace.insert_limit(count) for count in sorted(sampled)]
    assert limits == sorted(limits)


@settings(deadline=None, max_examples=150)
@given(
    per_insert=PACES,
    warmup=st.integers(1, 500),
    batch=st.integers(1, 200),
    segment=st.integers(1, 100),
    actors=st.integers(1, 4),
    choices=st.lists(st.tuples(st.booleans(), st.integers(1, 20)), min_size=5, max_size=60),
)
@example(per_insert=1e-3, warmup=1, batch=200, segment=1, actors=1, choices=[(True, 20)] * 40)
@example(per_insert=1e3, warmup=500, batch=1, segment=1, actors=1, choices=[(False, 1)] * 40)
def test_no_order_of_inserts_and_draws_ends_in_a_deadlock(per_insert, warmup, batch, segment, actors, choices):
    """Every actor has a segment under way, counted before it lands; whoever may not go on waits for the other side."""
    pace = Pace.between(per_insert, warmup, batch, segment, actors)
    inserted = sampled = under_way = 0
    for insert_first, most in choices:
        moved = False
        for inserting in (insert_first, not insert_first):
            if inserting:
                while under_way < actors and inserted + (under_way + 1) * segment <= pace.insert_limit(sampled):
                    under_way += 1
                landing = min(under_way, most)
                inserted, under_way = inserted + landing * segment, under_way - landing
                moved |= landing > 0
            else:
                drawn = min(most, pace.batches(inserted, sampled))
                sampled += drawn * batch
                moved |= drawn > 0
            assert inserted <= pace.insert_limit(sampled)
            if sampled:
                assert inserted >= warmup
                assert sampled <= inserted * per_insert + 1e-6 * batch
        assert moved, "neither side may go on"


@settings(deadline=None, max_examples=150)
@given(per_insert=PACES, warmup=st.integers(1, 500), batch=st.integers(1, 200), rest=st.integers(0, 10_000))
def test_with_inserting_over_and_the_learner_caught_up_the_ratio_is_exact_to_a_batch(per_insert, warmup, batch, rest):
    pace, inserted = Pace.between(per_insert, warmup, batch, 16, 2), warmup + rest
    sampled = 0
    while batches := pace.batches(inserted, sampled):
        sampled += math.ceil(batches / 2) * batch
    assert -1e-6 * batch <= inserted * per_insert - sampled < batch
