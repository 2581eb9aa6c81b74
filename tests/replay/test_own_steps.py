"""What the replay hands to students that learn from their own lanes."""

import copy

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_replay import NaiveReplay, Player, stacking_players
from replay_samples import assert_same, check_transitions, free, newest_of, rows_of
from replay_samples import replay_of as any_replay_of
from scipy import stats

from distributed_kd.replay.pace import Pace
from distributed_kd.replay.shard import OWN_BATCHES

OWN = {"first": 1, "second": 2}


def replay_of(capacity=200, n_step=1, batch_size=4, seed=0, own=OWN, pace=None, stack=1):
    return any_replay_of(capacity, n_step, pace or free(batch_size), seed, own=own, stack=stack)


@settings(deadline=None, max_examples=100)
@given(
    player=stacking_players,
    slack=st.integers(0, 60),
    segments=st.integers(1, 12),
    n=st.integers(1, 4),
    batch_size=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_only_its_own_newest_steps_that_are_still_there(player, slack, segments, n, batch_size, seed):
    capacity = player.most_rows + slack
    replay = replay_of(capacity, n, batch_size, seed, stack=player.stack)
    naive = NaiveReplay(capacity, n, player.stack)
    for _ in range(segments):
        segment, pieces = player.play()
        replay.add(segment)
        naive.add(pieces)
        newest = {name: naive.own(number, OWN_BATCHES * batch_size) for name, number in OWN.items()}
        own = replay.sample(3)[0].own
        assert set(own) == {name for name, numbers in newest.items() if len(numbers) >= batch_size}
        for name, batch in own.items():
            assert batch.action.shape == (3, batch_size)
            assert batch.own == {}
            rows = rows_of(batch)
            assert set(newest_of(rows)) <= set(newest[name])
            check_transitions(rows, naive.transitions())


def test_worked_by_hand():
    # Two lanes, that of policy 1 behind that of policy 0, three steps each: four rows a lane and segment.
    player, replay = Player(0, lanes=2, steps=3, gamma=0.9, ending=0.0), replay_of(16, batch_size=2, own={"first": 1})
    policy = np.array([0, 0, 0, -1, 1, 1, 0, -1], np.int16)  # the teacher takes the last step of each

    def after(segments):
        for _ in range(segments):
            segment = player.play()[0]
            segment.policy[:] = policy
            replay.add(segment)
        return set(replay.state()["own"]["first"]["rows"].tolist())

    assert after(1) == {4, 5}
    assert after(1) == {4, 5, 12, 13}
    assert after(1) == {4, 5, 12, 13}, "the third one is written over the first"
    policy[:] = [0, 0, 0, -1, 0, 0, 0, -1]
    assert after(1) == {4, 5}
    assert after(1) == set()
    assert replay.sample(1)[0].own == {}


def test_all_the_newest_come_up_and_none_more_often_than_another():
    player, naive, replay = Player(7, lanes=3, steps=5, gamma=0.9), NaiveReplay(400, 1), replay_of(400, batch_size=8)
    for _ in range(12):
        segment, pieces = player.play()
        replay.add(segment)
        naive.add(pieces)
    rows = rows_of(replay.sample(400)[0].own["second"])
    numbers, counts = np.unique(newest_of(rows), return_counts=True)
    assert len(naive.own(2, 10**6)) > 40, "or the newest 32 would be all"
    assert numbers.tolist() == sorted(naive.own(2, 32))
    # 3,200 draws, 100 of each
    assert stats.chisquare(counts).pvalue > 1e-4


def test_what_is_drawn_for_all_and_the_counts_are_the_same_with_and_without():
    player = Player(0, lanes=3, steps=5, gamma=0.9)
    pace = Pace(4.0, 15, 8, 1000)
    replays = [replay_of(60, 3, own=own, pace=pace) for own in (OWN, {})]
    handed = 0
    for _ in range(8):
        segment = player.play()[0]
        assert replays[0].add(segment) == replays[1].add(segment)
        (batch, receipt), (plain, its_receipt) = (replay.sample(5) for replay in replays)
        assert receipt == its_receipt
        np.testing.assert_equal({**vars(batch), "own": {}}, vars(plain))
        handed += len(batch.own)
    assert handed > 8


def test_each_student_draws_from_a_stream_of_its_own():
    segment = Player(0, lanes=3, steps=5, gamma=0.9, ending=0.0).play()[0]
    segment.policy[segment.is_step] = 1
    # Two students of one policy number: what is there to draw from is the same.
    replays = [replay_of(own=own) for own in ({"a": 1}, {"b": 1, "a": 1}, {"b": 1})]
    drawn = []
    for replay in replays:
        replay.add(segment)
        drawn.append(replay.sample(4)[0])
    assert_same(drawn[0].own["a"], drawn[1].own["a"])
    assert_same(drawn[1].own["b"], drawn[2].own["b"])
    assert rows_of(drawn[1].own["a"]) != rows_of(drawn[1].own["b"])
    assert rows_of(drawn[0].own["a"]) != rows_of(drawn[0])


def test_own_batches_come_apart_with_the_others_and_are_copies():
    replay, player = replay_of(40, batch_size=2), Player(0, lanes=3, steps=5, gamma=0.9)
    replay.add(player.play()[0])
    batch, _ = replay.sample(3)
    assert set(batch.own) == set(OWN)
    kept = copy.deepcopy(batch)
    for _ in range(6):
        replay.add(player.play()[0])
    assert_same(batch, kept)
    for place, one in enumerate(batch.split()):
        for name in OWN:
            np.testing.assert_array_equal(one.own[name].observation, batch.own[name].observation[place])


def test_a_segment_sent_twice_counts_once():
    replay, segment = replay_of(), Player(0, lanes=3, steps=5, gamma=0.9).play()[0]
    replay.add(segment)
    before = replay.state()["own"]
    replay.add(segment)
    np.testing.assert_equal(replay.state()["own"], before)


def test_a_student_that_the_state_does_not_know_begins_with_nothing():
    player, before = Player(0, lanes=3, steps=5, gamma=0.9), replay_of(batch_size=2, own={"first": 1})
    before.add(player.play()[0])
    joined = replay_of(batch_size=2)
    joined.restore(before.state())
    assert set(joined.sample(1)[0].own) == {"first"}
    joined.add(player.play()[0])
    assert set(joined.sample(1)[0].own) == {"first", "second"}
