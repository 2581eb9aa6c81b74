"""Transitions whose frames are stacked: from rows of segments that overwrite each other, and back to whole episodes."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_replay import SPEC, NaiveReplay, Player, stacking, stacking_players
from replay_samples import assert_same, check_transitions, free, newest_of, replay_of, rows_of
from scipy import stats

from distributed_kd.errors import InternalError
from distributed_kd.records import EnvSpec
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.ring import Ring
from distributed_kd.replay.segments import lay_out
from distributed_kd.rollouts.frames import Frames


@settings(deadline=None, max_examples=120)
@given(
    player=stacking_players,
    slack=st.integers(0, 30),
    segments=st.integers(1, 12),
    n=st.integers(1, 5),
    clip=st.sampled_from([0.0, 0.5]),
)
def test_every_step_in_the_ring_is_read_as_its_episode_says(player, slack, segments, n, clip):
    capacity = player.most_rows + slack
    ring, naive = Ring(stacking(player.stack), capacity), NaiveReplay(capacity, n, player.stack, clip or float("inf"))
    evicted = 0
    for _ in range(segments):
        segment, pieces = player.play()
        naive.add(pieces)
        evicted += ring.write(segment)[2]
        slots = np.flatnonzero(ring.rows["is_step"])
        read, held = ring.transitions(slots, n, clip), naive.transitions()
        seen, following = (
            read[name].reshape(len(slots), -1, 2)[..., 0].tolist() for name in ("observation", "next_observation")
        )
        numbers = [frames[-1] for frames in seen]
        assert sorted(numbers) == sorted(held), "just those steps can be drawn of which every frame is there"
        assert ring.steps == len(held) == naive.inserted - evicted
        assert dict(zip(numbers, read["row"].tolist(), strict=True)) == naive.numbers()
        assert ring.is_there(read["row"]).all()
        assert not ring.is_there(read["row"] - capacity).any() and not ring.is_there(read["row"] + capacity).any()
        columns = [read[name].tolist() for name in ("action", "n_step_return", "discount", "probability")]
        rows = zip(map(tuple, seen), *columns[:3], map(tuple, following), columns[3], strict=True)
        check_transitions(list(rows), held)


@settings(deadline=None, max_examples=60)
@given(
    player=stacking_players,
    slack=st.integers(0, 30),
    segments=st.integers(1, 10),
    n=st.integers(1, 5),
    prioritized=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_whatever_is_drawn_is_what_the_episodes_say(player, slack, segments, n, prioritized, seed):
    capacity = player.most_rows + slack
    replay = replay_of(capacity, n, seed=seed, stack=player.stack, prioritized=prioritized)
    naive = NaiveReplay(capacity, n, player.stack)
    for _ in range(segments):
        segment, pieces = player.play()
        naive.add(pieces)
        receipt = replay.add(segment)
        held, numbers = naive.transitions(), naive.numbers()
        assert (receipt.inserted, receipt.size) == (naive.inserted, len(held))
        assert receipt.inserted == receipt.size + receipt.evicted
        batch = replay.sample(2)[0]
        rows = rows_of(batch)
        check_transitions(rows, held)
        assert batch.row.ravel().tolist() == [numbers[number] for number in newest_of(rows)]


def cut_at_the_seam(**config):
    """One lane without an end, three frames seen at once; three segments in a ring of 12 rows.

    Rows 0 to 4 are 1 2 3 4 (5), rows 5 to 11 (3 4) 5 6 7 8 (9) and rows 12 to 18 (7 8) 9 10 11 12 (13): in brackets what is
    no step. The third segment overwrites rows 0 to 6, and so frames 3 and 4 of steps 5 and 6.
    """
    player, replay = Player(0, lanes=1, steps=4, gamma=0.5, ending=0.0, stack=3), replay_of(12, stack=3, **config)
    receipts = [replay.add(player.play()[0]) for _ in range(3)]
    return replay, receipts


def test_steps_whose_frames_are_gone_cannot_be_drawn_by_hand():
    replay, receipts = cut_at_the_seam()
    assert [(one.inserted, one.size, one.evicted) for one in receipts] == [(4, 4, 0), (8, 8, 0), (12, 6, 6)]
    drawn = {(row, *seen) for seen, row in zip(*seen_and_row(replay), strict=True)}
    assert drawn == {
        (9, 5, 6, 7),
        (10, 6, 7, 8),
        (14, 7, 8, 9),
        (15, 8, 9, 10),
        (16, 9, 10, 11),
        (17, 10, 11, 12),
    }


def seen_and_row(replay):
    batch = replay.sample(20)[0]
    return [row[0] for row in rows_of(batch)], batch.row.ravel().tolist()


def test_the_first_frame_of_an_episode_stands_for_those_before_it_by_hand():
    # Every step ends an episode: 1 (2), 3 (4) ...
    player, replay = Player(0, lanes=1, steps=3, gamma=0.5, ending=1.0, stack=3), replay_of(6, stack=3)
    replay.add(player.play()[0])
    drawn = {(row[0], row[4]) for row in rows_of(replay.sample(20)[0])}
    assert drawn == {((1, 1, 1), (1, 1, 2)), ((3, 3, 3), (3, 3, 4)), ((5, 5, 5), (5, 5, 6))}
    # The fourth episode overwrites the first one, and no step behind the seam misses a frame.
    player.steps = 1
    assert (replay.add(player.play()[0]).size, replay.add(player.play()[0]).size) == (3, 3)
    assert {row[0][-1] for row in rows_of(replay.sample(20)[0])} == {5, 7, 9}


def test_stacked_batches_have_the_shape_that_networks_see():
    player, replay = Player(0, lanes=2, steps=5, gamma=0.9, stack=4), replay_of(80, stack=4, pace=free(8))
    replay.add(player.play()[0])
    batch = replay.sample(3)[0]
    assert batch.observation.shape == batch.next_observation.shape == (3, 8, *stacking(4).input_shape) == (3, 8, 4, 2)
    assert batch.split()[0].observation.shape == (8, 4, 2)


def test_every_step_that_can_be_drawn_is_drawn_as_often_as_the_others():
    player, naive = Player(7, lanes=3, steps=5, gamma=0.9, stack=4, ending=0.1), NaiveReplay(98, 1, 4)
    replay = replay_of(98, stack=4, pace=free(100))
    for _ in range(20):
        segment, pieces = player.play()
        replay.add(segment)
        naive.add(pieces)
    held = sorted(naive.transitions())
    stored = {piece.number(k) for piece, k in naive.rows if 0 <= k < len(piece.steps)}
    assert len(held) < len(stored), "some lie at the seam"
    numbers, counts = np.unique(newest_of(rows_of(replay.sample(200)[0])), return_counts=True)
    assert numbers.tolist() == held
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("segments", [1, 4, 9])
def test_restored_it_stacks_as_if_nothing_had_happened(segments):
    def fresh(seed):
        return replay_of(50, 3, Pace(4.0, 5, 8, 1000), seed, stack=4, own={"small": 1})

    player, first = Player(0, 2, 5, 0.9, stack=4), fresh(0)
    for _ in range(segments):
        first.add(player.play()[0])
        first.sample(2)
    second = fresh(1)
    second.restore(first.state())
    for _ in range(6):
        segment = player.play()[0]
        assert second.add(segment) == first.add(segment)
        assert_same(second.sample(3)[0], first.sample(3)[0])


ATARI = EnvSpec("Frames", (84, 84), "uint8", 4, frame_stack=4)
FRAME = 84 * 84


def atari_segments(ending, segments=3, lanes=8, steps=64, spec=ATARI):
    """Segments of rollouts as the presets play them; of every step a share `ending` ends an episode."""
    random, frames = np.random.default_rng(0), Frames(spec, lanes)
    shape, picture = (steps, lanes), np.zeros((lanes, *spec.observation_shape), np.uint8)
    frames.begin(picture)
    for sequence in range(segments):
        ended = random.random(shape) < ending
        before, known = frames.before
        observation = np.empty((*shape, *picture.shape[1:]), np.uint8)
        for t in range(steps):
            observation[t] = frames.newest
            frames.push(picture)
            frames.begin(picture[ended[t]], np.flatnonzero(ended[t]))
        yield lay_out(
            name=(0, 0, sequence),
            observation=observation,
            action=np.zeros(shape, int),
            reward=np.zeros(shape),
            terminated=ended,
            ended=ended,
            final=np.zeros((ended.sum(), *picture.shape[1:]), np.uint8),
            following=picture,
            before=before,
            known=known,
            gamma=0.99,
            policy=np.zeros(shape, int),
            version=0,
            probability=np.ones(shape),
        )


def bytes_per_row(ring):
    return sum(column.nbytes for column in ring.rows.values()) / ring.capacity


@pytest.mark.parametrize("ending", [0.0, 1 / 30], ids=["no end", "an end after 30 steps"])
def test_a_step_of_atari_weighs_little_more_than_its_frame(ending):
    """At most 1.15 times as much, on the wire and in memory: by hand 68 rows for 64 steps, 32 bytes beside each frame."""
    segments = list(atari_segments(ending))
    for segment in segments:
        buffers = []
        head = pickle.dumps(segment, protocol=5, buffer_callback=buffers.append)
        wire = len(head) + sum(buffer.raw().nbytes for buffer in buffers)
        assert len(buffers) == 9 and len(head) < 2_000, "the arrays travel beside the pickle"
        assert 1.0 < wire / (FRAME * segment.steps) <= 1.15
    assert (sum(segment.begins.sum() for segment in segments) > 3 * 8) == (ending > 0), "episodes end on the way"
    if ending == 0.0:
        assert len(segments[-1].observation) == 8 * 68
    ring = Ring(ATARI, 1_200)
    for segment in segments:
        ring.write(segment)
    assert ring.written > ring.capacity, "it has gone round"
    assert bytes_per_row(ring) == FRAME + 32
    assert bytes_per_row(ring) * ring.capacity / (FRAME * ring.steps) <= 1.15


def test_without_stacks_nothing_stands_before():
    segment = next(atari_segments(0.0, spec=replace(ATARI, frame_stack=1)))
    assert len(segment.observation) == 8 * 65
    assert bytes_per_row(Ring(SPEC, 10)) == 8 + 32


@settings(deadline=None, max_examples=60)
@given(player=stacking_players, slack=st.integers(0, 30), segments=st.integers(1, 12))
def test_the_running_count_of_steps_is_that_of_a_full_count(player, slack, segments):
    """Through overwriting, through cutting at the seam, and through a restore."""
    replay = replay_of(player.most_rows + slack, stack=player.stack)
    for _ in range(segments):
        receipt, state = replay.add(player.play()[0]), replay.state()
        assert receipt.size == np.count_nonzero(state["rows"]["is_step"])
        replay.restore(state)
        assert replay.receipt().size == receipt.size


def test_a_count_that_does_not_add_up_is_not_saved():
    ring = Ring(EnvSpec("Numbers", (1,), "float32", 2), 10)
    ring.rows["is_step"][3] = True  # a step that nobody wrote
    with pytest.raises(InternalError, match=r"do not add up \(size=0\): 1 were found"):
        ring.state()
