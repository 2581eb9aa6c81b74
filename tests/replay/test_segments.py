import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_replay import stacking_players

from distributed_kd.records import Segment
from distributed_kd.replay.segments import Ledger, lay_out


def column(*values, dtype=float):
    """[T, 2] from one pair of values a step, one for each lane."""
    return np.array(values, dtype)


def two_lanes():
    """Three steps of two lanes. Lane 0 terminates in step 1; lane 1 is truncated in step 0, and in the last step."""
    return lay_out(
        name=(3, 2, 9),
        observation=column((10, 20), (11, 30), (15, 31))[..., None].astype(np.float32),
        action=column((0, 1), (1, 0), (1, 1), dtype=int),
        reward=column((1.0, 2.0), (3.0, 4.0), (5.0, 6.0)),
        terminated=column((0, 0), (1, 0), (0, 0), dtype=bool),
        ended=column((0, 1), (1, 0), (0, 1), dtype=bool),
        final=np.float32([[21], [12], [32]]),
        following=np.float32([[16], [32]]),
        before=np.empty((2, 0, 1), np.float32),
        known=np.zeros(2, int),
        gamma=0.5,
        policy=column((0, 4), (0, 4), (0, 0), dtype=int),
        version=70,
        probability=column((0.5, 0.1), (0.6, 0.2), (0.7, 1.0)),
    )


def test_two_lanes_laid_out_by_hand():
    segment = two_lanes()
    # Lane 0: 10, 11, its true last 12; then 15 and, since the segment is over, 16. Lane 1: 20, true last 21; 30, 31, 32.
    assert segment.observation[:, 0].tolist() == [10, 11, 12, 15, 16, 20, 21, 30, 31, 32]
    assert segment.is_step.tolist() == [True, True, False, True, False, True, False, True, True, False]
    assert np.flatnonzero(segment.begins).tolist() == [0, 3, 5, 7]
    assert segment.action.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 1, 0]
    assert segment.reward.tolist() == [1, 3, 0, 5, 0, 2, 0, 4, 6, 0]
    # 0 after the termination in lane 0; gamma at both truncations of lane 1.
    assert segment.discount.tolist() == [0.5, 0.0, 0, 0.5, 0, 0.5, 0, 0.5, 0.5, 0]
    # The teacher took lane 1's last step.
    assert segment.policy.tolist() == [0, 0, -1, 0, -1, 4, -1, 4, 0, -1]
    np.testing.assert_array_equal(segment.probability, np.float32([0.5, 0.6, 0, 0.7, 0, 0.1, 0, 0.2, 1.0, 0]))
    assert segment.version.tolist() == [70, 70, -1, 70, -1, 70, -1, 70, 70, -1]
    assert (segment.actor, segment.incarnation, segment.sequence) == (3, 2, 9)
    assert segment.steps == 6
    segment.check_valid()


def test_columns_have_the_types_that_the_replay_stores():
    segment = two_lanes()
    names = ("action", "reward", "discount", "policy", "version", "probability")
    types = {name: getattr(segment, name).dtype.name for name in names}
    assert types == {
        "action": "int64",
        "reward": "float32",
        "discount": "float32",
        "policy": "int16",
        "version": "int64",
        "probability": "float32",
    }


def test_frames_of_before_stand_in_front_laid_out_by_hand():
    """Three frames are seen at once. Of lane 0's episode four came before, of lane 1's one; lane 2 begins."""
    segment = lay_out(
        name=(0, 0, 0),
        observation=np.float32([[14, 21, 30], [15, 22, 40]])[..., None],
        action=np.zeros((2, 3), int),
        reward=np.ones((2, 3)),
        terminated=np.zeros((2, 3), bool),
        ended=column((0, 0, 1), (1, 0, 0), dtype=bool),
        final=np.float32([[31], [16]]),
        following=np.float32([[16], [23], [41]]),
        before=np.float32([[12, 13], [20, 20], [30, 30]])[..., None],
        known=np.array([2, 1, 0]),
        gamma=0.5,
        policy=np.full((2, 3), 3),
        version=7,
        probability=np.ones((2, 3)),
    )
    assert segment.observation[:, 0].tolist() == [12, 13, 14, 15, 16, 20, 21, 22, 23, 30, 31, 40, 41]
    assert np.flatnonzero(segment.is_step).tolist() == [2, 3, 6, 7, 9, 11]
    assert np.flatnonzero(segment.begins).tolist() == [0, 5, 9, 11]
    # What is no step says nothing of what was done.
    assert segment.reward.tolist() == segment.is_step.tolist()
    assert set(segment.policy[~segment.is_step]) == set(segment.version[~segment.is_step]) == {-1}
    segment.check_valid()


@settings(deadline=None, max_examples=60)
@given(player=stacking_players, segments=st.integers(1, 3))
def test_walking_the_rows_reproduces_every_trajectory(player, segments):
    for number in range(segments):
        segment, pieces = player.play()
        segment.check_valid()
        expected = []
        for piece in pieces:
            for k in range(-piece.before, len(piece.steps) + 1):
                begins = k == -piece.before
                if 0 <= k < len(piece.steps):
                    action, reward, discount, policy, probability = piece.steps[k]
                    numbers = (np.float32(reward), np.float32(discount), np.float32(probability))
                    expected.append((piece.number(k), action, *numbers, True, begins, policy, number))
                else:
                    expected.append((piece.number(k), 0, 0.0, 0.0, 0.0, False, begins, -1, -1))
        rows = zip(
            segment.observation[:, 0].astype(int).tolist(),
            segment.action.tolist(),
            segment.reward,
            segment.discount,
            segment.probability,
            segment.is_step.tolist(),
            segment.begins.tolist(),
            segment.policy.tolist(),
            segment.version.tolist(),
            strict=True,
        )
        assert list(rows) == expected
        np.testing.assert_array_equal(segment.observation[:, 1], -segment.observation[:, 0])
        assert len(np.unique(segment.observation[:, 0])) == len(segment.observation)
        assert segment.steps == player.lanes * player.steps


def test_pictures_keep_their_type_and_shape():
    picture = np.arange(2 * 1 * 3 * 2, dtype=np.uint8).reshape(2, 1, 3, 2)
    segment = lay_out(
        name=(0, 0, 0),
        observation=picture,
        action=np.zeros((2, 1), int),
        reward=np.zeros((2, 1)),
        terminated=np.zeros((2, 1), bool),
        ended=np.zeros((2, 1), bool),
        final=picture[:0, 0],
        following=picture[1] + 100,
        before=np.empty((1, 0, 3, 2), np.uint8),
        known=np.zeros(1, int),
        gamma=0.9,
        policy=np.zeros((2, 1), int),
        version=0,
        probability=np.ones((2, 1)),
    )
    assert segment.observation.dtype == np.uint8
    np.testing.assert_array_equal(segment.observation, [picture[0, 0], picture[1, 0], picture[1, 0] + 100])


def named(actor, incarnation, sequence):
    """A segment of one step, by its name."""
    columns = np.zeros(2, np.float32)
    flags = np.array([True, False])
    return Segment(actor, incarnation, sequence, columns, columns, columns, columns, flags, flags, *[columns] * 3)


def accepted(ledger, *names):
    return [ledger.accept(named(*name)) for name in names]


def test_each_segment_is_accepted_once():
    ledger = Ledger()
    assert accepted(ledger, (0, 0, 0), (0, 0, 1), (0, 0, 0), (0, 0, 1), (0, 0, 2)) == [True, True, False, False, True]
    assert ledger.dropped == {"duplicate": 2}


def test_actors_do_not_share_their_numbers():
    ledger = Ledger()
    assert accepted(ledger, (0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1), (1, 0, 0)) == [True, True, True, True, False]


def test_an_earlier_life_is_fenced_off_once_the_next_has_spoken():
    ledger = Ledger()
    names = [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0), (0, 1, 1), (0, 3, 0), (0, 2, 0), (1, 0, 0)]
    assert accepted(ledger, *names) == [True, True, False, False, True, True, False, True]
    assert ledger.dropped == {"fenced": 3}


def test_a_gap_is_left_open_for_a_late_arrival():
    ledger = Ledger()
    names = [(0, 0, 0), (0, 0, 4), (0, 0, 2), (0, 0, 2), (0, 0, 3), (0, 0, 1), (0, 0, 1), (0, 0, 4), (0, 0, 5)]
    assert accepted(ledger, *names) == [True, True, True, False, True, True, False, False, True]
    assert ledger.dropped == {"duplicate": 3}


def test_a_new_life_starts_counting_anew_and_leaves_no_gaps_behind():
    ledger = Ledger()
    assert accepted(ledger, (0, 0, 0), (0, 0, 5), (0, 1, 1), (0, 1, 3), (0, 1, 2), (0, 1, 0)) == [True] * 6
    assert accepted(ledger, (0, 1, 4), (0, 0, 3)) == [True, False]


def test_a_fence_shuts_the_earlier_lives_out_before_the_next_has_spoken():
    ledger = Ledger()
    assert accepted(ledger, (0, 0, 0), (1, 0, 0)) == [True, True]
    ledger.fence(0, 2)
    ledger.fence(0, 1)  # one that comes late opens nothing again
    assert accepted(ledger, (0, 0, 1), (0, 1, 0), (1, 0, 1), (0, 2, 0)) == [False, False, True, True]
    assert ledger.dropped == {"fenced": 2}
    ledger.fence(0, 2)  # of a life that has spoken: what it has said stays said
    assert accepted(ledger, (0, 2, 0), (0, 2, 1)) == [False, True]
    assert ledger.dropped == {"fenced": 2, "duplicate": 1}


names = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 6))


@settings(deadline=None, max_examples=100)
@given(before=st.lists(names, max_size=30), after=st.lists(names, max_size=30))
def test_the_ledger_against_a_plain_set_and_across_its_state(before, after):
    seen, life, dropped = set(), {}, {"fenced": 0, "duplicate": 0}

    def expected(name):
        actor, incarnation, _ = name
        if incarnation < life.get(actor, 0):
            dropped["fenced"] += 1
            return False
        life[actor] = incarnation
        if name in seen:
            dropped["duplicate"] += 1
            return False
        seen.add(name)
        return True

    ledger = Ledger()
    assert accepted(ledger, *before) == [expected(name) for name in before]
    restored = Ledger()
    restored.restore(json.loads(json.dumps(ledger.state())))  # what a checkpoint makes of it
    answers = [expected(name) for name in after]
    assert accepted(restored, *after) == answers
    assert accepted(ledger, *after) == answers
    assert {reason: restored.dropped[reason] for reason in dropped} == dropped
    assert restored.state() == ledger.state()


def test_a_state_is_not_changed_by_what_comes_after_it():
    ledger = Ledger()
    accepted(ledger, (0, 0, 2), (0, 0, 2))
    state = ledger.state()
    kept = json.dumps(state)
    restored = Ledger()
    restored.restore(state)
    accepted(restored, (0, 0, 1), (0, 0, 1), (0, 0, 3))
    accepted(ledger, (0, 0, 0), (0, 0, 0), (0, 0, 7))
    assert json.dumps(state) == kept


def test_steps_are_counted_where_they_are_dropped():
    ledger, segment = Ledger(), two_lanes()
    assert ledger.accept(segment)
    assert not ledger.accept(segment)
    assert ledger.dropped == {"duplicate": 6}


@pytest.mark.parametrize("name", ["action", "reward", "discount", "is_step", "begins", "policy", "version", "probability"])
def test_a_column_of_another_length_is_malformed(name):
    segment = two_lanes()
    columns = {**vars(segment), name: getattr(segment, name)[:-1]}
    with pytest.raises(ValueError, match=f"{name} has shape"):
        Segment(**columns).check_valid()


def test_a_segment_must_close_with_an_observation():
    segment = two_lanes()
    cut = {key: value[:-1] if isinstance(value, np.ndarray) else value for key, value in vars(segment).items()}
    none = {key: value[:0] if isinstance(value, np.ndarray) else value for key, value in vars(segment).items()}
    for columns in (cut, none):
        with pytest.raises(ValueError, match="last row"):
            Segment(**columns).check_valid()


def test_nothing_stands_before_a_segment():
    segment = two_lanes()
    with pytest.raises(ValueError, match="so it must begin"):
        Segment(**{**vars(segment), "begins": np.zeros_like(segment.begins)}).check_valid()
