"""Runs that only act: rollouts into the replay through the run's own loop on Ray, the learner off; and bare lanes."""

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from distributed_kd import run_file
from distributed_kd.bench.contenders import UNBOUNDED, Baton, Contender, loop, run_folder
from distributed_kd.bench.phases import replaced
from distributed_kd.run_file import merge

FREE = merge(UNBOUNDED, {"replay": {"samples_per_insert": 0.0}, "teacher": {"exploration": {"start": 0.05}}})
"""Tables of a run whose rollouts are as fast as they can be, and explore as at its end"""
BEATS = 64
"""Steps of all lanes between two looks of bare lanes at the clock"""


def parts_of(tables: Mapping[str, object]):
    """The parts of a run of these tables; modules of environments are imported."""
    from distributed_kd.training.parts import Parts
    from distributed_kd.training.preflight import check_run

    config = run_file.decode(tables)
    return Parts(config, check_run(config, allow_env_import=True))


def acting_run(
    baton: Baton,
    tables: Mapping[str, object],
    address: str | None,
    balances: bool,
    cpus: int,
    out: str,
    acts: bool = True,
) -> None:
    """A run that never learns; a beat is a line of its metrics, from when every rollout has played. It ends as by Ctrl-C.

    With `balances`, its policies hold CartPole's pole; where it does not even act, its rollouts are `NullRollout`s. Where
    Ray is started here, it is told of so many `cpus`. At the end (actor, sequence, when it began, seconds, when the loop saw
    to it) of every `collect` is written to `out`.
    """
    from distributed_kd.bench.null_rollout import NullRollout
    from distributed_kd.training import cluster, connection, on_ray
    from distributed_kd.training.journal import Journal
    from distributed_kd.training.parts import Parts
    from distributed_kd.training.run import execute

    goes_on, collected = True, []

    def show(now) -> None:
        nonlocal goes_on
        if goes_on and have_all_played(collected, parts.config.rollouts.least):
            goes_on = baton.beat(now.env_steps, now.updates)
            if not goes_on:
                signal.raise_signal(signal.SIGINT)

    def noted(method: Callable) -> Callable:
        def both(journal: Journal, stats) -> None:
            collected.append((stats.actor, stats.sequence, stats.started, stats.seconds, time.time()))
            method(journal, stats)

        return both

    with ExitStack() as stack:
        stack.enter_context(replaced(on_ray._Loop, "_ask_learner", lambda _: lambda loop: None))
        stack.enter_context(replaced(connection, "cores", lambda there: lambda: max(cpus, there())))
        stack.enter_context(replaced(Journal, "collected", noted))
        if not acts:
            stack.enter_context(replaced(cluster, "RolloutActor", lambda _: NullRollout))
            stack.enter_context(replaced(Parts, "rollout", lambda _: _as_null))
        if balances:
            stack.enter_context(replaced(Parts, "networks", lambda made: lambda parts: balanced(made(parts))))
        parts = parts_of(tables)
        folder = stack.enter_context(run_folder(parts))
        execute(parts, folder, loop("ray", address), show=show)
    Path(out).write_text(json.dumps(collected))


def _as_null(parts, actor: int, incarnation: int, repeatable: bool) -> dict[str, object]:
    """What a `NullRollout` is given: nothing that needs PyTorch to be read."""
    return {"spec": parts.spec, "actor": actor, "incarnation": incarnation}


def have_all_played(collected: Sequence[tuple], actors: int) -> bool:
    """Whether each of so many rollouts has ended a `collect`: on few cores many take half a minute until they are there."""
    return len({actor for actor, *_ in collected}) >= actors


def balanced(networks: Mapping[str, object]) -> Mapping[str, object]:
    """Plain networks for CartPole, changed so that each holds the pole up: their episodes are as long as trained ones."""
    import torch

    for network in networks.values():
        first, *others = network.plain_layers()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
            leaning = torch.tensor([0.05, 0.1, 1.0, 0.5])  # to the right if it is above 0: push to the right
            first.weight[0], first.weight[1] = leaning, -leaning
            for layer in others:
                layer.weight[0, 0] = layer.weight[1, 1] = 1.0
            others[-1].weight[:2] = others[-1].weight[[1, 0]]
    return networks


def bare_cartpole(baton: Baton, lanes: int) -> None:
    """Gymnasium's own vector CartPole, with actions drawn before."""
    import gymnasium as gym

    envs = gym.make_vec("CartPole-v1", lanes, vectorization_mode="vector_entry_point")
    envs.reset(seed=0)
    _stepped(baton, envs.step, 2, lanes)


def bare_lanes(baton: Baton, tables: Mapping[str, object]) -> None:
    """The lanes of a run alone, with actions drawn before."""
    from distributed_kd.envs.lanes import make_lanes

    parts = parts_of(tables)
    count = parts.config.rollouts.envs_per_actor
    lanes = make_lanes(parts.config.env, parts.spec, count, np.random.SeedSequence(0), repeatable=False)
    lanes.reset()
    _stepped(baton, lanes.step, parts.spec.actions, count)


def _stepped(baton: Baton, step: Callable, actions: int, lanes: int) -> None:
    drawn = np.random.default_rng(0).integers(0, actions, (BEATS, lanes))
    done = 0
    while baton.beat(done, 0):
        for action in drawn:
            step(action)
        done += drawn.size


def at_once(contenders: Sequence[Contender], seconds: float) -> float:
    """Environment steps a second of several that take their turn together."""
    with ThreadPoolExecutor(len(contenders)) as threads:
        return sum(threads.map(lambda one: one.turn(seconds).env_steps, contenders))


def call_share(collected: Sequence[tuple]) -> tuple[float, float]:
    """What `acting_run` wrote as (seconds between the end of a `collect` and the next one's beginning, share of both).

    Medians over all calls that follow each other in one actor: each finds the next one waiting.
    """
    gaps, seconds = [], []
    last: dict[int, tuple[int, float]] = {}
    for actor, sequence, started, took, *_ in sorted(collected):
        before, ended = last.get(actor, (None, 0.0))
        if before == sequence - 1:
            gaps.append(started - ended)
            seconds.append(took)
        last[actor] = sequence, started + took
    gap, took = float(np.median(gaps)), float(np.median(seconds))
    return gap, gap / (gap + took)
