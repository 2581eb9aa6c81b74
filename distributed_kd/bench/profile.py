"""A profile by phase: a run through the inline loop, in this process, with its functions timed from outside."""

import signal
from collections import defaultdict
from collections.abc import Mapping

from distributed_kd import run_file
from distributed_kd.bench.contenders import UNBOUNDED, parts_of, run_folder
from distributed_kd.bench.figures import Figure, Table
from distributed_kd.bench.phases import HOOKS, OTHER, PER_STEP, PER_UPDATE, Stopwatch, hooked
from distributed_kd.errors import InternalError


def profile(title: str, tables: Mapping[str, object], seconds: float) -> Table:
    """Run these tables for about so many seconds after the first update, and tell where the time went.

    Raises InternalError where a phase took no time: what it is timed by is then no longer what the run calls.
    """
    from distributed_kd.training.inline import RUNNER
    from distributed_kd.training.run import execute

    on_cpu = run_file.merge(run_file.merge(tables, UNBOUNDED), {"learner": {"device": "cpu"}})
    parts, stopwatch = parts_of(on_cpu), Stopwatch()
    began: list[tuple[int, int]] = []
    spent: dict[str, float] = defaultdict(float)
    counts = (0, 0)

    def show(now) -> None:
        nonlocal counts
        if spent or not now.updates:
            return
        if not began:
            began.append((now.env_steps, now.updates))
            stopwatch.restart()
            return
        so_far = stopwatch.read()
        if sum(so_far.values()) >= seconds:
            spent.update(so_far)
            counts = now.env_steps - began[0][0], now.updates - began[0][1]
            signal.raise_signal(signal.SIGINT)

    with run_folder(parts) as folder, hooked(stopwatch):
        execute(parts, folder, RUNNER, show=show)
    if unseen := [phase for phase in HOOKS if not spent[phase]]:
        raise InternalError(
            f"no time was seen in {', '.join(unseen)}: the run calls other functions than phases.HOOKS names"
        )
    return tabulated(title, spent, *counts)


def tabulated(title: str, spent: Mapping[str, float], env_steps: int, updates: int) -> Table:
    """Seconds by phase as microseconds per environment step or update, each beside the whole of the core's time."""
    whole = sum(spent.values())
    rows = [(phase, env_steps, "µs per env step") for phase in (*PER_STEP, OTHER)]
    rows[-1:-1] = [(phase, updates, "µs per update") for phase in PER_UPDATE]
    figures = [
        Figure(phase, 1e6 * spent.get(phase, 0.0) / count, unit, "all of the core's time", 1e6 * whole / count,
               spent.get(phase, 0.0) / whole)
        for phase, count, unit in rows
    ]  # fmt: skip
    how = (
        f"One inline run, {env_steps:,} environment steps and {updates:,} updates of teacher and students in {whole:.1f} s "
        "on one core; functions are timed from outside, each without those of other phases that it calls. collect is the "
        "rollout's own loop, forward the networks and losses, publish the weights read out and taken over, other the loop "
        "and its account. The ratio is the share of the core's time."
    )
    return Table(title, how, figures)
