"""Draws in proportion to priorities: how often, with what told beside them, and what becomes of late priorities."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_replay import NaiveReplay, Player, stacking_players
from replay_samples import assert_goes_on_alike, assert_same, check_transitions, free, newest_of, replay_of, rows_of
from scipy import stats

from distributed_kd.records import Priorities
from distributed_kd.replay.pace import Pace


def priorities(values):
    """{row: priority} as learning hands it in."""
    return Priorities(np.array(list(values), np.int64), np.array(list(values.values()), np.float32))


def one_lane(steps, capacity=50, pace=None, **config):
    """A prioritised replay with one segment of one lane: rows 0 to steps - 1 are steps, the next one is none."""
    player = Player(0, lanes=1, steps=steps, gamma=0.9, ending=0.0)
    replay = replay_of(capacity, pace=pace, prioritized=True, **config)
    replay.add(player.play()[0])
    return replay, player


def oversampling_of(replay, batches=40):
    """Row -> what is told of it, of all rows that are drawn."""
    batch = replay.sample(batches)[0]
    assert batch.oversampling.dtype == np.float32
    return dict(zip(batch.row.ravel().tolist(), batch.oversampling.ravel().tolist(), strict=True))


def test_the_shares_of_draws_are_those_of_the_priorities():
    values = {row: 10.0 ** (row % 4 - 2) for row in range(40)}
    replay, _ = one_lane(40, pace=free(100), priority_exponent=0.6)
    receipt = replay.prioritise(priorities(values))
    assert (receipt.prioritised, receipt.late_priorities) == (40, 0)
    drawn = replay.sample(400)[0].row.ravel()
    shares = np.array(list(values.values())) ** 0.6
    expected = shares / shares.sum() * 40_000
    assert expected.max() > 50 * expected.min()
    assert stats.chisquare(np.bincount(drawn, minlength=40), expected).pvalue > 1e-4


def test_how_many_times_as_likely_by_hand():
    # Exponent .5: leaves 1, 2, 3, 4 of a sum of 10; four steps, so 4 * .1, 4 * .2 and so on.
    replay, _ = one_lane(4, priority_exponent=0.5)
    replay.prioritise(priorities({0: 1.0, 1: 4.0, 2: 9.0, 3: 16.0}))
    assert oversampling_of(replay) == pytest.approx({0: 0.4, 1: 0.8, 2: 1.2, 3: 1.6})
    replay.prioritise(priorities({3: 0.0}))
    # Sum 6; what has no priority is never drawn.
    assert oversampling_of(replay) == pytest.approx({0: 4 / 6, 1: 8 / 6, 2: 2.0})


def test_with_exponent_0_every_step_is_drawn_alike():
    replay, _ = one_lane(4, priority_exponent=0.0)
    replay.prioritise(priorities({0: 1.0, 1: 400.0, 2: 0.0, 3: 1e-6}))
    assert oversampling_of(replay) == {0: 1.0, 1: 1.0, 2: 1.0, 3: 1.0}


def test_one_draw_from_each_part_of_the_sum():
    """Sixteen steps alike, sixteen draws: each batch has each of them once."""
    replay, _ = one_lane(16, pace=free(16))
    rows = replay.sample(50)[0].row
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(16), (50, 1)))


def test_a_new_step_has_the_greatest_priority_so_far():
    replay, player = one_lane(2, priority_exponent=0.5)
    assert oversampling_of(replay) == {0: 1.0, 1: 1.0}, "before anything is known all are alike"
    replay.prioritise(priorities({0: 9.0, 1: 0.25}))
    replay.prioritise(priorities({0: 1.0}))  # that it falls again changes nothing in what was the greatest
    player.steps = 3
    replay.add(player.play()[0])
    # Leaves 1, .5 and three times 3, sum 10.5; row 2 is no step, nor is row 6.
    assert oversampling_of(replay) == pytest.approx({0: 5 / 10.5, 1: 2.5 / 10.5, **dict.fromkeys((3, 4, 5), 15 / 10.5)})


def test_priorities_of_rows_overwritten_or_cut_are_dropped_and_counted():
    """As in test_stacks.py: of rows 5 to 18, in a ring of 12, the steps are 9, 10 and 14 to 17; 7 and 8 were cut."""
    player = Player(0, lanes=1, steps=4, gamma=0.5, ending=0.0, stack=3)
    replay = replay_of(12, stack=3, prioritized=True, priority_exponent=1.0)
    for _ in range(3):
        replay.add(player.play()[0])
    before = replay.state()["draws"]["priority"]
    assert np.flatnonzero(before).tolist() == [2, 3, 4, 5, 9, 10]
    # Rows 2 and 4 stood in slots that now hold rows 14 and 16; row 26 will stand where row 14 does; row 11 is no step.
    receipt = replay.prioritise(priorities(dict.fromkeys((2, 4, 7, 8, 26, 11), 1000.0)))
    assert (receipt.prioritised, receipt.late_priorities) == (0, 6)
    np.testing.assert_array_equal(replay.state()["draws"]["priority"], before)
    receipt = replay.prioritise(priorities({14: 2.0, 2: 5.0, 9: 3.0}))
    assert (receipt.prioritised, receipt.late_priorities) == (2, 7)
    assert replay.state()["draws"]["priority"].tolist() == [0, 0, 2, 1, 1, 1, 0, 0, 0, 3, 1, 0]
    # Nor does a late one count as the greatest: new steps begin at 3.
    replay.add(player.play()[0])
    assert replay.state()["draws"]["priority"].max() == 3.0


@settings(deadline=None, max_examples=60)
@given(
    player=stacking_players,
    slack=st.integers(0, 20),
    exponent=st.sampled_from([0.3, 1.0]),
    segments=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_priorities_follow_their_steps_through_the_ring(player, slack, exponent, segments, seed):
    capacity, random = player.most_rows + slack, np.random.default_rng(seed)
    replay = replay_of(capacity, 2, seed=seed, stack=player.stack, prioritized=True, priority_exponent=exponent)
    naive, known, greatest, taken, late = NaiveReplay(capacity, 2, player.stack), {}, 1.0, 0, 0
    for _ in range(segments):
        segment, pieces = player.play()
        replay.add(segment)
        naive.add(pieces)
        held = set(naive.numbers().values())
        known = {row: known.get(row, greatest) for row in held}
        told = {int(row): float(np.float32(random.exponential())) for row in random.integers(0, naive.written, 10)}
        receipt = replay.prioritise(priorities(told))
        there = {row: value for row, value in told.items() if row in held}
        known |= there
        greatest = max([greatest, *there.values()])
        taken, late = taken + len(there), late + len(told) - len(there)
        assert (receipt.prioritised, receipt.late_priorities) == (taken, late)
        batch = replay.sample(3)[0]
        check_transitions(rows_of(batch), naive.transitions())
        mean = sum(value**exponent for value in known.values()) / len(known)
        expected = [known[row] ** exponent / mean for row in batch.row.ravel().tolist()]
        np.testing.assert_allclose(batch.oversampling.ravel(), expected, rtol=1e-5)


def test_priorities_that_come_with_a_request_are_taken_in_before_the_draw():
    (first, _), (second, _) = one_lane(8), one_lane(8)
    told = priorities({0: 50.0, 3: 0.1})
    first.prioritise(told)
    (ours, our_receipt), (theirs, their_receipt) = first.sample(5), second.sample(5, told)
    assert our_receipt == their_receipt
    assert their_receipt.prioritised == 2
    assert_same(ours, theirs)


def test_they_are_taken_in_where_no_batch_is_given_too():
    replay, _ = one_lane(8, pace=Pace(1.0, 100, 4, 100))
    batch, receipt = replay.sample(5, priorities({0: 50.0, 99: 1.0}))
    assert batch is None
    assert (receipt.prioritised, receipt.late_priorities, receipt.sampled) == (1, 1, 0)


def test_uniform_draws_know_no_priorities():
    player, replays = Player(0, 1, 8, 0.9), [replay_of(seed=3), replay_of(seed=3)]
    segment = player.play()[0]
    for replay in replays:
        replay.add(segment)
    receipt = replays[0].prioritise(priorities({0: 50.0, 99: 1.0}))
    assert (receipt.prioritised, receipt.late_priorities) == (0, 0)
    assert_same(replays[0].sample(5)[0], replays[1].sample(5)[0])


def test_students_uniform_batches_come_from_a_stream_of_their_own():
    player, naive = Player(0, lanes=3, steps=5, gamma=0.9, stack=2), NaiveReplay(90, 1, 2)
    kinds = ({"student_batches": "uniform"}, {"student_batches": "corrected"}, {"student_batches": "uniform"})
    replays = [replay_of(90, pace=free(10), stack=2, prioritized=True, own={"own": 1}, **kind) for kind in kinds]
    fresh = replays[0].state()
    assert fresh["students"]["random"] != fresh["draws"]["random"]
    for _ in range(8):
        segment, pieces = player.play()
        naive.add(pieces)
        for replay in replays:
            replay.add(segment)
    rows = sorted(naive.numbers().values())
    told = priorities({row: 1000.0 if place < 5 else 0.5 for place, row in enumerate(rows)})
    (apart, receipt), (together, its_receipt), (untold, _) = (
        replay.sample(1000, told if number < 2 else None) for number, replay in enumerate(replays)
    )
    # The teacher's are the same to the bit, and so are those of students with lanes of their own, and the counts.
    assert receipt == its_receipt
    assert receipt.sampled == 1000 * 10
    assert together.students is None and set(together.own) == {"own"}
    assert_same(apart, replace(together, students=apart.students))
    # The students' are uniform over all that can be drawn, whatever the priorities.
    assert apart.students.action.shape == (1000, 10)
    assert (apart.students.oversampling == 1.0).all() and apart.students.own == {} and apart.students.students is None
    check_transitions(rows_of(apart.students), naive.transitions())
    assert_same(apart.students, untold.students)
    held, counts = np.unique(newest_of(rows_of(apart.students)), return_counts=True)
    assert held.tolist() == sorted(naive.transitions())
    assert stats.chisquare(counts).pvalue > 1e-4
    assert np.isin(apart.row, rows[:5]).mean() > 0.8, "and the teacher's are not"
    np.testing.assert_array_equal(apart.split()[3].students.row, apart.students.row[3])


def test_without_priorities_there_is_nothing_to_draw_apart():
    replay = replay_of(student_batches="uniform")
    replay.add(Player(0, 1, 8, 0.9).play()[0])
    assert replay.sample(3)[0].students is None


@pytest.mark.parametrize("segments", [0, 1, 3, 9])
def test_restored_it_draws_as_if_nothing_had_happened(segments):
    def fresh(seed):
        config = {"prioritized": True, "student_batches": "uniform", "own": {"small": 1}}
        return replay_of(50, 3, Pace(4.0, 5, 8, 1000), seed, stack=3, **config)

    def learned(batch):
        """An error for each step of a batch, where there is one."""
        if batch is None:
            return None
        return Priorities(batch.row.ravel(), random.exponential(3, batch.row.size).astype(np.float32))

    random, player = np.random.default_rng(0), Player(0, 2, 5, 0.9, stack=3)
    first, told = fresh(0), None
    for _ in range(segments):
        first.add(player.play()[0])
        told = learned(first.sample(2, told)[0])
    state = copy.deepcopy(first.state())
    kept = copy.deepcopy(state)
    second = fresh(1)
    second.add(Player(5, 1, 9, 0.9, stack=3).play()[0])  # what it held before is forgotten
    second.restore(state)
    our_receipt = assert_goes_on_alike(first, second, player, learned, told)
    assert our_receipt.prioritised > 50
    assert our_receipt.late_priorities > 0 or segments == 0
    np.testing.assert_equal(second.state(), first.state())
    np.testing.assert_equal(state, kept)  # a snapshot: neither of the two has written into it
