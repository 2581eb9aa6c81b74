"""Room on the Ray that was joined: asked for, waited for, and given back."""

import logging
import time

import ray
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from distributed_kd.errors import ResourceError
from distributed_kd.placement_config import selector
from distributed_kd.training.connection import nodes
from distributed_kd.training.plan import Plan, best_plan, make_plan
from distributed_kd.training.run import Run
from distributed_kd.training.stopping import StopSignal

PLACEMENT_SECONDS = 60.0
"""How long room that the cluster has may be taken by others"""
POLL_SECONDS = 1.0
CLEARED_SECONDS = 10
"""How long a cluster may take to end the actors of a run that is over"""

logger = logging.getLogger(__name__)


def planned(run: Run) -> Plan:
    """The plan for the machines of the Ray that was joined.

    Where it may wait for more of them (`placement.wait_minutes`) it asks Ray for room as the run would like to have it,
    which is what an autoscaler goes by. Raises ResourceError where they are too small then, or where a signal comes.
    """
    if minutes := run.config.placement.wait_minutes:
        wished = best_plan(run.config)
        groups = [core_group(wished), rollouts_group(wished)]
        logger.warning("warning: the run waits for room on the cluster: %g CPU, %g minutes at most", wished.cpus, minutes)
        try:
            have_come(groups, 60 * minutes, run.stop)
        finally:
            for group in groups:
                remove_placement_group(group)
    return make_plan(run.config, nodes())


def core_group(plan: Plan) -> PlacementGroup:
    """Ask for room for the learner, the replay and the evaluation."""
    labels = [selector(labels) for labels in plan.core_labels]
    return placement_group(plan.core_bundles, strategy=plan.core_strategy, bundle_label_selector=labels)


def rollouts_group(plan: Plan) -> PlacementGroup:
    """Ask for room for the rollouts that the run begins with."""
    labels = [selector(plan.placement.rollouts)] * plan.rollout_actors
    return placement_group(plan.rollout_bundles, strategy="PACK", bundle_label_selector=labels)


def find_room(plan: Plan, run: Run) -> PlacementGroup:
    """Room for the core, once there is some for all at the same time.

    Raises ResourceError where others do not leave as much for PLACEMENT_SECONDS, or where a signal comes.
    """
    core, first = core_group(plan), rollouts_group(plan)
    try:
        if not have_come([core, first], PLACEMENT_SECONDS, run.stop):
            raise ResourceError(
                f"the cluster is busy (need={plan.cpus:g} CPU): {ray.available_resources().get('CPU', 0):g} of "
                f"{plan.cpus_there:g} CPU were free for {PLACEMENT_SECONDS:g} s. "
                f"Wait for longer with --placement.wait_minutes, or lower --{run.config.rollouts.least_key}"
            )
    except BaseException:
        remove_placement_group(core)
        raise
    finally:
        # All find room at once. From here on each rollout looks for its own, or it could not leave its node alone.
        remove_placement_group(first)
    return core


def have_come(groups: list[PlacementGroup], seconds: float, stop: StopSignal) -> bool:
    """Whether all of these have room, within so many seconds. Raises ResourceError where a signal comes."""
    give_up = time.monotonic() + seconds
    while not all(group.wait(timeout_seconds=POLL_SECONDS) for group in groups):
        if stop:
            raise ResourceError("stopped while the run waited for room on the cluster: nothing was begun. Start it again")
        if time.monotonic() >= give_up:
            return False
    return True


def nodes_of(group: PlacementGroup) -> set[str]:
    """The ids of the nodes that a group stands on; none unless all of it has room."""
    table = placement_group_table(group)
    return set(table["bundles_to_node_id"].values()) if table["state"] == "CREATED" else set()


def is_cleared(group: PlacementGroup) -> bool:
    """Whether what was reserved for a run, and all its actors with it, is the cluster's again within CLEARED_SECONDS."""
    give_up = time.monotonic() + CLEARED_SECONDS
    while True:
        removed = placement_group_table(group)["state"] == "REMOVED"
        if removed and not any(group.id.hex() in resource for resource in ray.cluster_resources()):
            return True
        if time.monotonic() >= give_up:
            return False
        time.sleep(0.1)
