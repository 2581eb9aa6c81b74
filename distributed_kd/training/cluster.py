"""The run's actors placed on the Ray that was joined, and what it means where one of them is lost."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten

import ray
from ray.actor import ActorHandle
from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from distributed_kd.actors.evaluation_actor import EvaluationActor
from distributed_kd.actors.learner_actor import LearnerActor
from distributed_kd.actors.learner_replica import LearnerReplica
from distributed_kd.actors.once import FOR_EVER
from distributed_kd.actors.replay_actor import ReplayActor
from distributed_kd.actors.rollout_actor import RolloutActor
from distributed_kd.envs.injected import Injected
from distributed_kd.errors import InternalError, RunError
from distributed_kd.learning.replicas import ReplicaLost
from distributed_kd.placement_config import selector
from distributed_kd.replay.shards import of_each
from distributed_kd.training.connection import FULL
from distributed_kd.training.parts import device_of
from distributed_kd.training.placement import core_group, find_room, is_cleared, nodes_of
from distributed_kd.training.plan import Plan
from distributed_kd.training.run import Run

NODE_ID_LABEL = "ray.io/node-id"
CONNECT_SECONDS = 1.0
"""How long a node may take to accept a connection before it is taken to be gone"""
GONE = (RayActorError, ObjectLostError, OutOfMemoryError, NodeDiedError)
"""Ray's words for an actor that is no more, or a value that is no more"""


@dataclass(frozen=True)
class Core:
    """The actors that hold what the run has learned."""

    replays: list[ActorHandle]
    """one for each shard"""
    learner: ActorHandle
    others: list[ActorHandle]
    """the learner's further replicas"""
    lifelines: list[ray.ObjectRef]
    """calls to these that end only where one of them does"""

    def end(self) -> None:
        """Let none of them do anything any more."""
        for actor in (self.learner, *self.others, *self.replays):
            ray.kill(actor, no_restart=True)


class ActorLost(Exception):
    """An actor that was called is gone."""

    def __init__(self, who: str, why: str):
        self.who, self.why = who, why
        super().__init__(f"{who} {why}")

    @property
    def kind(self) -> str:
        """Of the replay and the learner the one that is gone."""
        return "replay" if self.who == "the replay" else "learner"


class GivenLost(ActorLost):
    """What an actor was given, or another actor that it called, is gone; it itself is there."""

    @property
    def kind(self) -> str:
        return "replay" if self.who == "the learner" else "learner"


class Moving(ActorLost):
    """Nobody is lost: replay and learner are to go on elsewhere."""

    def __init__(self) -> None:
        super().__init__("the learner", "goes to another node")


class Cluster:
    """Starts the run's actors: the core together in a placement group, each rollout wherever there is room."""

    def __init__(self, run: Run, plan: Plan, group: PlacementGroup, injected: Injected):
        self._run, self._plan, self._group, self._injected = run, plan, group, injected
        self._next: PlacementGroup | None = None  # where the core is to go
        self._gone: set[str] = set()

    def _options(
        self, cpus: float, gpus: float = 0.0, bundle: int | None = None, in_order: bool = False
    ) -> dict[str, object]:
        """`bundle` of the core's group; None: a rollout's, wherever there is room."""
        if bundle is None:
            place = {"scheduling_strategy": "SPREAD", "label_selector": self._where_rollouts}
        else:
            place = {"scheduling_strategy": PlacementGroupSchedulingStrategy(self._group, bundle)}
        return {
            **place,
            "num_cpus": cpus,
            "num_gpus": gpus,
            "max_restarts": 0,
            # A call that was lost on the way is repeated, and done once (`actors.once`).
            "max_task_retries": FOR_EVER,
            # In order, Ray would let all calls behind one that was lost wait for half a minute.
            "allow_out_of_order_execution": not in_order,
            # Ray would remember a hundred thousand of our calls, some hundred megabytes, for a page that nobody opens.
            "enable_task_events": False,
        }

    @property
    def _where_rollouts(self) -> dict[str, str]:
        """Labels of the nodes for them: not of one that has left, where Ray starts actors until it has seen that too."""
        unseen = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] in self._gone)
        stays = {NODE_ID_LABEL: f"!in({','.join(unseen)})"} if unseen else {}
        return {**selector(self._plan.placement.rollouts), **stays}

    def core_nodes(self) -> set[str]:
        """The ids of the nodes that the core stands on; none while it waits for room, as where its node has left."""
        return nodes_of(self._group)

    def is_gone(self, node: str) -> bool:
        """Whether a node, by its id, has left. It may do so long before Ray says so: then it accepts no connection."""
        if node not in self._gone:
            found = next((one for one in ray.nodes() if one["NodeID"] == node and one["Alive"]), None)
            if found is None or not _accepts(found["NodeManagerAddress"], found["NodeManagerPort"]):
                self._gone.add(node)
        return node in self._gone

    def seek_place(self) -> None:
        """Ask for room for the core on nodes that stay."""
        if self._next is None:
            self._next = core_group(self._plan)

    @property
    def seeks_place(self) -> bool:
        return self._next is not None

    @property
    def has_place(self) -> bool:
        """Room for the core was sought and found."""
        return self._next is not None and bool(nodes_of(self._next))

    def leave(self) -> list[PlacementGroup]:
        """Give all room back; gives the groups that had it."""
        groups = list(filter(None, (self._group, self._next)))
        for group in groups:
            remove_placement_group(group)
        return groups

    def start_core(self) -> Core:
        """Start the replay and the learner, from the checkpoint where there is one, in the new place where one was sought.

        They may not answer yet.
        """
        if self._next is not None:
            remove_placement_group(self._group)
            self._group, self._next = self._next, None
        run, plan = self._run, self._plan
        shared, state = run.parts.replay(), run.state_of("replay")
        states = of_each(state) if state else [None] * run.config.replay.shards
        replays = [
            ReplayActor.options(**self._options(plan.replay_cpus, bundle=shard)).remote(theirs, place=shard, **shared)
            for shard, theirs in enumerate(states)
        ]
        union, threads = (shared["config"], shared["pace"], shared["seed"]), run.config.learner.threads
        begin = {"state": run.state_of("learner"), **run.parts.learner(device_of(plan.device), repeatable=False)}
        others = [
            LearnerReplica.options(
                **self._options(plan.learner_cpus, plan.gpus, len(replays) + rank - 1, in_order=True)
            ).remote(rank, plan.replicas, union, threads, **begin)
            for rank in range(1, plan.replicas)
        ]
        lifelines = [other.live.remote() for other in others]
        learner = LearnerActor.options(**self._options(plan.learner_cpus, plan.gpus, bundle=0)).remote(
            replays, union, run.config.stop.updates, threads, others=others, lifelines=lifelines, **begin
        )
        return Core(replays, learner, others, lifelines)

    def start(self, kind: str, number: int, incarnation: int) -> ActorHandle:
        """Start a rollout or the evaluation; it makes its environments at once."""
        plan, parts = self._plan, self._run.parts
        if kind == "rollout":
            given = parts.rollout(number, incarnation, repeatable=False)
            actor = RolloutActor.options(**self._options(plan.rollout_cpus)).remote(**given, injected=self._injected)
        else:
            actor = EvaluationActor.options(**self._options(plan.evaluation_cpus, bundle=0)).remote(**parts.evaluator())
        actor.prepare.remote()  # what goes wrong there is told by the first call that needs it
        return actor


@contextmanager
def placed(run: Run, plan: Plan, injected: Injected, shared: bool) -> Iterator[Cluster]:
    """The run's actors on the Ray that was joined, as planned, faults `injected` into its rollouts.

    They are ended with the block, which is seen to where Ray is `shared` with others.
    """
    cluster = Cluster(run, plan, find_room(plan, run), injected)
    try:
        yield cluster
    finally:
        groups = cluster.leave()
    if shared:
        run.journal.invariants.check("I9", all(map(is_cleared, groups)))


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def calmly(reference: ray.ObjectRef | list[ray.ObjectRef], who: str = "an actor"):
    """The value of a reference that is ready or will be soon, or of several.

    Ray's errors are turned into ours: raises ActorLost where the actor is gone, GivenLost where what it needs is, and what
    it raised itself as it is where that is a RunError or says that the object store is full, else as InternalError.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, ReplicaLost):  # what is left of it cannot go on
            raise ActorLost(who, str(error.cause)) from error
        if isinstance(error.cause, (RunError, *FULL)):
            raise error.cause from error
        if isinstance(error.cause, GONE):
            raise GivenLost(who, died(error.cause)) from error
        last = str(error).strip().splitlines()[-1]
        raise InternalError(f"{who} failed ({last}): that is a fault of the program. Please report it") from error
    except GONE as error:
        raise ActorLost(who, died(error)) from error


def died(error: Exception) -> str:
    """How an actor ended, in one line: without the indented ones, which say who it was."""
    told = " ".join(line for line in str(error).splitlines() if line[:1].strip())
    return f"died ({type(error).__name__}): {shorten(told, 240, placeholder=' ...')}"


def nodes_named(why: str) -> set[str]:
    """The ids of nodes in Ray's words on a death: of one who waited for room there nothing else tells where it was."""
    return set(re.findall(r"Node Id: ([0-9a-f]+)", why))
