"""How rollouts scale where the environment takes the time, and how many segments the loop can carry where it takes none."""

import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np

from distributed_kd.bench.acting import FREE, acting_run
from distributed_kd.bench.contenders import SETTLE, contending
from distributed_kd.bench.environments import NULL, SLEEP_SECONDS, SLEEPING
from distributed_kd.bench.figures import Figure, Options, Table
from distributed_kd.bench.rounds import Rounds, compared
from distributed_kd.run_file import merge
from distributed_kd.training.on_ray import CALLS_IN_FLIGHT
from distributed_kd.training.plan import LEARNER_CPUS, ROLLOUT_CPUS, SHARED_CPUS

ACTORS = (1, 2, 4, 8, 16)
LINEAR_GOAL = 0.9
CONTROL_ACTORS = (1, 2, 4)
FEW, MANY, EXPLAINED = 4, 200, 1.1
"""rollouts that do nothing; the time until they are seen to over what the ceiling explains"""
TINY = {"kind": "mlp", "hidden": [16]}
SLEEPING_STEPS = 128
"""steps in a segment, of one lane: a quarter of a second, of which a call to Ray takes about a hundredth"""


def measure(options: Options) -> list[Table]:
    """The tables of this benchmark."""
    return [_sleeping(options), _control(options), _many(options)]


def _sleeping(options: Options) -> Table:
    rounds: Rounds = {str(actors): _rates(SLEEPING, actors, SLEEPING_STEPS, options) for actors in ACTORS}
    figures = [compared("1 actor", "steps/s", rounds, "1")]
    for actors in ACTORS[1:]:
        linear = f"{actors} x 1 actor"
        rounds[linear] = [actors * value for value in rounds["1"]]
        goals = {"at_least": LINEAR_GOAL} if actors == ACTORS[-1] else {}
        figures.append(compared(f"{actors} actors", "steps/s", rounds, str(actors), linear, **goals))
    how = (
        f"Rollout actors of one lane on an environment that sleeps {1e3 * SLEEP_SECONDS:g} ms a step, through the run's own "
        f"loop into the replay, pace free, the learner never asked; segments of {SLEEPING_STEPS} steps. One run after the "
        "other. Where Ray is started here it is told of cores enough for all."
    )
    return Table("Rollout actors on an environment that takes time", how, figures)


def _control(options: Options) -> Table:
    figures = []
    for actors in CONTROL_ACTORS:
        rates = _rates(NULL, actors, 1, options)
        figures.append(Figure(f"{actors} actor{'s' if actors > 1 else ''}", float(np.median(rates)), "segments/s"))
    how = (
        "Segments of one step of one lane on an environment where nothing happens, through the run's own loop: collect, add "
        "by reference, receipt. So this is what loop, replay and Ray can carry, whatever is in the segments."
    )
    return Table("The control plane's ceiling", how, figures)


def _many(options: Options) -> Table:
    figures = []
    for actors in (FEW, MANY):
        rates, seen = _turns(NULL, actors, 1, options, acts=False)
        ceiling = float(np.median(rates))
        explained = 1e3 * CALLS_IN_FLIGHT * actors / ceiling
        p50, p95 = (1e3 * float(np.percentile(seen, share)) for share in (50, 95))
        figures += [
            Figure(f"{actors} rollouts", ceiling, "segments/s"),
            Figure(f"{actors} rollouts: until the loop has seen to a segment, p50", p50, "ms", "by the ceiling", explained,
                   p50 / explained, at_most=EXPLAINED),
            Figure(f"{actors} rollouts: the same, p95", p95, "ms", "by the ceiling", explained, p95 / explained),
        ]  # fmt: skip
    how = (
        "As above, with rollouts that do nothing at all, each a process of its own, and the time from when a segment is "
        "there until the loop has seen to it. The ceiling explains as much as all calls under way, "
        f"{CALLS_IN_FLIGHT} of each rollout, take one after the other."
    )
    return Table("Hundreds of rollouts", how, figures)


def _rates(environment: str, actors: int, steps: int, options: Options) -> list[float]:
    """Environment steps a second of a run that only acts, turn after turn."""
    return _turns(environment, actors, steps, options)[0]


def _turns(
    environment: str, actors: int, steps: int, options: Options, acts: bool = True
) -> tuple[list[float], list[float]]:
    """Also the seconds from the end of each `collect` until the loop had seen to it. The first turn only warms up."""
    tables = merge(
        FREE,
        {
            "env": {"id": environment},
            "teacher": {"network": TINY},
            "students": {"tiny": {"network": TINY}},
            "rollouts": {"actors": actors, "envs_per_actor": 1, "steps_per_segment": steps},
        },
    )
    cpus = math.ceil(LEARNER_CPUS + 2 * SHARED_CPUS + actors * ROLLOUT_CPUS[-1])  # Ray knows whole ones only
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "calls.json"
        with contending(acting_run, tables, options.address, False, cpus, str(out), acts, settle=SETTLE) as run:
            run.turn(options.seconds)
            began = time.time()  # while 200 processes start, the loop has no core to see to any
            rates = [run.turn(options.seconds).env_steps for _ in range(options.repeats)]
        calls = [(seen, seen - started - seconds) for _, _, started, seconds, seen in json.loads(out.read_text())]
        return rates, [waited for seen, waited in calls if seen >= began]
