"""Several shards as one replay: in distribution, in counts, at one pace; and what crosses between them and who draws."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_replay import SPEC, NaiveReplay, Player, stacking_players
from replay_samples import assert_goes_on_alike, check_transitions, free, newest_of, replay_of, rows_of
from scipy import stats

from distributed_kd.data_config import ReplayConfig
from distributed_kd.records import Priorities, Receipt
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.segments import Ledger, shard_of
from distributed_kd.replay.shard import Shard, Stock
from distributed_kd.replay.shards import Shards, Tally, in_one, of_each

OWN = {"first": 1}


def counted(inserted=0, sampled=0, size=None, **more):
    return Receipt(inserted, 0, inserted if size is None else size, sampled, 0, **more)


def stock(mass, inserted=100, sampled=0, own=0):
    return Stock(counted(inserted, sampled), inserted, mass, {"first": own})


def dealing(*stocks, pace=None, seed=0, **config):
    return Shards(stocks, ReplayConfig(shards=len(stocks), **config), pace or free(10), np.random.SeedSequence(seed))


def played(player, naive, count):
    """Segments, each told to the list of rows that holds its shard's."""
    for _ in range(count):
        segment, pieces = player.play()
        naive[shard_of(segment.actor, segment.sequence, len(naive))].add(pieces)
        yield segment


# ---- the union of shards against one replay


@settings(deadline=None, max_examples=80)
@given(
    player=stacking_players,
    shards=st.integers(2, 4),
    slack=st.integers(0, 40),
    segments=st.integers(1, 14),
    n=st.integers(1, 3),
    batch_size=st.integers(1, 12),
    prioritized=st.booleans(),
    apart=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_union_holds_draws_and_counts_what_its_shards_hold(
    player, shards, slack, segments, n, batch_size, prioritized, apart, seed
):
    capacity, random = shards * player.most_rows + slack, np.random.default_rng(seed)
    how = {"prioritized": prioritized, "student_batches": "uniform" if apart else "corrected"}
    replay = replay_of(capacity, n, free(batch_size), seed, stack=player.stack, own=OWN, shards=shards, **how)
    parts = [capacity // shards + (shard < capacity % shards) for shard in range(shards)]
    naive = [NaiveReplay(part, n, player.stack) for part in parts]
    inserted, sampled, told, given_back, late = 0, 0, None, 0, 0
    for segment in played(player, naive, segments):
        receipt, held = replay.add(segment), {}
        for one in naive:
            held |= one.transitions()
        inserted += segment.steps
        assert (receipt.inserted, receipt.size, receipt.evicted) == (inserted, len(held), inserted - len(held))
        # A row's number tells its shard, and its number there.
        places = {row * shards + shard: number for shard, one in enumerate(naive) for number, row in one.numbers().items()}
        if told is not None and prioritized:
            given_back += len(told.row)
            late += sum(row not in places for row in told.row.tolist())
        batch, receipt = replay.sample(3, told)
        sampled += 3 * batch_size
        assert receipt.sampled == sum(one.sampled for one in receipt.shards) == sampled
        assert (receipt.prioritised, receipt.late_priorities) == (given_back - late, late)
        assert batch.action.shape == (3, batch_size)
        rows = rows_of(batch)
        check_transitions(rows, held)
        assert [places[row] for row in batch.row.ravel().tolist()] == newest_of(rows)
        assert (batch.students is not None) == (prioritized and apart)
        if batch.students is not None:
            check_transitions(rows_of(batch.students), held)
        for own in batch.own.values():
            assert own.action.shape == (3, batch_size)
            check_transitions(rows_of(own), held)
            theirs = {number for one in naive for number in one.own(1, 10**6)}
            assert set(newest_of(rows_of(own))) <= theirs
        told = Priorities(batch.row.ravel(), random.exponential(1, batch.row.size).astype(np.float32) + np.float32(0.01))


def unlike(shards, **config):
    """A replay whose first shard holds most of the steps."""
    player = Player(7, lanes=3, steps=5, gamma=0.9)
    replay = replay_of(101 * shards, pace=free(100), shards=shards, **config)
    for segment in (player.play()[0] for _ in range(26)):
        if shard_of(0, segment.sequence, shards) == 0 or segment.sequence < 6:
            replay.add(segment)
    return replay


def test_uniform_draws_from_the_union_are_uniform_over_all_its_steps():
    for shards in (1, 3):
        replay = unlike(shards)
        sizes = [one.size for one in replay.receipt().shards]
        assert shards == 1 or max(sizes) > 2 * min(sizes)
        batch = replay.sample(400)[0]
        rows, counts = np.unique(batch.row, return_counts=True)
        assert len(rows) == replay.receipt().size
        assert stats.chisquare(counts).pvalue > 1e-4
        np.testing.assert_array_equal(batch.oversampling, 1.0)


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_prioritised_draws_from_the_union_are_in_proportion_to_all_priorities(shards):
    replay = unlike(shards, prioritized=True, priority_exponent=0.5)
    rows = np.unique(replay.sample(300)[0].row)
    assert len(rows) == replay.receipt().size
    # Shard 0 has by far the greatest, which no share by steps would give it.
    priority = np.where(rows % shards == 0, 9.0, 1.0) * (1.0 + rows % 4)
    replay.prioritise(Priorities(rows, priority.astype(np.float32)))
    batch = replay.sample(400)[0]
    share = np.sqrt(priority) / np.sqrt(priority).sum()
    found, counts = np.unique(batch.row, return_counts=True)
    np.testing.assert_array_equal(found, rows)
    assert stats.chisquare(counts, 40_000 * share).pvalue > 1e-4
    expected = dict(zip(rows.tolist(), (share * len(rows)).tolist(), strict=True))
    np.testing.assert_allclose(batch.oversampling.ravel(), [expected[row] for row in batch.row.ravel().tolist()], rtol=1e-5)
    # One from each part of the sum: the number from a shard hardly varies.
    of_first = (batch.row % shards == 0).sum(axis=1)
    assert np.ptp(of_first) <= 2


def test_weights_undo_the_draws_even_where_they_were_dealt_by_masses_of_long_ago():
    """Two shards, dealt to half and half; meanwhile the first has nine tenths of the priorities and a third of the steps."""
    config = ReplayConfig(capacity=200, prioritized=True, priority_exponent=1.0, shards=2)
    pace, seed = free(100), np.random.SeedSequence(0)
    shards = [Shard(place, SPEC, config, 1, 0.0, pace, seed) for place in range(2)]
    player = Player(0, lanes=1, steps=10, gamma=0.9, ending=0.0)
    segments = [player.play()[0] for _ in range(4)]
    for place in range(2):
        shards[place].add(segments[place])
    union = Shards([shard.stock() for shard in shards], config, pace, seed)
    dealt = union.deal(400)
    shards[0].prioritise(Priorities(np.arange(10), np.linspace(1.0, 8.0, 10).astype(np.float32)))
    shards[1].add(segments[3])
    assert [shard.receipt().size for shard in shards] == [10, 20]
    parts = [shard.draw(request) for shard, request in zip(shards, dealt.requests, strict=True)]
    union.take([shard.stock() for shard in shards])
    batch = union.merge(dealt, parts)
    of_first = batch.row % 2 == 0
    assert of_first.mean() == pytest.approx(0.5, abs=0.01), "by the masses that were known: 10 steps of priority 1 each"
    # Drawn with .5 * 8 / 45 instead of 1 / 30, by hand for the greatest of the first shard; .5 / 20 in the second.
    assert batch.oversampling[batch.row == 18] == pytest.approx(0.5 * 8 / 45 * 30)
    assert batch.oversampling[~of_first] == pytest.approx(0.5 / 20 * 30)
    held = np.concatenate([2 * np.arange(10), 2 * np.delete(np.arange(21), 10) + 1])  # row 10 of the second is no step
    for function in (lambda row: row % 2 == 0, lambda row: row / 40.0, lambda row: row % 3 == 0):
        assert (function(batch.row) / batch.oversampling).mean() == pytest.approx(function(held).mean(), abs=0.02)


def test_one_shard_is_asked_for_everything_and_nothing_is_drawn_for_it():
    """So a replay of one shard is what it was before there were several: no stream of numbers is touched."""
    dealt = dealing(stock(3.0, own=10)).deal(4)
    (request,) = dealt.requests
    assert request.counts.tolist() == request.own["first"].tolist() == [10] * 4
    assert request.students is None


# ---- dealing


@settings(deadline=None, max_examples=100)
@given(
    masses=st.lists(st.sampled_from([0.0, 1e-9, 0.3, 1.0, 7.0, 1e9]), min_size=1, max_size=5).filter(any),
    batches=st.integers(1, 9),
    prioritized=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_batch_is_dealt_out_whole_and_nothing_to_a_shard_without_anything(masses, batches, prioritized, seed):
    stocks = [stock(mass) for mass in masses]
    dealt = dealing(*stocks, seed=seed, prioritized=prioritized).deal(batches)
    assert dealt.counts.shape == (batches, len(masses))
    assert (dealt.counts.sum(axis=1) == 10).all() and (dealt.counts >= 0).all()
    shares = np.array(masses) / sum(masses)
    assert not dealt.counts[:, shares == 0].any()
    if prioritized:
        assert (np.abs(dealt.counts - 10 * shares) <= 2).all()


def test_what_is_dealt_follows_the_seed_and_goes_on_from_the_counts():
    """No state is kept beside the shards' own: with the same counts the same is dealt."""
    stocks = [stock(1.0), stock(2.0)]
    first, again, other = dealing(*stocks), dealing(*stocks), dealing(*stocks, seed=1)
    ours = [first.deal(3).counts.tolist() for _ in range(2)]
    assert ours[0] != ours[1]
    assert again.deal(3).counts.tolist() == ours[0] != other.deal(3).counts.tolist()
    resumed = dealing(stock(1.0, sampled=20), stock(2.0, sampled=10))
    assert resumed.deal(3).counts.tolist() == ours[1]


def test_own_batches_come_once_all_shards_together_hold_one_and_are_left_out_where_a_shard_lost_its():
    assert dealing(stock(1.0, own=5), stock(1.0, own=4)).deal(2).own == {}
    union = dealing(stock(1.0, own=5), stock(1.0, own=5))
    dealt = union.deal(2)
    assert dealt.own["first"].sum(axis=1).tolist() == [10, 10]
    segment = Player(0, lanes=2, steps=8, gamma=0.9).play()[0]
    config = ReplayConfig(capacity=100, shards=2)
    shards = [Shard(place, SPEC, config, 1, 0.0, free(10), np.random.SeedSequence(0), OWN) for place in range(2)]
    for place, shard in enumerate(shards):
        one = replace(segment, sequence=place, policy=np.where(segment.is_step, 1 - place, -1).astype(np.int16))
        shard.add(one)
    parts = [shard.draw(request) for shard, request in zip(shards, dealt.requests, strict=True)]
    assert [set(part.own) for part in parts] == [{"first"}, set()]
    assert union.merge(dealt, parts).own == {}


# ---- the pace


@settings(deadline=None, max_examples=80)
@given(
    per_insert=st.sampled_from([0.3, 1.0, 8.0, 100.0]),
    warmup=st.integers(1, 200),
    batch=st.integers(1, 64),
    shards=st.integers(1, 4),
    events=st.lists(
        st.tuples(st.sampled_from(["insert", "look", "deal"]), st.integers(0, 3), st.integers(1, 9)), max_size=60
    ),
)
def test_the_pace_holds_for_the_union_however_late_the_shards_words_come(per_insert, warmup, batch, shards, events):
    pace = Pace.between(per_insert, warmup, batch, 16, 2)
    config, seed = ReplayConfig(shards=shards), np.random.SeedSequence(0)
    inserted, sampled = [0] * shards, [0] * shards

    def words():
        return [stock(float(i), inserted=i, sampled=s) for i, s in zip(inserted, sampled, strict=True)]

    union = Shards(words(), config, pace, seed)
    for kind, shard, count in events:
        if kind == "insert":
            inserted[shard % shards] += 16 * count
        elif kind == "look":
            union.take(words())
        elif (dealt := union.deal(count)) is not None:
            sampled = [before + int(asked) for before, asked in zip(sampled, dealt.counts.sum(axis=0), strict=True)]
        assert sum(sampled) <= max(0.0, sum(inserted) * per_insert + 1e-6 * batch)
        assert not sum(sampled) or sum(inserted) >= warmup
    union.take(words())
    while (dealt := union.deal(8)) is not None:
        sampled = [before + int(asked) for before, asked in zip(sampled, dealt.counts.sum(axis=0), strict=True)]
        union.take(words())
    if sum(inserted) >= warmup:
        assert -1e-6 * batch <= sum(inserted) * per_insert - sum(sampled) < batch
    assert union.receipt.insert_limit == pace.insert_limit(sum(sampled))


# ---- receipts


def test_receipts_add_up_by_hand():
    pace = Pace(2.0, 10, 4, 30)
    first = counted(40, 8, size=32, dropped={"duplicate": 4}, prioritised=3, late_priorities=1)
    second = counted(20, 12, size=20, dropped={"duplicate": 1, "fenced": 2}, prioritised=5)
    total = Tally([first, second], pace).total
    assert (total.inserted, total.size, total.sampled, total.prioritised, total.late_priorities) == (60, 52, 20, 8, 1)
    assert total.dropped == {"duplicate": 5, "fenced": 2}
    assert total.insert_limit == 30 + 10  # 20 / 2 = 10
    assert total.shards == (first, second)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["inserted", "sampled", "refused"])), max_size=20), st.randoms()
)
def test_in_whichever_order_receipts_come_the_sum_is_of_the_newest(steps, random):
    """Some by one way and some by the other, as in the loop, where each way may be late."""
    now, receipts = [counted(), counted(), counted()], []
    for shard, what in steps:
        one = now[shard]
        refused = one.dropped.get("fenced", 0) + (what == "refused")
        inserted, sampled = one.inserted + (what == "inserted"), one.sampled + (what == "sampled")
        now[shard] = counted(inserted, sampled, dropped={"fenced": refused})
        receipts.append((shard, now[shard], Tally(now, free()).total))
    random.shuffle(receipts)
    tally, before = Tally([counted()] * 3, free()), (0, 0)
    for shard, receipt, total in receipts:
        found = tally.take_all(total) if random.random() < 0.5 else tally.take(shard, receipt)
        assert found.inserted >= before[0] and found.sampled >= before[1], "never back"
        before = found.inserted, found.sampled
    for shard, receipt, _ in receipts:
        tally.take(shard, receipt)
    assert tally.total.shards == tuple(now)


# ---- segments and states


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_each_actors_segments_go_round_all_shards_and_are_numbered_there_without_a_gap(shards):
    ledgers, segment = [Ledger(shards) for _ in range(shards)], Player(0, 1, 2, 0.9).play()[0]
    sent = [replace(segment, actor=actor, sequence=sequence) for sequence in range(12) for actor in range(2)]
    for one in sent:
        assert ledgers[shard_of(one.actor, one.sequence, shards)].accept(one)
    for one in sent:  # a copy comes to the shard of the first one
        assert not ledgers[shard_of(one.actor, one.sequence, shards)].accept(one)
    for ledger in ledgers:
        assert ledger.state()["seen"] == {"0": [0, 12 // shards, []], "1": [0, 12 // shards, []]}
        assert ledger.dropped["duplicate"] == 24 // shards * segment.steps


@pytest.mark.parametrize(("prioritized", "segments"), [(False, 0), (False, 7), (True, 1), (True, 9)])
def test_restored_several_shards_draw_as_if_nothing_had_happened(prioritized, segments):
    def fresh(seed):
        config = {"prioritized": prioritized, "student_batches": "uniform", "own": OWN, "shards": 3}
        return replay_of(180, 3, Pace(4.0, 5, 8, 1000), seed, stack=2, **config)

    def learned(batch):
        return None if batch is None else Priorities(batch.row.ravel(), random.random(batch.row.size).astype(np.float32))

    random, player, first, told = np.random.default_rng(0), Player(0, 2, 5, 0.9, stack=2), fresh(0), None
    for _ in range(segments):
        first.add(player.play()[0])
        told = learned(first.sample(2, told)[0])
    state = copy.deepcopy(first.state())
    kept, second = copy.deepcopy(state), fresh(0)
    second.add(Player(5, 1, 9, 0.9, stack=2).play()[0])
    second.restore(state)
    assert_goes_on_alike(first, second, player, learned, told)
    np.testing.assert_equal(state, kept)


def test_the_state_of_one_shard_is_that_of_the_replay():
    one = {"rows": {}, "written": 3}
    assert in_one([one]) is one
    assert of_each(one) == [one]
    states = [{"written": number} for number in range(11)]
    assert of_each(in_one(states)) == states


def test_shards_draw_from_streams_of_their_own():
    config, segment = ReplayConfig(capacity=100, shards=2), Player(0, 2, 5, 0.9).play()[0]
    shards = [Shard(place, SPEC, config, 1, 0.0, free(16), np.random.SeedSequence(0)) for place in range(2)]
    (request,) = dealing(stock(1.0), pace=free(16)).deal(4).requests
    drawn = []
    for shard in shards:
        shard.add(segment)
        drawn.append(shard.draw(request).row.tolist())
    assert drawn[0] != drawn[1]
