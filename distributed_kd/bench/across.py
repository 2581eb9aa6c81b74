"""The replay across processes: batches drawn while segments are stored, through Ray, the shards' actors and the supply."""

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from distributed_kd.bench.figures import Figure, Options, Table
from distributed_kd.bench.rounds import compared, interleaved
from distributed_kd.bench.rows import CARTPOLE, numbered, segment
from distributed_kd.data_config import ReplayConfig
from distributed_kd.records import EpisodeStats, Priorities, Segment
from distributed_kd.replay.pace import Pace

ROWS, BATCH = 1_000_000, 512
LANES, STEPS = 64, 64
WANTED = 0.003
"""Seconds from batch to batch that a learner wants here while steps are stored"""
BATCHES_GOAL, INSERT_GOAL = 300.0, 500_000.0
SHARDS = (1, 2)


class Source:
    """In place of a rollout: gives the same steps as ever new segments."""

    def __init__(self, actor: int):
        self._actor, self._made, self._sequence = actor, segment(CARTPOLE, STEPS, LANES), -1
        nothing = np.empty(0)
        self._episodes = {"policy": nothing, "episode_return": nothing, "episode_length": nothing}

    def collect(self) -> tuple[Segment, EpisodeStats]:
        self._sequence += 1
        stats = EpisodeStats(self._actor, 0, self._sequence, LANES * STEPS, 0, 0.0, **self._episodes)
        return numbered(self._made, self._sequence, self._actor), stats


class Drain:
    """In place of the learner: takes batches out of the real supply, and makes priorities up."""

    def __init__(self, replays: list, shards):
        from distributed_kd.actors.supply import Supply

        self._supply, self._random = Supply(replays, shards, 2**62), np.random.default_rng(0)
        self._rows: list[np.ndarray] = []

    def learn(self, seconds: float, every: float) -> tuple[float, float]:
        """Take batches for so long, one `every` so many seconds; gives batches a second and the share of time waited."""
        self._supply.account()
        batches, began = 0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds:
            self._supply.ask_ahead(self._priorities)
            batch = self._supply.next()
            self._rows.append(batch.row)
            batches += 1
            time.sleep(max(0.0, batches * every - (time.perf_counter() - began)))
        return batches / took, self._supply.account()["wait_seconds"] / took

    def _priorities(self) -> Priorities | None:
        if not self._rows:
            return None
        rows, self._rows = np.concatenate(self._rows), []
        return Priorities(rows, self._random.random(len(rows)).astype(np.float32))


class Union:
    """A replay of so many shards, its source and its drain, on the Ray that was joined."""

    def __init__(self, shards: int, seconds: float):
        import ray

        from distributed_kd.actors.replay_actor import ReplayActor
        from distributed_kd.replay.shards import Shards

        config = ReplayConfig(ROWS, prioritized=True, batch_size=BATCH, shards=shards)
        given = {"config": config, "pace": Pace(0.0, 1, BATCH, 0), "seed": np.random.SeedSequence(0)}
        small = {"num_cpus": 0.1}
        self._replays = [
            ReplayActor.options(**small).remote(None, place=place, spec=CARTPOLE, n_step=1, reward_clip=0.0, **given)
            for place in range(shards)
        ]
        self._source = ray.remote(Source).options(**small).remote(0)
        self._seconds, self._inserted, self._waited = seconds, 0.0, 0.0
        self.insert()  # so that there is something to draw
        stocks = ray.get([replay.stock.remote() for replay in self._replays])
        self._drain = ray.remote(Drain).options(**small).remote(self._replays, Shards(stocks, **given))

    def insert(self, seconds: float | None = None) -> float:
        """Steps a second stored, with nothing else to do. As the loop of a run does it: at most one call a shard."""
        import ray

        from distributed_kd.replay.segments import shard_of

        seconds = self._seconds if seconds is None else seconds
        collect = self._source.collect.options(num_returns=2)
        waiting: list[deque] = [deque() for _ in self._replays]
        storing, under_way, steps = [0] * len(waiting), {}, 0
        began = time.perf_counter()
        while (took := time.perf_counter() - began) < seconds or under_way:
            unstored = sum(len(one) for one in waiting) + sum(storing)
            asked = sum(value is not None and value[0] is None for value in under_way.values())
            while took < seconds and asked < 2 and unstored < 2:
                made, stats = collect.remote()
                under_way[stats] = None, made
                asked += 1
            (ready,), _ = ray.wait(list(under_way), num_returns=1, fetch_local=False)
            shard, made = under_way.pop(ready)
            told = ray.get(ready)
            if shard is None:
                shard = shard_of(told.actor, told.sequence, len(waiting))
                waiting[shard].append(made)
            else:
                steps += storing[shard] * LANES * STEPS
                storing[shard] = 0
            if waiting[shard] and not storing[shard]:
                storing[shard] = len(waiting[shard])
                under_way[self._replays[shard].add.remote(*waiting[shard])] = shard, None
                waiting[shard].clear()
        return steps / took

    def draw(self) -> float:
        """Batches a second, with nothing else to do."""
        import ray

        return ray.get(self._drain.learn.remote(self._seconds, 0.0))[0]

    def both(self) -> float:
        """Batches a second of a learner that wants them at a pace, while steps are stored."""
        import ray

        drawing = self._drain.learn.remote(self._seconds, WANTED)
        self._inserted = self.insert()
        batches, self._waited = ray.get(drawing)
        return batches

    def turns(self, name: str) -> dict[str, Callable[[], float]]:
        """What is measured of it; the last two are of the turn that `both` took."""
        return {
            f"{name} insert": self.insert,
            f"{name} draw": self.draw,
            f"{name} both": self.both,
            f"{name} inserted": lambda: self._inserted,
            f"{name} waited": lambda: self._waited,
        }


def across(options: Options) -> Table:
    """One shard, and two."""
    from distributed_kd.training.connection import joined

    names = {shards: "1 replay actor" if shards == 1 else f"{shards} shards" for shards in SHARDS}
    turns: dict[str, Callable[[], float]] = {}
    with joined(options.address):
        for shards, name in names.items():
            turns |= Union(shards, options.seconds).turns(name)
        rounds = interleaved(turns, options)
    figures: list[Figure] = []
    for shards, name in names.items():
        batches, inserts = ({"at_least": BATCHES_GOAL}, {"at_least": INSERT_GOAL}) if shards == 1 else ({}, {})
        figures += [
            compared(f"{name}: batches while steps are stored", "batches/s", rounds, f"{name} both", **batches),
            compared(f"{name}: steps stored meanwhile", "steps/s", rounds, f"{name} inserted", **inserts),
            compared(f"{name}: share of the time that the learner waits", "", rounds, f"{name} waited"),
            compared(f"{name}: batches, nothing stored", "batches/s", rounds, f"{name} draw"),
            compared(f"{name}: steps stored, no batches", "steps/s", rounds, f"{name} insert"),
        ]
    how = (
        f"{ROWS:,} rows as of CartPole, prioritised batches of {BATCH}, their priorities sent back. One source gives "
        f"ready-made segments of {LANES * STEPS:,} steps, this process passes their references on as the loop of a run "
        "does, and in place of the learner a process takes batches out of its supply: while steps are stored one every "
        f"{1000 * WANTED:g} ms, so at most {1 / WANTED:.0f} a second, and it sleeps in between as if a GPU worked."
    )
    return Table("The replay across processes", how, figures)
