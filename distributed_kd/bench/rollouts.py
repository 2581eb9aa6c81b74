"""Acting into the replay beside the bare vector environment: in this process, and on Ray with the learner off."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import gymnasium as gym
import numpy as np

from distributed_kd import presets
from distributed_kd.bench.acting import FREE, acting_run, at_once, balanced, bare_cartpole, bare_lanes, call_share, parts_of
from distributed_kd.bench.contenders import SETTLE, Contender, contending
from distributed_kd.bench.figures import Figure, Options, Table
from distributed_kd.bench.rounds import Turn, compared, interleaved, rate
from distributed_kd.records import Segment, Weights
from distributed_kd.run_file import merge

LANES = (16, 64, 256)
"""of each rollout; the first is the preset's"""
ACTORS = 2
STEPS_GOAL, BARE_GOAL, CALL_GOAL = 300_000, 0.6, 0.02
"""environment steps a second; share of the bare vector environment; share of a segment's time"""
OTHERS = {"minatar-breakout": "minatar", "atari-breakout": "ale_py"}
"""Presets that are measured too, with the package that each needs"""
SMALL_RING = {"replay": {"capacity": 20_000, "warmup": 1_000}}


def measure(options: Options) -> list[Table]:
    """The tables of this benchmark; what needs a package that is missing is left out, and named."""
    return [_in_process(options), *_on_ray(options)]


def _cartpole(lanes: int) -> dict[str, object]:
    return merge(merge(presets.read("cartpole"), FREE), {"rollouts": {"actors": ACTORS, "envs_per_actor": lanes}})


# ---- in this process


def _in_process(options: Options) -> Table:
    figures = []
    for lanes in LANES:
        rounds = interleaved({"bare": _bare(lanes, options), "collect": _collect(lanes, options)}, options)
        figures.append(compared(f"CartPole, {lanes} lanes", "steps/s", rounds, "collect", "bare", at_least=BARE_GOAL))
    figures.append(Figure("CartPole, a step in a segment", _bytes_of_a_step(_segment(_cartpole(LANES[0]))), "bytes"))
    how = (
        "Rollout.collect in this process, one thread: the preset's teacher and students, half of the lanes each, epsilon as "
        "at its end, with weights that hold the pole; new weights with every segment of 16 steps. Bare: Gymnasium's vector "
        "CartPole with actions drawn before, the same lanes. The bytes are those of a segment's arrays, by its steps."
    )
    return Table("Acting in one process", how, figures)


def _bare(lanes: int, options: Options) -> Turn:
    envs = gym.make_vec("CartPole-v1", lanes, vectorization_mode="vector_entry_point")
    envs.reset(seed=0)
    actions = np.random.default_rng(0).integers(0, 2, (64, lanes))

    def stepped() -> int:
        for action in actions:
            envs.step(action)
        return actions.size

    return lambda: rate(stepped, options.seconds)


def _collect(lanes: int, options: Options) -> Turn:
    import torch

    collect = _collecting(_cartpole(lanes))

    def turn() -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as in a rollout's actor
        try:
            return rate(lambda: collect().steps, options.seconds)
        finally:
            torch.set_num_threads(threads)

    return turn


def _collecting(tables: Mapping[str, object]) -> Callable[[], Segment]:
    """What collects one segment after the other, each with weights of a version of its own."""
    from distributed_kd.networks import to_flat
    from distributed_kd.rollouts.rollout import Rollout

    parts = parts_of(tables)
    rollout = Rollout(**parts.rollout(0, 0, repeatable=False))
    flat = {name: to_flat(network) for name, network in balanced(parts.networks()).items()}
    return lambda: rollout.collect(Weights(rollout.sequence, flat), progress=1.0)[0]


def _segment(tables: Mapping[str, object]) -> Segment:
    return _collecting(tables)()


def _bytes_of_a_step(segment: Segment) -> float:
    return sum(column.nbytes for column in vars(segment).values() if isinstance(column, np.ndarray)) / segment.steps


# ---- on Ray


def _on_ray(options: Options) -> list[Table]:
    figures, calls = [], []
    for lanes in LANES:
        rounds, collected = _rounds(_cartpole(lanes), True, options)
        what, two = f"CartPole, {ACTORS} x {lanes} lanes", f"bare in {ACTORS} processes"
        figures.append(compared(what, "steps/s", rounds, "ours", at_least=STEPS_GOAL))
        figures.append(compared(what, "steps/s", rounds | {two: rounds["bare"]}, "ours", two, at_least=BARE_GOAL))
        gap, share = call_share(collected)
        calls.append(Figure(f"segments of {16 * lanes} steps: between two collects", 1e6 * gap, "us"))
        calls.append(Figure(f"segments of {16 * lanes} steps: share of the time", 100 * share, "%", at_most=100 * CALL_GOAL))
    missing = []
    for preset, package in OTHERS.items():
        if find_spec(package) is None:
            missing.append(preset)
            continue
        tables = merge(merge(presets.read(preset), FREE), merge(SMALL_RING, {"rollouts": {"actors": ACTORS}}))
        rounds, _ = _rounds(tables, False, options)
        two = f"its lanes alone in {ACTORS} processes"
        figures.append(compared(f"{preset}, {ACTORS} actors", "steps/s", rounds | {two: rounds["bare"]}, "ours", two))
    how = (
        f"The run's own loop on Ray, pace free, the learner never asked: {ACTORS} rollout actors into the replay, beside "
        f"bare environments in {ACTORS} processes, in turns of at least 2 s. Policies as in the table before; of the other "
        "presets the networks as they begin."
    )
    how += f" Left out, since their packages are missing: {', '.join(missing)}." if missing else ""
    about_calls = (
        "Of the runs in the table before: from the end of a collect in its actor to the beginning of the next, which waits "
        "there already. Medians, with replay, loop and actors all on this machine's cores."
    )
    return [
        Table("Acting into the replay", how, figures),
        Table("What a Ray call costs a rollout", about_calls, calls),
    ]


def _rounds(tables: Mapping[str, object], is_cartpole: bool, options: Options):
    """The rounds of a run that only acts and of bare lanes, and what `acting_run` tells of its calls."""
    with tempfile.TemporaryDirectory() as place:
        out = str(Path(place) / "calls.json")
        with ExitStack() as stack:
            ours: Contender = stack.enter_context(
                contending(acting_run, tables, options.address, is_cartpole, 0, out, settle=SETTLE)
            )
            lanes = tables["rollouts"]["envs_per_actor"] if is_cartpole else None
            train, argument = (bare_cartpole, lanes) if is_cartpole else (bare_lanes, tables)
            bare = [stack.enter_context(contending(train, argument)) for _ in range(ACTORS)]
            turns = {
                "ours": lambda: ours.turn(options.seconds).env_steps,
                "bare": lambda: at_once(bare, options.seconds),
            }
            rounds = interleaved(turns, options)
        return rounds, json.loads(Path(out).read_text())
