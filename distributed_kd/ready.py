"""What can be told of a run before anything is started: whether it can run here, and the plan."""

import argparse
from collections.abc import Sequence

from distributed_kd.config import RunConfig
from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.records import EnvSpec
from distributed_kd.storage.tracking import check_tracking
from distributed_kd.training import data_set, inline, offline
from distributed_kd.training.chaos import CALM, Chaos
from distributed_kd.training.given import Given, read_given, with_teachers_network
from distributed_kd.training.parts import Parts
from distributed_kd.training.plan import Plan, make_plan, plan_here
from distributed_kd.training.preflight import check_address, check_device, check_memory, check_networks, check_run
from distributed_kd.training.run import Runner


def ready(config: RunConfig, options: argparse.Namespace) -> tuple[Parts, Given, Runner, Plan | None]:
    """A new run as far as it comes before its folder is made: its parts, what it is given, the loop and the plan, if any.

    Raises RunError for all that can be told before anything is started.
    """
    config, spec, runner, plan = check(config, options)
    given = read_given(config, spec)
    parts = Parts(with_teachers_network(config, given), spec, given.teachers, given.starts)
    check_networks(parts)
    return parts, given, runner, plan


def check(config: RunConfig, options: argparse.Namespace) -> tuple[RunConfig, EnvSpec, Runner, Plan | None]:
    """Everything that can be told before anything is started: the environment, and the machine where it is ours.

    Gives the run as it holds with its set of states, if it has one, the environment's spec, the loop and, where Ray is to be
    started here, the plan.
    """
    chaos = Chaos.parse(options.chaos) if options.chaos is not None else CALM
    spec = check_run(config, options.allow_env_import)
    check_tracking(config.tracking)
    if not options.address:
        check_memory(config, spec)
    if options.runner == "inline" or config.data.file:
        alone = "a set of states is learned from in one process" if config.data.file else "the inline runner uses no cluster"
        on_ray = options.runner if options.runner == "ray" else None
        for key, given in (("address", options.address), ("runner", on_ray), ("chaos", options.chaos)):
            if given:
                raise ConfigurationError(Problem("options exclude each other", key, given, alone, "Drop one"))
        if config.learner.replicas > 1:
            fix = "Set --learner.replicas 1"
            raise ConfigurationError(Problem("one process alone", "learner.replicas", config.learner.replicas, alone, fix))
        check_device(config)
        if config.data.file:
            return data_set.taught_by_its_run(config, spec), spec, offline.RUNNER, None
        return config, spec, inline.RUNNER, None
    from distributed_kd.training.on_ray import runner

    if options.address and chaos.rpc:
        why = "the calls of a Ray that runs already cannot be lost on purpose"
        raise ConfigurationError(Problem("options exclude each other", "chaos", options.chaos, why, "Drop one"))
    if options.address:
        check_address(options.address)
    return config, spec, runner(options.address, chaos, print_plan), None if options.address else plan_here(config)


def plan_lines(config: RunConfig, address: str | None, plan: Plan | None) -> list[str]:
    """The plan of a run that is not started; on a cluster by the nodes there now. Raises ResourceError as a run would."""
    if address:
        from distributed_kd.training.connection import nodes_at

        plan = make_plan(config, nodes_at(address))
    return plan.lines(config) if plan else ["all parts of the run in one process"]


def print_plan(lines: Sequence[str]) -> None:
    print("\n".join(["plan", *(f"  {line}" for line in lines)]), flush=True)
