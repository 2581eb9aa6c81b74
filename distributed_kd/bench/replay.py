"""What the replay does in a second, in this process and across processes, and the bytes that it takes for a step."""

import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from distributed_kd import presets
from distributed_kd.bench.across import across
from distributed_kd.bench.figures import Figure, Options, Table
from distributed_kd.bench.rounds import compared, interleaved
from distributed_kd.bench.rows import ATARI, CARTPOLE, numbered, segment
from distributed_kd.data_config import ReplayConfig
from distributed_kd.records import EnvSpec, Priorities
from distributed_kd.replay.pace import Pace
from distributed_kd.replay.replay import Replay

ROWS = 1_000_000
BATCH, SMALL, AT_ONCE = 256, 64, 8
"""Steps of a batch as peers are asked for, steps and batches as the learner asks for where batches are small"""
LANES, STEPS = 64, 16
PEER_GOAL, BYTES_GOAL = 1.0, 1.15
CPPRB = "cpprb"


def measure(options: Options) -> list[Table]:
    """The tables of this benchmark."""
    return [in_process(options), bytes_held(), across(options)]


class Cycle:
    """Draws a batch and gives its steps new priorities, again and again, as learning does; each of the two is timed."""

    def __init__(self, sample: Callable[[], np.ndarray], update: Callable[[np.ndarray, np.ndarray], object], seconds: float):
        """`sample` gives the rows drawn, `update` takes rows and priorities."""
        self._sample, self._update, self._seconds = sample, update, seconds
        self._random = np.random.default_rng(0)
        self._updating = 0.0

    def sampling(self) -> float:
        """Median seconds of a sample, in a turn of both."""
        times, end = [], time.perf_counter() + self._seconds
        while (began := time.perf_counter()) < end:
            rows = self._sample()
            sampled = time.perf_counter()
            new = self._random.random(len(rows))  # as priorities are in float32 where they come from a network
            asked = time.perf_counter()
            self._update(rows, new)
            times.append((sampled - began, time.perf_counter() - asked))
        sampling, self._updating = np.median(times, axis=0).tolist()
        return sampling

    def updating(self) -> float:
        """Median seconds of an update, in the turn that `sampling` took."""
        return self._updating


def _median(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of one call of `work`, over a turn."""
    times, end = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def filled(prioritized: bool, batch_size: int, rows: int = ROWS, spec: EnvSpec = CARTPOLE) -> Replay:
    """A full replay without a pace, its priorities all different."""
    config = ReplayConfig(capacity=rows, prioritized=prioritized, batch_size=batch_size)
    replay = Replay(spec, config, 1, 0.0, Pace(0.0, 1, batch_size, 0), np.random.SeedSequence(0))
    made, sequence = segment(spec, STEPS, LANES), 0
    while not replay.receipt().evicted:
        replay.add(numbered(made, sequence))
        sequence += 1
    if prioritized:
        random = np.random.default_rng(1)
        for part in np.array_split(np.arange(rows), 1 + rows // 4_096):
            replay.prioritise(Priorities(part, random.random(len(part)).astype(np.float32)))
    return replay


def _ours(replay: Replay, batches: int, seconds: float) -> Cycle:
    def update(rows: np.ndarray, new: np.ndarray) -> None:
        replay.prioritise(Priorities(rows, new.astype(np.float32)))

    return Cycle(lambda: replay.sample(batches)[0].row.reshape(-1), update, seconds)


def _cpprb(rows: int, seconds: float) -> tuple[Cycle, Callable[[], float]]:
    """cpprb's buffer of as many rows of the same columns: its cycle, and the steps a second that it inserts."""
    import cpprb

    columns = {"obs": {"shape": 4}, "act": {}, "rew": {}, "next_obs": {"shape": 4}, "done": {}}
    buffer, random = cpprb.PrioritizedReplayBuffer(rows, columns, alpha=0.6), np.random.default_rng(0)

    def chunk(size: int) -> dict[str, np.ndarray]:
        flat = {name: random.random(size) for name in ("act", "rew", "done")}
        return {**flat, "obs": random.random((size, 4)), "next_obs": random.random((size, 4))}

    for part in np.array_split(np.arange(rows), 1 + rows // 10_000):
        buffer.add(**chunk(len(part)))
    for part in np.array_split(np.arange(rows), 1 + rows // 4_096):
        buffer.update_priorities(part, random.random(len(part)))
    steps = chunk(LANES * STEPS)
    cycle = Cycle(lambda: buffer.sample(BATCH, beta=0.4)["indexes"], buffer.update_priorities, seconds)
    return cycle, lambda: LANES * STEPS / _median(lambda: buffer.add(**steps), seconds)


def _inserting(replay: Replay, seconds: float) -> Callable[[], float]:
    made, sequence = segment(CARTPOLE, STEPS, LANES), -1

    def add() -> None:
        nonlocal sequence
        sequence += 1
        replay.add(numbered(made, sequence, actor=1))

    return lambda: LANES * STEPS / _median(add, seconds)


def in_process(options: Options, rows: int = ROWS) -> Table:
    """The replay of one shard without Ray, beside cpprb where it is installed."""
    seconds = options.seconds / 4
    by_priority, uniform = filled(True, BATCH, rows), filled(False, BATCH, rows)
    small, small_uniform = filled(True, SMALL, rows), filled(False, SMALL, rows)
    (shard,) = by_priority.shards
    one, together, learners = (_ours(r, k, seconds) for r, k in ((by_priority, 1), (by_priority, AT_ONCE), (small, AT_ONCE)))
    turns = {
        "sample": one.sampling,
        "update": one.updating,
        "draw": lambda: _median(lambda: shard.draws.draw(np.array([BATCH])), seconds),
        "one of 8 samples": lambda: together.sampling() / AT_ONCE,
        "one of 8 updates": lambda: together.updating() / AT_ONCE,
        "learner's sample": lambda: learners.sampling() / AT_ONCE,
        "learner's update": lambda: learners.updating() / AT_ONCE,
        "uniform": lambda: _median(lambda: uniform.sample(1), seconds),
        "learner's uniform": lambda: _median(lambda: small_uniform.sample(AT_ONCE), seconds) / AT_ONCE,
        "insert": _inserting(by_priority, seconds),
    }
    peer = find_spec(CPPRB) is not None
    if peer:
        theirs, add = _cpprb(rows, seconds)
        turns |= {
            "cpprb sample": theirs.sampling,
            "cpprb update": theirs.updating,
            "cpprb insert": add,
        }
    rounds = interleaved(turns, options)
    beside = {name: f"cpprb {name}" if peer else "" for name in ("sample", "update", "insert")}
    goal = {"at_most": PEER_GOAL} if peer else {}
    micro, several = 1e6, f"{AT_ONCE} in one call, each"
    figures = [
        compared(f"prioritised sample of {BATCH}", "µs", rounds, "sample", beside["sample"], micro, **goal),
        compared(f"update of {BATCH} priorities", "µs", rounds, "update", beside["update"], micro, **goal),
        compared(f"the draw alone, of {BATCH}", "µs", rounds, "draw", "sample", micro),
        compared(f"sample of {BATCH}, {several}", "µs", rounds, "one of 8 samples", "sample", micro),
        compared(f"update of {BATCH}, {several}", "µs", rounds, "one of 8 updates", "update", micro),
        compared(f"sample of {SMALL}, {several}", "µs", rounds, "learner's sample", "", micro),
        compared(f"update of {SMALL}, {several}", "µs", rounds, "learner's update", "", micro),
        compared(f"uniform sample of {BATCH}", "µs", rounds, "uniform", "sample", micro),
        compared(f"uniform sample of {SMALL}, {several}", "µs", rounds, "learner's uniform", "", micro),
        compared(f"inserting segments of {LANES * STEPS:,} steps", "steps/s", rounds, "insert", beside["insert"]),
    ]
    how = (
        f"{rows:,} rows as of CartPole, full, in this process. Samples and updates take turns, each batch's own steps given "
        "new priorities as in learning; a value is the median of a turn's calls. A sample draws and gathers whole "
        "transitions, n-step returns and next observations out of single rows; cpprb's gathers obs, act, rew, next_obs and "
        "done, and computes weights. "
    )
    how += "cpprb is given whole columns to insert." if peer else "cpprb (extra peers) is not installed."
    return Table("The replay in this process", how, figures)


def bytes_held(lanes: int | None = None) -> Table:
    """Atari rows as the preset atari-pong lays them out: what a transition takes in a segment and in the ring."""
    rollouts = presets.read("atari-pong")["rollouts"]
    lanes, steps = lanes or rollouts["envs_per_actor"], rollouts["steps_per_segment"]
    made = segment(ATARI, steps, lanes, ending=0.001)
    sent = sum(value.nbytes for value in vars(made).values() if isinstance(value, np.ndarray))
    replay, sequence = (
        Replay(ATARI, ReplayConfig(4 * len(made.is_step), True), 3, 1.0, Pace(0.0, 1, 32, 0), np.random.SeedSequence(0)),
        0,
    )
    while not replay.receipt().evicted:
        replay.add(numbered(made, sequence))
        sequence += 1
    held, frame = sum(shard.nbytes for shard in replay.shards), int(np.prod(ATARI.observation_shape))
    figures = [
        Figure(f"{what} per transition", size / count, "bytes", "one frame of 84 x 84", frame, size / count / frame,
               at_most=BYTES_GOAL)
        for what, size, count in (("sent", sent, made.steps), ("held", held, replay.receipt().size))
    ]  # fmt: skip
    how = (
        f"Segments of {lanes} lanes and {steps} steps, 4 frames stacked, as the preset atari-pong has them: all arrays of a "
        "segment, and all arrays of a full prioritised replay with its tree, by the steps that can be drawn."
    )
    return Table("Bytes of an Atari transition", how, figures)
