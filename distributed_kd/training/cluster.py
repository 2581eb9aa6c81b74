"""Ray started or joined, the run's actors placed on it, and everything gone afterwards."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

import distributed_kd
from distributed_kd.actors.evaluation_actor import EvaluationActor
from distributed_kd.actors.learner_actor import LearnerActor
from distributed_kd.actors.learner_replica import LearnerReplica
from distributed_kd.actors.replay_actor import ReplayActor
from distributed_kd.actors.rollout_actor import RolloutActor
from distributed_kd.errors import InternalError, RayError, ResourceError, RunError
from distributed_kd.replay.shard import Stock
from distributed_kd.replay.shards import of_each
from distributed_kd.training.parts import device_of
from distributed_kd.training.plan import Node, Plan, cores, make_plan
from distributed_kd.training.run import Run

PLACEMENT_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """The run's actors."""

    replays: list[ActorHandle]
    """one for each shard"""
    stocks: list[Stock]
    """what each held at the start"""
    learner: ActorHandle
    lifelines: list[ray.ObjectRef]
    """calls to the learner's further replicas that end only where one of them does"""
    rollouts: list[ActorHandle]
    start_evaluator: Callable[[], ActorHandle]

    @cached_property
    def evaluator(self) -> ActorHandle:
        """Started when it is first asked for: until then its core helps the others to begin."""
        return self.start_evaluator()


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Ray for as long as the block lasts: the cluster at `address`, or one of our own that ends with it."""
    # Workers must be able to import this package from wherever they are started.
    package = {"py_modules": [str(Path(distributed_kd.__file__).parent)]} if address else None
    if address is None:
        # Whoever reaches Ray's ports runs code as us. With a token of this run alone, Ray keeps other users of the machine
        # out without writing one to the home folder.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Of a call's two results only one is asked for; its error is told there, once, and in one line.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    try:
        ray.init(
            address=address or "local",
            num_cpus=None if address else cores(),
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="error",
            runtime_env=package,
        )
    except Exception as error:  # Ray raises errors of many kinds here, and each means that it could not be had
        where = address or "on this machine"
        why = " ".join(str(error).split())[:300]
        raise RayError(
            f"Ray could not be {'joined' if address else 'started'} (address={where}): {type(error).__name__}: {why}. "
            "Give the address of a running cluster of the same Ray version, or leave --address out"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def nodes() -> list[Node]:
    """The machines of the Ray that was joined."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Node(one.get("CPU", 0.0), one.get("GPU", 0.0)) for one in resources]


@contextmanager
def placed(run: Run) -> Iterator[Cluster]:
    """The run's actors on the Ray that was joined; they are ended with the block."""
    plan = make_plan(run.config, nodes())
    group = placement_group(plan.bundles, strategy="PACK")
    try:
        if not group.wait(timeout_seconds=PLACEMENT_SECONDS):
            raise ResourceError(
                f"the cluster is busy (need={plan.cpus:g} CPU): {ray.available_resources().get('CPU', 0):g} of "
                f"{plan.cpus_there:g} CPU were free for {PLACEMENT_SECONDS} s. Wait, or lower --rollouts.actors"
            )
        yield _start(run, plan, group)
    finally:
        remove_placement_group(group)


def _start(run: Run, plan: Plan, group: PlacementGroup) -> Cluster:
    """Create all actors, from the checkpoint where there is one, and see that they answer."""
    parts, config = run.parts, run.config

    def options(bundle: int, cpus: float, gpus: float = 0.0) -> dict[str, object]:
        place = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
        return {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "scheduling_strategy": place,
            "max_restarts": 0,
            "max_task_retries": 0,
        }

    shared, state = parts.replay(), run.state_of("replay")
    states = of_each(state) if state else [None] * config.replay.shards
    replays = [
        ReplayActor.options(**options(shard, plan.replay_cpus)).remote(theirs, place=shard, **shared)
        for shard, theirs in enumerate(states)
    ]
    union, threads = (shared["config"], shared["pace"], shared["seed"]), config.learner.threads
    begin = {"state": run.state_of("learner"), **parts.learner(device_of(plan.device), repeatable=False)}
    first = len(replays) + config.rollouts.actors  # the bundle of the first further replica
    others = [
        LearnerReplica.options(**options(first + rank - 1, plan.learner_cpus, plan.gpus)).remote(
            rank, plan.replicas, union, threads, **begin
        )
        for rank in range(1, plan.replicas)
    ]
    lifelines = [other.live.remote() for other in others]
    learner = LearnerActor.options(**options(0, plan.learner_cpus, plan.gpus)).remote(
        replays, union, config.stop.updates, threads, others=others, lifelines=lifelines, **begin
    )
    rollouts = [
        RolloutActor.options(**options(len(replays) + actor, plan.rollout_cpus)).remote(
            **parts.rollout(actor, run.incarnation, repeatable=False)
        )
        for actor in range(config.rollouts.actors)
    ]
    # Only now is anything waited for: all of them start side by side.
    stocks = calmly([replay.stock.remote() for replay in replays], "the replay")
    evaluator = EvaluationActor.options(**options(0, plan.evaluation_cpus))
    return Cluster(replays, stocks, learner, lifelines, rollouts, lambda: evaluator.remote(**parts.evaluator()))


def calmly(reference: ray.ObjectRef | list[ray.ObjectRef], who: str = "an actor"):
    """The value of a reference that is ready or will be soon, or of several, with Ray's errors turned into ours."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, RunError):
            raise error.cause from error
        if isinstance(error.cause, RayActorError):
            raise InternalError(_died(who, error.cause)) from error
        last = str(error).strip().splitlines()[-1]
        raise InternalError(f"{who} failed ({last}): that is a fault of the program. Please report it") from error
    except RayActorError as error:
        raise InternalError(_died(who, error)) from error


def _died(who: str, error: RayActorError) -> str:
    why = " ".join(str(error).split())[:300]
    return f"{who} died ({type(error).__name__}): {why}"
