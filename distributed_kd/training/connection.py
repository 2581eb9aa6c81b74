"""Ray started or joined, and left with nothing behind; the machines that it has."""

import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ray
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

import distributed_kd
from distributed_kd.errors import RayError, ResourceError
from distributed_kd.leftovers import ended_with_us
from distributed_kd.training.plan import Node, cores

FULL = (ObjectStoreFullError, OutOfDiskError)
"""Ray's words for no room for a value, in memory nor on disk"""


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Ray for as long as the block lasts: the cluster at `address`, or one of our own that ends with it."""
    # Workers must be able to import this package from wherever they are started.
    package = {"py_modules": [str(Path(distributed_kd.__file__).parent)]} if address else None
    # Of a call's two results only one is asked for; its error is told there, once, and in one line.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    with ExitStack() as ours:
        if address is None:
            # Whoever reaches Ray's ports runs code as us. With a token of this run alone, Ray keeps other users of the
            # machine out without writing one to the home folder.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            # As it comes, all of Ray's workers are as nice as can be: rollouts could not give way to the learner.
            os.environ.setdefault("RAY_worker_niceness", "0")
            ours.enter_context(ended_with_us())
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
            why = " ".join(str(error).split()).removesuffix(".")[:300]
            here = f"Ray {ray.__version__}, Python {platform.python_version()}, {'a' if has_token() else 'no'} token"
            raise RayError(
                f"Ray could not be {'joined' if address else 'started'} (address={where}): {type(error).__name__}: {why}. "
                f"Here are {here}: give the address of a running cluster of these versions and with the same token "
                "(RAY_AUTH_MODE=token, RAY_AUTH_TOKEN_PATH), or leave --address out"
            ) from error
        ours.callback(ray.shutdown)
        try:
            yield
        except FULL as error:
            raise ResourceError(
                f"the object store is full, and the disk behind it too (address={address or 'on this machine'}): "
                f"{' '.join(str(error).split())[:80]}. Free what others hold there (`ray memory` lists it), or give Ray "
                "more (`ray start --object-store-memory`), and resume the run"
            ) from error


def has_token() -> bool:
    """Ray was told to show one."""
    return os.environ.get("RAY_AUTH_MODE") == "token"


def nodes() -> list[Node]:
    """The machines of the Ray that was joined, but for those that are about to leave."""
    leaving = draining()
    there = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving]
    return [Node(one["Resources"].get("CPU", 0.0), one["Resources"].get("GPU", 0.0), one.get("Labels", {})) for one in there]


def nodes_at(address: str) -> list[Node]:
    """The machines of the cluster at an address; raises RayError where it cannot be joined."""
    with joined(address):
        return nodes()


def object_store_use() -> int:
    """Bytes that lie in the cluster's object stores now, those of other runs on it too."""
    there, free = ray.cluster_resources(), ray.available_resources()
    return int(there.get("object_store_memory", 0.0) - free.get("object_store_memory", 0.0))


def draining() -> set[str]:
    """The ids of nodes that are about to leave: a notice came that they will be preempted, or `ray drain-node`."""
    return set(ray._private.state.state.get_draining_nodes())
