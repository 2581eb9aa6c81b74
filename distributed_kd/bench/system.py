"""Whole runs: the learner beside the bare loop, from the command to the first update, weights into use, where time goes."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from statistics import median

import numpy as np

from distributed_kd import presets
from distributed_kd.bench.contenders import SETTLE, UNBOUNDED, Baton, contending, our_run, parts_of
from distributed_kd.bench.figures import Figure, Options, Table
from distributed_kd.bench.profile import profile
from distributed_kd.bench.rounds import compared, interleaved
from distributed_kd.bench.watched import STAGES, Seen, watch
from distributed_kd.run_file import merge
from distributed_kd.training.plan import cores

LEARNING_GOALS = {"cartpole": 0.85, "minatar-breakout": 0.95}
"""updates a second in the running system over those in the bare loop, by preset"""
START_GOAL, IN_USE_GOAL, PACE_GOAL = 10.0, 20.0, 0.01
"""seconds; milliseconds; share of the samples per insert asked for"""
BATCHES_IN_MEMORY = 64
STARTS = 3
"""cold starts at most: they are slow, and differ little"""
WATCHED = {"evaluation": {"every_seconds": 0.0, "episodes": 2}, "checkpoint": {"every_seconds": 0.0}}
MEGABYTE = {
    "stop": {"env_steps": 100_000},
    "teacher": {"network": {"kind": "mlp", "hidden": [480, 480]}},
    "replay": {"samples_per_insert": 0.0},
}
"""A teacher of 234,242 parameters; with the students of cartpole a publication has 1.03 MB"""


def measure(options: Options) -> list[Table]:
    """The tables of this benchmark; what needs a package that is missing is left out, and named."""
    minatar = [] if find_spec("minatar") is None else ["minatar-breakout"]
    there = ["cartpole", *minatar]
    tables = [_learning(there, options), *_starts(options)]
    for preset in there:
        title = f"Where the time of a {preset} run goes"
        tables.append(profile(title, presets.read(preset), max(2.0, 5.0 * options.seconds)))
    return tables


# ---- the learner in the running system


def bare_updates(baton: Baton, tables: Mapping[str, object]) -> None:
    """The learner of a run alone, on batches in memory that a rollout of the same run drew the steps of."""
    import torch

    from distributed_kd.learning.learner import Learner
    from distributed_kd.replay.replay import Replay
    from distributed_kd.rollouts.rollout import Rollout
    from distributed_kd.training.parts import device_of

    torch.set_num_threads(1)  # as in the run
    parts = parts_of(tables)
    learner = Learner(**parts.learner(device_of(parts.config.learner.device), repeatable=False))
    replay = Replay(**parts.replay())
    rollout, weights = Rollout(**parts.rollout(0, 0, repeatable=False)), learner.weights()
    while replay.receipt().inserted < parts.config.replay.warmup:
        replay.add(rollout.collect(weights, progress=0.0)[0])
    rollout.close()
    batches, _ = replay.sample(BATCHES_IN_MEMORY)
    while baton.beat(0, learner.updates):
        for batch in learner.taken(batches):
            learner.learn(batch, progress=0.5)
        learner.priorities(), learner.losses()  # asked for so that they do not pile up, once in 64 updates


def _learning(there: list[str], options: Options) -> Table:
    figures = []
    for preset in there:
        figures += _beside_the_bare_loop(preset, options)
    missing = "" if "minatar-breakout" in there else " minatar-breakout is left out: it needs the extra minatar."
    how = (
        "Updates of teacher and students: the run on Ray, its loop and all actors alive, beside a loop over "
        f"{BATCHES_IN_MEMORY} batches in memory, in turns of at least 2 s. Free: samples_per_insert = 0, rollouts and "
        f"learner both as fast as they can, with {_actors()} rollout actor(s), one core left to the learner; paced: as the "
        "preset has it. Two bare loops at once tell what the machine itself takes from a learner whose neighbours work too. "
        f"Without evaluations and checkpoints.{missing}"
    )
    return Table("The learner in the running system", how, figures)


def _beside_the_bare_loop(preset: str, options: Options) -> list[Figure]:
    paced = merge(presets.read(preset), UNBOUNDED)
    free = merge(paced, {"replay": {"samples_per_insert": 0.0}, "rollouts": {"actors": _actors()}})
    goal = LEARNING_GOALS[preset]
    with (
        ThreadPoolExecutor(1) as beside,
        contending(bare_updates, free) as bare,
        contending(bare_updates, free) as another,
        contending(our_run, free, "ray", options.address, settle=SETTLE) as freely,
        contending(our_run, paced, "ray", options.address, settle=SETTLE) as at_pace,
    ):

        def with_company() -> float:
            company = beside.submit(another.turn, options.seconds)
            updates = bare.turn(options.seconds).updates
            company.result()
            return updates

        turns = {
            "free": lambda: freely.turn(options.seconds).updates,
            "paced": lambda: at_pace.turn(options.seconds).updates,
            "bare loop": lambda: bare.turn(options.seconds).updates,
            "with company": with_company,
        }
        rounds = interleaved(turns, options)
    return [
        compared(f"{preset}, free", "updates/s", rounds, "free", "bare loop", at_least=goal),
        compared(f"{preset}, paced", "updates/s", rounds, "paced", "bare loop"),
        compared(f"{preset}, the bare loop while another one runs", "updates/s", rounds, "with company", "bare loop"),
    ]


def _actors() -> int:
    """Rollout actors that leave the learner a core."""
    return max(1, cores() - 1)


# ---- whole commands


def _starts(options: Options) -> list[Table]:
    short = merge(merge(presets.read("cartpole"), WATCHED), {"stop": {"env_steps": 20_000}})
    large = merge(merge(presets.read("cartpole"), WATCHED), MEGABYTE)
    count = min(options.repeats, STARTS)
    plain = [watch(short, options.address) for _ in range(count)]
    loaded = [watch(large, options.address) for _ in range(count)]
    return [_stages(plain), _travel(plain, loaded, short["replay"]["samples_per_insert"])]


def _stages(runs: list[Seen]) -> Table:
    times = {stage: median(run.seconds[stage] for run in runs) for stage in STAGES}
    figures = [Figure(f"until: {stage}", times[stage], "s") for stage in STAGES[:-1]]
    figures.append(Figure("until: first update", times["first update"], "s", at_most=START_GOAL))
    how = (
        f"`train` with the cartpole preset as a fresh process, Ray from cold: medians of {len(runs)} starts. checked: all "
        "imported, the environment made once; answered: replay and learner are there; warm: 1,000 steps inserted."
    )
    return Table("From the command to the first update", how, figures)


def _travel(plain: list[Seen], loaded: list[Seen], asked: float) -> Table:
    realised = [run.summary["replay"]["samples_per_insert"] for run in plain]
    worst = max(abs(one / asked - 1.0) for one in realised)
    figures = [
        Figure("1.03 MB, free: p50", _milliseconds(loaded, 50), "ms", at_most=IN_USE_GOAL),
        Figure("1.03 MB, free: p90", _milliseconds(loaded, 90), "ms"),
        Figure("0.37 MB, paced as cartpole: p50", _milliseconds(plain, 50), "ms"),
        Figure("samples per insert", median(realised), "", "asked for", asked, median(realised) / asked,
               at_least=1.0 - PACE_GOAL, at_most=1.0 + PACE_GOAL),
        Figure("largest miss of samples per insert", 100.0 * worst, "%", at_most=100.0 * PACE_GOAL),
    ]  # fmt: skip
    how = (
        "Weights published to weights in use: from the end of the learner's call to the beginning of each rollout's first "
        f"collect with that version, over {len(plain)} runs each; the calls that wait at a rollout already are in it. "
        "Samples per insert: of each whole run of 20,000 steps, from its summary."
    )
    return Table("Weights from the learner to the rollouts, and the pace", how, figures)


def _milliseconds(runs: list[Seen], percentile: float) -> float:
    return 1_000.0 * float(np.percentile(np.concatenate([run.in_use for run in runs]), percentile))
