"""The supply of batches across processes, with the replay's real actors: the pace, the counts, and what comes back."""

import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import ray

from distributed_kd.actors.replay_actor import ReplayActor
from distributed_kd.actors.supply import BATCHES_PER_REQUEST, REQUESTS_IN_FLIGHT, Supply
from distributed_kd.data_config import ReplayConfig
from distributed_kd.records import Priorities
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.segments import shard_of
from distributed_kd.replay.shards import Shards, of_each

sys.path.insert(0, str(Path(__file__).parents[1] / "replay"))
from naive_replay import SPEC, Player
from replay_samples import replay_of

pytestmark = pytest.mark.timeout(120)
BATCH = 4


@pytest.fixture(scope="module", autouse=True)
def on_ray():
    os.environ.setdefault("RAY_AUTH_TOKEN", "0" * 64)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


class Union:
    """So many shards and a supply from them, filled by hand."""

    def __init__(self, shards, pace, most=2**62, states=None):
        self.config = ReplayConfig(capacity=120 * shards, prioritized=True, batch_size=BATCH, shards=shards)
        given = {"config": self.config, "pace": pace, "seed": np.random.SeedSequence(0)}
        self.replays = [
            ReplayActor.options(num_cpus=0).remote(state, place=place, spec=SPEC, n_step=2, reward_clip=0.0, **given)
            for place, state in enumerate(states or [None] * shards)
        ]
        stocks = ray.get([replay.stock.remote() for replay in self.replays])
        self.supply = Supply(self.replays, Shards(stocks, **given), most)
        self.asked = 0

    def add(self, *segments):
        """Several at once, each to its shard."""
        for shard, replay in enumerate(self.replays):
            ray.get(replay.add.remote(*(s for s in segments if shard_of(0, s.sequence, len(self.replays)) == shard)))

    def priorities(self):
        self.asked += 1

    def all(self):
        """Every batch that is to be had now."""
        batches = []
        while True:
            self.supply.ask_ahead(self.priorities)
            if self.supply.is_drained:
                self.supply.look()
                self.supply.ask_ahead(self.priorities)
            if (batch := self.supply.next()) is None:
                return batches
            batches.append(batch)


def segments(count):
    player = Player(0, lanes=2, steps=5, gamma=0.9)  # ten steps each
    return [player.play()[0] for _ in range(count)]


@pytest.mark.parametrize("shards", [1, 2])
def test_it_gives_what_the_pace_allows_and_no_more_and_goes_on_when_more_is_there(shards):
    union, made = Union(shards, Pace(2.0, 15, BATCH, 100)), segments(6)
    union.add(made[0])
    assert union.all() == [] and union.supply.is_drained, "ten steps of the fifteen that warm up"
    union.add(*made[1:5])
    batches = union.all()
    assert len(batches) == 25  # 50 steps inserted allow 100 to be drawn
    receipt = union.supply.receipt
    assert (receipt.inserted, receipt.sampled, receipt.insert_limit) == (50, 100, 150)
    assert union.asked == math.ceil(25 / BATCHES_PER_REQUEST), "priorities are asked for once a request"
    assert union.all() == []
    union.add(made[5])
    assert len(union.all()) == 5
    told = union.supply.account()
    assert told["waits"] >= 5 and told["wait_seconds"] > 0 and 0 < told["sample_age_rows"] < 80
    told = union.supply.account()
    assert (told["wait_seconds"], told["waits"]) == (0.0, 0) and math.isnan(told["sample_age_rows"])


def test_two_requests_are_under_way_while_the_first_one_is_used():
    union = Union(2, Pace(0.0, 1, BATCH, 0))
    union.add(*segments(4))
    union.supply.look()
    union.supply.ask_ahead(union.priorities)
    assert union.asked == REQUESTS_IN_FLIGHT
    for _ in range(BATCHES_PER_REQUEST):
        union.supply.next()
    assert not union.supply.is_drained
    union.supply.ask_ahead(union.priorities)
    assert union.asked == REQUESTS_IN_FLIGHT + 1


def test_never_more_batches_than_the_run_may_use():
    union = Union(2, Pace(0.0, 1, BATCH, 0), most=11)
    union.add(*segments(4))
    assert len(union.all()) == 11
    assert union.supply.receipt.sampled == 44


def test_one_shard_gives_to_the_bit_what_the_replay_in_one_process_gives():
    pace, made = Pace(2.0, 15, BATCH, 100), segments(5)
    union, replay = Union(1, pace), replay_of(120, 2, pace, prioritized=True, batch_size=BATCH)
    union.add(*made)
    for segment in made:
        replay.add(segment)
    ours = union.all()
    theirs = [one for _ in range(4) for one in replay.sample(BATCHES_PER_REQUEST)[0].split()]
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_equal(vars(one), vars(other))


def test_priorities_find_their_way_back_and_late_ones_are_counted():
    union, made = Union(2, Pace(2.0, 1, BATCH, 100)), segments(40)
    union.add(*made[:4])
    rows = np.unique(np.concatenate([batch.row for batch in union.all()]))
    assert {0, 1} == set((rows % 2).tolist())
    greatest = rows[len(rows) // 2]
    union.supply.give_back(Priorities(rows, np.where(rows == greatest, 1e6, 1e-6).astype(np.float32)))
    receipt = union.supply.receipt
    assert (receipt.prioritised, receipt.late_priorities) == (len(rows), 0)
    # New steps begin with the greatest priority of their shard, so that this row and those of its shard's take nearly all.
    union.add(made[4], made[5])
    found = np.concatenate([batch.row for batch in union.all()])
    old = np.isin(found, rows)
    assert old.any() and (found[old] == greatest).all()
    union.add(*made[6:])  # all that were drawn are overwritten
    union.supply.give_back(Priorities(rows, np.ones(len(rows), np.float32)))
    assert union.supply.receipt.late_priorities == len(rows)


def test_actors_go_on_from_the_states_of_a_replay_in_one_process_and_back():
    pace, made = Pace(2.0, 15, BATCH, 100), segments(8)
    replay = replay_of(240, 2, pace, prioritized=True, batch_size=BATCH, shards=2)
    for segment in made[:6]:
        replay.add(segment)
    state = replay.state()
    union = Union(2, pace, states=of_each(state))
    ours, (theirs, _) = union.all(), replay.sample(BATCHES_PER_REQUEST)
    for one, other in zip(ours[:BATCHES_PER_REQUEST], theirs.split(), strict=True):
        np.testing.assert_equal(vars(one), vars(other))
    union.add(made[0])  # a copy of one that the other process took
    assert union.supply.receipt.inserted == 60
    union.supply.look()
    assert union.supply.receipt.dropped == {"duplicate": 10}
