import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_replay import NaiveReplay, Player, players
from replay_samples import assert_same, check_transitions, free, newest_of, replay_of, rows_of
from scipy import stats

from distributed_kd.records import EnvSpec, Segment
from distributed_kd.replay.pace import FREE, Pace


def drawn(replay, batches=1):
    return rows_of(replay.sample(batches)[0])


@settings(deadline=None, max_examples=80)
@given(
    player=players,
    slack=st.integers(0, 40),
    segments=st.integers(1, 12),
    n=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_transition_is_what_the_trajectories_say(player, slack, segments, n, seed):
    # The smallest ring holds just one segment.
    capacity = player.most_rows + slack
    replay, naive = replay_of(capacity, n, seed=seed), NaiveReplay(capacity, n)
    sampled = 0
    for _ in range(segments):
        segment, pieces = player.play()
        receipt = replay.add(segment)
        naive.add(pieces)
        held = naive.transitions()
        assert receipt.inserted == naive.inserted
        assert receipt.size == len(held)
        assert receipt.evicted == naive.inserted - len(held)
        check_transitions(drawn(replay, 2), held)
        sampled += 32
        assert replay.receipt().sampled == sampled


def test_all_held_steps_come_up_and_none_more_often_than_another():
    player, naive = Player(7, lanes=3, steps=5, gamma=0.9), NaiveReplay(101, 1)
    replay = replay_of(101, pace=free(100))
    for _ in range(20):
        segment, pieces = player.play()
        replay.add(segment)
        naive.add(pieces)
    held = sorted(naive.transitions())
    assert 60 < len(held) < 101, "some rows are no steps, and the ring has gone round"
    numbers, counts = np.unique(newest_of(drawn(replay, 200)), return_counts=True)
    assert numbers.tolist() == held
    assert stats.chisquare(counts).pvalue > 1e-4


def test_n_step_worked_by_hand():
    def column(*values, dtype=np.float32):
        return np.array(values, dtype)

    steps = column(1, 1, 1, 0, 1, 0, dtype=bool)
    segment = Segment(
        0, 0, 0,
        observation=np.array([[n, -n] for n in range(6)], np.float32),
        action=column(0, 1, 2, 0, 3, 0, dtype=np.int64),
        reward=column(1, 2, 4, 0, 8, 0),
        discount=column(0.5, 0.5, 0.5, 0, 0, 0),  # truncated behind 2, terminated behind 4
        is_step=steps,
        begins=column(1, 0, 0, 0, 1, 0, dtype=bool),
        policy=np.where(steps, 0, -1).astype(np.int16),
        version=np.zeros(6, np.int64),
        probability=column(0.5, 0.25, 0.75, 0, 1, 0),
    )  # fmt: skip
    replay = replay_of(n_step=3)
    replay.add(segment)
    rows = set(drawn(replay, 10))
    assert rows == {
        ((0.0,), 0, 3.0, 0.125, (3.0,), 0.5),  # 1 + 2 / 2 + 4 / 4, and .5 ** 3
        ((1.0,), 1, 4.0, 0.25, (3.0,), 0.25),  # 2 + 4 / 2: two steps to the truncation
        ((2.0,), 2, 4.0, 0.5, (3.0,), 0.75),
        ((4.0,), 3, 8.0, 0.0, (5.0,), 1.0),
    }


def test_batches_travel_together_and_come_apart():
    replay = replay_of(pace=free(4))
    replay.add(Player(0, 2, 5, 0.9).play()[0])
    batch, receipt = replay.sample(3)
    assert batch.observation.shape == batch.next_observation.shape == (3, 4, 2)
    assert batch.action.shape == batch.n_step_return.shape == batch.discount.shape == batch.probability.shape == (3, 4)
    assert batch.row.shape == batch.oversampling.shape == (3, 4)
    assert batch.action.dtype == batch.row.dtype == np.int64
    for column in (batch.n_step_return, batch.discount, batch.observation, batch.probability, batch.oversampling):
        assert column.dtype == np.float32
    assert (batch.oversampling == 1.0).all() and batch.students is None, "drawn uniformly, for all alike"
    assert receipt.sampled == 12
    for number, one in enumerate(batch.split()):
        np.testing.assert_array_equal(one.observation, batch.observation[number])
        np.testing.assert_array_equal(one.discount, batch.discount[number])


def test_a_batch_is_a_copy_that_later_inserts_leave_alone():
    player, replay = Player(0, 2, 5, 0.9), replay_of(20)
    replay.add(player.play()[0])
    batch, _ = replay.sample(2)
    kept = copy.deepcopy(batch)
    for _ in range(6):
        replay.add(player.play()[0])
    np.testing.assert_equal(vars(batch), vars(kept))


def test_the_segment_is_copied():
    replay, segment = replay_of(), Player(0, 2, 5, 0.9).play()[0]
    replay.add(segment)
    before = copy.deepcopy(replay.state()["rows"])
    for name in ("observation", "action", "reward", "discount", "policy", "probability"):
        getattr(segment, name)[:] = 99
    np.testing.assert_equal(replay.state()["rows"], before)


def test_who_acted_and_with_which_weights_is_kept_with_each_step():
    replay, player = replay_of(), Player(0, 2, 5, 0.9)
    segments = [player.play()[0], player.play()[0]]
    for segment in segments:
        replay.add(segment)
    rows = replay.state()["rows"]
    for name in ("policy", "version", "is_step", "begins", "probability"):
        np.testing.assert_array_equal(rows[name], np.concatenate([getattr(one, name) for one in segments]))


def test_the_pace_is_kept():
    player = Player(0, lanes=2, steps=5, gamma=0.9)
    replay = replay_of(pace=Pace(2.0, 20, 8, 100))
    receipt = replay.add(player.play()[0])
    assert receipt.insert_limit == 120
    nothing, receipt = replay.sample(5)
    assert nothing is None, "10 of 20 steps to warm up"
    assert receipt.sampled == 0
    replay.add(player.play()[0])
    # 20 inserted steps allow 40 samples: five batches of 8, however many are asked for.
    batch, receipt = replay.sample(2)
    assert (len(batch.action), receipt.sampled) == (2, 16)
    batch, receipt = replay.sample(50)
    assert (len(batch.action), receipt.sampled) == (3, 40)
    assert replay.sample(1)[0] is None
    assert replay.add(player.play()[0]).insert_limit == 100 + 20
    batch, receipt = replay.sample(50)
    assert (len(batch.action), receipt.sampled) == (2, 56)
    assert receipt.insert_limit == 100 + 28


def test_without_a_pace_there_is_no_limit():
    replay = replay_of()
    assert replay.receipt().insert_limit == FREE
    assert replay.sample(1)[0] is None, "nothing is there yet"
    replay.add(Player(0, 1, 1, 0.9).play()[0])
    assert len(replay.sample(100)[0].action) == 100


def test_a_segment_is_taken_once():
    player, replay = Player(0, 2, 5, 0.9), replay_of()
    first, second = player.play()[0], player.play()[0]
    replay.add(first)
    replay.add(second)
    rows = replay.state()["rows"]
    receipt = replay.add(first)
    assert (receipt.inserted, receipt.size, receipt.evicted) == (20, 20, 0)
    assert receipt.dropped == {"duplicate": 10}
    np.testing.assert_equal(replay.state()["rows"], rows)


def test_a_segment_longer_than_the_ring_is_refused():
    segment = Player(0, 2, 5, 0.9, ending=0.0).play()[0]  # 12 rows
    replay = replay_of(11)
    with pytest.raises(ValueError, match="segment of 12 rows does not fit a replay of 11"):
        replay.add(segment)
    assert replay.receipt().inserted == 0
    assert replay_of(12).add(segment).size == 10


def malformed(**changes):
    return Segment(**{**vars(Player(0, 2, 5, 0.9).play()[0]), **changes})


@pytest.mark.parametrize(
    "segment",
    [
        malformed(action=np.zeros(3, np.int64)),
        malformed(is_step=np.ones_like(malformed().is_step)),
        malformed(begins=np.zeros_like(malformed().begins)),
        malformed(observation=malformed().observation[:, :1]),  # would be broadcast in silence
        malformed(observation=malformed().observation[:, 0]),
    ],
    ids=["short column", "ends with a step", "begins nowhere", "narrow observations", "flat observations"],
)
def test_a_malformed_segment_is_refused_and_leaves_no_trace(segment):
    replay, fresh = replay_of(), replay_of()
    with pytest.raises(ValueError):  # noqa: PT011 - the messages are held elsewhere
        replay.add(segment)
    np.testing.assert_equal(replay.state(), fresh.state())
    # Nor is its name taken: the segment can be sent again, whole.
    assert replay.add(malformed()).inserted == 10


@pytest.mark.parametrize("segments", [0, 1, 3, 9])
def test_restored_it_draws_as_if_nothing_had_happened(segments):
    def fresh(seed):
        return replay_of(40, 3, Pace(4.0, 5, 8, 1000), seed, own={"small": 1})

    player, first = Player(0, 2, 5, 0.9), fresh(0)
    for _ in range(segments):
        first.add(player.play()[0])
        first.sample(2)
    state = copy.deepcopy(first.state())
    kept = copy.deepcopy(state)
    second = fresh(1)
    second.restore(state)
    assert second.receipt() == first.receipt()
    for _ in range(6):
        segment = player.play()[0]
        assert second.add(segment) == first.add(segment)
        (ours, our_receipt), (theirs, their_receipt) = second.sample(3), first.sample(3)
        assert our_receipt == their_receipt
        assert_same(ours, theirs)
    assert set(ours.own) == {"small"}
    assert second.add(segment).dropped == {"duplicate": 10}
    np.testing.assert_equal(second.state(), {**first.state(), "ledger": second.state()["ledger"]})
    np.testing.assert_equal(state, kept)  # a snapshot: neither of the two has written into it


def filled(capacity, segments):
    replay, player = replay_of(capacity), Player(0, 2, 5, 0.9)
    for _ in range(segments):
        replay.add(player.play()[0])
    return replay.state()


def test_restoring_into_a_ring_of_another_shape_is_refused():
    state = filled(60, 3)
    rows = len(state["rows"]["is_step"])
    with pytest.raises(ValueError, match=f"{rows} rows .* do not fit this replay of {rows - 1}"):
        replay_of(rows - 1).restore(state)
    with pytest.raises(ValueError, match="do not fit"):
        replay_of(60, spec=EnvSpec("Other", (3,), "float32", 4)).restore(state)


def test_a_ring_that_went_round_does_not_fit_a_larger_one():
    """Its newest rows stand in the middle: a larger ring would walk over their edge into rows that were never written."""
    replay = replay_of(61)
    with pytest.raises(ValueError, match="a full ring of 60 rows"):
        replay.restore(filled(60, 9))
    replay.restore(filled(60, 2))  # not yet full, so that it fits
    assert replay.receipt().size == 20


def test_a_replay_that_was_in_use_forgets_what_it_held():
    used, fresh, state = replay_of(60), replay_of(60), filled(60, 1)
    for _ in range(3):
        used.add(malformed(sequence=used.receipt().inserted))
    for replay in (used, fresh):
        replay.restore(state)
        assert replay.receipt().size == 10
    np.testing.assert_equal(used.state(), fresh.state())


def test_the_seed_decides_what_is_drawn():
    segment = Player(0, 2, 5, 0.9).play()[0]
    replays = [replay_of(seed=seed) for seed in (0, 0, 1)]
    for replay in replays:
        replay.add(segment)
    first, again, other = (drawn(replay, 4) for replay in replays)
    assert first == again
    assert first != other


def test_pictures_are_stored_as_they_came():
    spec = EnvSpec("Picture", (4, 4), "uint8", 2)
    replay = replay_of(10, spec=spec)
    assert replay.state()["rows"]["observation"].dtype == np.uint8
    picture = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    flags = np.array([True, False])
    numbers = np.zeros(2, np.int64)
    replay.add(Segment(0, 0, 0, picture, numbers, numbers, numbers, flags, flags, numbers, numbers, numbers))
    batch, _ = replay.sample(1)
    assert batch.observation.dtype == np.uint8
    np.testing.assert_array_equal(batch.observation[0, 0], picture[0])
    np.testing.assert_array_equal(batch.next_observation[0, 0], picture[1])
