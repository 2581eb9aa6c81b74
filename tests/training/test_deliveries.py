"""training.deliveries, with shards that only note what they are asked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from distributed_kd.records import EpisodeStats, Receipt
from distributed_kd.training.deliveries import Deliveries


class Shard:
    """Notes calls: ("fence", actor, incarnation) and ("add", segments...)."""

    def __init__(self):
        self.asked = []
        self.fence, self.add = (SimpleNamespace(remote=self._noting(what)) for what in ("fence", "add"))

    def _noting(self, what):
        return lambda *given: self.asked.append((what, *given)) or len(self.asked)


class World:
    """Deliveries to two shards, and what they told: receipts, lost steps, and whether all that was fenced was refused."""

    def __init__(self):
        self.shards, self.calls, self.stored, self.lost, self.fenced = (Shard(), Shard()), [], [], [], []
        expected = SimpleNamespace(expect=lambda _, call: self.calls.append(call))
        self.deliveries = Deliveries(
            expected, 2, lambda *told: self.stored.append(told), self.lost.append, self.fenced.append
        )
        self.deliveries.address(self.shards, [receipt(), receipt()])

    def answer_fences(self):
        calls = self.calls[:]
        self.calls.clear()
        for call in calls:
            call.done(None)


def receipt(refused=0):
    return Receipt(0, 0, 0, 0, 0, {"fenced": refused} if refused else {})


def stats(sequence, incarnation=0, actor=0):
    none = np.empty(0)
    return EpisodeStats(actor, incarnation, sequence, 8, 0, 0.0, none, none, none)


def test_every_shard_is_told_of_a_fence_and_new_ones_of_all():
    world = World()
    world.deliveries.fence(0, 3)
    assert [shard.asked for shard in world.shards] == [[("fence", 0, 3)]] * 2
    world.deliveries.leave()
    world.deliveries.fence(1, 4)  # while there are none
    others = Shard(), Shard()
    world.deliveries.address(others, [receipt(), receipt()])
    assert [shard.asked for shard in others] == [[("fence", 0, 3), ("fence", 1, 4)]] * 2


@pytest.mark.parametrize(("incarnation", "refused", "holds"), [(2, 8, True), (2, 0, False), (3, 0, True), (3, 8, False)])
def test_what_is_of_an_earlier_incarnation_must_be_refused_and_nothing_else(incarnation, refused, holds):
    world = World()
    world.deliveries.fence(0, 3)
    world.answer_fences()
    world.deliveries.take("segment", stats(0, incarnation))
    (call,) = world.calls
    call.done(receipt(refused))
    assert world.fenced == [holds]


def test_a_busy_shard_is_handed_all_that_came_meanwhile_at_once():
    world = World()
    for sequence in (0, 2, 4, 1):
        world.deliveries.take(f"s{sequence}", stats(sequence))
    assert [shard.asked for shard in world.shards] == [[("add", "s0")], [("add", "s1")]]
    assert (world.deliveries.count, world.deliveries.steps) == (4, 32)
    world.calls[0].done(receipt())
    assert world.shards[0].asked[1:] == [("add", "s2", "s4")]
    assert world.deliveries.count == 3


def test_what_was_not_known_to_be_stored_waits_for_other_shards_in_its_order():
    world = World()
    for sequence in (0, 2):
        world.deliveries.take(f"s{sequence}", stats(sequence))
    world.deliveries.leave()
    others = Shard(), Shard()
    world.deliveries.address(others, [receipt(), receipt()])
    assert others[0].asked == [("add", "s0", "s2")]


def test_of_segments_that_are_gone_those_that_are_there_are_stored():
    world = World()
    for sequence in (0, 2, 4):
        world.deliveries.take(f"s{sequence}", stats(sequence))
    world.calls[0].done(receipt())
    world.calls[1].given_lost()  # s2 and s4 went together
    assert world.shards[0].asked[2:] == [("add", "s2"), ("add", "s4")]
    world.calls[2].given_lost()
    assert world.lost == [8]
    world.calls[3].done(receipt())
    assert world.deliveries.count == 0


def test_a_shard_is_never_told_of_a_fence_and_handed_a_segment_at_once():
    """Where a call was lost on the way and is repeated, it comes behind later ones."""
    world = World()
    world.deliveries.take("s0", stats(0))
    world.deliveries.fence(0, 1)
    assert [shard.asked for shard in world.shards] == [[("add", "s0")], [("fence", 0, 1)]]
    world.deliveries.take("s1", stats(1, incarnation=1))
    assert world.shards[1].asked == [("fence", 0, 1)], "the fence was not answered"
    added, fenced = world.calls
    fenced.done(None)
    assert world.shards[1].asked[1:] == [("add", "s1")]
    added.done(receipt())
    assert world.shards[0].asked[1:] == [("fence", 0, 1)]
    assert world.fenced == [True], "it was sent before there was a fence"
