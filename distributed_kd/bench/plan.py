"""What a run of a wanted size would take: a model of the system from costs that are measured here, held against runs.

The costs are those of a run file: its environment, networks, batches. They are taken on this machine, so a plan holds for
machines with cores and links like these.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from distributed_kd import presets, run_file
from distributed_kd.bench.acting import FREE, parts_of
from distributed_kd.bench.contenders import UNBOUNDED
from distributed_kd.bench.figures import Figure, Options, Table, Wanted
from distributed_kd.bench.model import ALL_CORES, PARTS, Model, Size, Usage, fitted
from distributed_kd.bench.rounds import compared
from distributed_kd.bench.usage import used
from distributed_kd.config import RunConfig
from distributed_kd.run_file import merge
from distributed_kd.training.plan import LEARNER_CPUS, ROLLOUT_CPUS, SHARED_CPUS, cores

BUSY = 0.8
"""Share of its time that a part may be planned to be busy: what is left is for what the model does not know"""
AT_LEAST, AT_MOST = 0.8, 1.25
"""the model over the measurement"""
TURN = 6.0
"""Seconds of a run that is measured, for each of the options' seconds"""


@dataclass(frozen=True)
class Run:
    """One that is measured; where it does not learn it only acts."""

    tables: Mapping[str, object]
    learns: bool


@dataclass(frozen=True)
class Links:
    """Bytes that travel."""

    step: float
    """of an environment step in a segment, to the replay"""
    batch: float
    """from the replay to the learner"""
    weights: float
    """of a publication, to each machine with rollouts"""
    replay: float
    """that the replay's rows take in memory, once all are there"""
    policy_updates: int
    """updates between two publications"""


def measure(options: Options) -> Iterator[Table]:
    """Costs, the model beside runs of other sizes, and the plan, one after the other."""
    wanted = options.wanted or Wanted(presets.read("cartpole"))
    tables = merge(wanted.tables, UNBOUNDED)
    config = run_file.decode(tables)
    costing, sizes = _costing(tables), _sizes(tables)
    rounds = _rounds({**costing, **sizes}, options)
    waits = _waits(tables)
    model = Model(fitted([done[what] for done in rounds for what in costing]), waits)
    yield _told(model, config, len(rounds))
    yield _against_runs(model, sizes, [Model(fitted([done[what] for what in costing]), waits) for done in rounds], rounds)
    yield _plan(model, config, _links(tables), wanted)


def _rounds(runs: Mapping[str, Run], options: Options) -> list[dict[str, Usage]]:
    """What each run did, once a round: those that costs come from and those that the model is held against take turns."""
    seconds = TURN * options.seconds
    return [{what: _used(run, seconds) for what, run in runs.items()} for _ in range(options.repeats)]


def _used(run: Run, seconds: float) -> Usage:
    actors = run_file.decode(run.tables).rollouts.least
    cpus = math.ceil(LEARNER_CPUS + 2 * SHARED_CPUS + actors * ROLLOUT_CPUS[-1])
    return used(run.tables, run.learns, seconds, cpus)


# ---- costs


def _costing(tables: Mapping[str, object]) -> dict[str, Run]:
    """Runs that differ in all that costs: two act, with segments of one step of every lane and of the file's, one learns."""
    acting = merge(tables, FREE)
    return {
        "acts in short segments": Run(merge(acting, {"rollouts": {"steps_per_segment": 1}}), False),
        "acts": Run(acting, False),
        "learns": Run(tables, True),
    }


def _waits(tables: Mapping[str, object]) -> float:
    """Seconds for an environment step in which a rollout does nothing, such as in an environment that sleeps."""
    from distributed_kd.networks import to_flat
    from distributed_kd.records import Weights
    from distributed_kd.rollouts.rollout import Rollout

    parts = parts_of(tables)
    rollout = Rollout(**parts.rollout(0, 0, repeatable=False))
    weights = Weights(0, {name: to_flat(network) for name, network in parts.networks().items()})
    rollout.collect(weights, progress=0.5)
    began, busy, steps = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < 1.0:
        steps += rollout.collect(weights, progress=0.5)[0].steps
    waits = time.perf_counter() - began - (time.process_time() - busy)
    rollout.close()
    return max(0.0, waits) / steps


def _told(model: Model, config: RunConfig, rounds: int) -> Table:
    figures = []
    for part in PARTS:
        cost = model.costs[part]
        per = (("an environment step", cost.per_step), ("a segment", cost.per_segment), ("an update", cost.per_update))
        figures += [Figure(f"{part}: {what}", 1e6 * seconds, "us of a core") for what, seconds in per if seconds]
    figures.append(Figure("rollouts: waiting in an environment step", 1e6 * model.waits, "us"))
    how = (
        f"Seconds of the cores that the system counted for each process of three runs on Ray, {rounds} times each: two that "
        f"only act, with segments of one and of {config.rollouts.steps_per_segment} steps of every lane, one that learns "
        f"({config.env.id}, {config.rollouts.least} rollouts of {config.rollouts.envs_per_actor} lanes). Costs that fit all "
        "of them best; an update is that of teacher and students, with what drawing its batch costs the others."
    )
    return Table("What each part costs", how, figures)


# ---- the model beside runs


def _sizes(tables: Mapping[str, object]) -> dict[str, Run]:
    """Runs that no cost is taken from."""
    acting = merge(tables, FREE)
    few = {"replay": {"samples_per_insert": 1.0}}

    def of(actors: int, start: Mapping[str, object], **rollouts: int) -> dict[str, object]:
        return merge(start, {"rollouts": {"actors": actors, **rollouts}})

    return {
        "4 rollouts that act": Run(of(4, acting), False),
        "1 rollout that acts, segments of one step": Run(of(1, acting, steps_per_segment=1), False),
        "4 rollouts and the learner": Run(of(4, tables), True),
        "4 rollouts, 1 sample per insert": Run(of(4, merge(tables, few)), True),
    }


def _against_runs(
    model: Model, sizes: Mapping[str, Run], models: Sequence[Model], rounds: Sequence[Mapping[str, Usage]]
) -> Table:
    """Each round's runs beside the model of that round's costs."""
    figures = []
    for what, run in sizes.items():
        size = size_of(run_file.decode(run.tables), run.learns, cores())
        rates = {
            "model": [one.first(size)[1] for one in models],
            "measured": [done[what].env_steps / done[what].seconds for done in rounds],
        }
        named = f"{what}: {model.first(size)[0]} first"
        figures.append(compared(named, "steps/s", rates, "model", "measured", at_least=AT_LEAST, at_most=AT_MOST))
    how = (
        f"Environment steps a second by the model, for {cores()} cores that all parts share, beside runs of that size; both "
        f"{len(rounds)} times by turns, medians. Named is the part that the model has busy all the time. With few samples "
        "per insert no part is: both sides wait for each other by turns, which it does not know."
    )
    return Table("The model beside runs", how, figures)


def size_of(config: RunConfig, learns: bool, shared: float = math.inf) -> Size:
    """The size of a run by its file, on so many cores that all parts share."""
    replay = config.replay
    updates = replay.samples_per_insert / replay.batch_size if learns else 0.0
    return Size(config.rollouts.least, config.rollouts.segment_steps, updates, replay.shards, shared)


# ---- the plan


def _links(tables: Mapping[str, object]) -> Links:
    from distributed_kd.networks import to_flat
    from distributed_kd.records import Weights
    from distributed_kd.replay.replay import Replay
    from distributed_kd.rollouts.rollout import Rollout
    from distributed_kd.training.preflight import replay_bytes

    parts = parts_of(tables)
    rollout, replay = Rollout(**parts.rollout(0, 0, repeatable=False)), Replay(**parts.replay())
    weights = Weights(0, {name: to_flat(network) for name, network in parts.networks().items()})
    while replay.receipt().inserted < parts.config.replay.warmup:
        segment, _ = rollout.collect(weights, progress=0.5)
        replay.add(segment)
    rollout.close()
    batch, _ = replay.sample(1)
    segment_bytes = sum(column.nbytes for column in vars(segment).values() if hasattr(column, "nbytes"))
    return Links(
        step=segment_bytes / segment.steps,
        batch=sum(column.nbytes for column in batch.columns),
        weights=sum(flat.nbytes for flat in weights.flat.values()),
        replay=replay_bytes(parts.config, parts.spec),
        policy_updates=parts.config.learner.updates_per_call,
    )


def _plan(model: Model, config: RunConfig, links: Links, wanted: Wanted) -> Table:
    size = size_of(config, True)
    cost = {part: model.costs[part].of_a_step(size) for part in PARTS}
    of_one = 1.0 / (cost["rollouts"] + model.waits)
    most = BUSY / max(cost["driver"], cost["learner"])  # of these two there is one
    actors, rate = wanted.actors, wanted.steps or (wanted.actors * of_one if wanted.actors else most)
    actors = actors or math.ceil(rate / (BUSY * of_one))
    shards = max(1, math.ceil(rate * cost["replay"] / BUSY))
    busy_cores = rate * sum(cost.values())
    nodes = math.ceil(busy_cores / BUSY / wanted.cores)
    planned = Size(actors, size.segment_steps, size.updates_per_step, shards)
    limits = {part: most for part, most in model.limits(planned).items() if part not in (ALL_CORES, "ray")}
    first = min(limits, key=limits.__getitem__)
    updates = rate * size.updates_per_step
    gbit = 8e-9
    figures = [
        Figure("environment steps", rate, "a second"),
        Figure("updates", updates, "a second"),
        Figure(f"rollouts: {actors:,}, busy", rate / limits["rollouts"], "of the time", at_most=1.0),
        Figure("driver, busy", rate / limits["driver"], "of the time", at_most=BUSY),
        Figure(f"replay: {shards:,} shards, busy", rate / limits["replay"], "of the time", at_most=BUSY),
        Figure("learner, busy", rate / limits["learner"], "of the time", at_most=BUSY),
        Figure(f"first to be busy all the time: {first}, at", limits[first], "steps/s"),
        Figure("into the replay, each shard", gbit * rate * links.step / shards, "Gbit/s"),
        Figure("out of the replay, to the learner", gbit * updates * links.batch, "Gbit/s"),
        Figure("weights, to each machine", gbit * updates / links.policy_updates * links.weights, "Gbit/s"),
        Figure("memory of each shard", links.replay / shards / 1e9, "GB"),
        Figure("cores in all", busy_cores / BUSY, "cores"),
        Figure(f"machines of {wanted.cores} cores", nodes, ""),
    ]
    how = (
        f"For {config.env.id} as its run file has it, segments of {size.segment_steps} steps, by the costs above, each part "
        f"on cores like these and busy for at most {BUSY:.0%} of the time. {_advice(first, rate, limits)}"
    )
    return Table("The plan", how, figures)


def _advice(first: str, rate: float, limits: Mapping[str, float]) -> str:
    mend = {
        "rollouts": "more rollouts (--rollouts.actors)",
        "driver": "larger segments (--rollouts.steps_per_segment, --rollouts.envs_per_actor)",
        "replay": "more shards (--replay.shards)",
        "learner": "a GPU (--learner.device cuda), more replicas (--learner.replicas), fewer --replay.samples_per_insert",
    }[first]
    if limits[first] >= rate:
        return f"It holds; for more, the first to mend is the {first}: {mend}."
    return f"It does not hold: the {first} can do {limits[first]:,.0f} steps/s. What mends it: {mend}."
