"""A Ray cluster of one small node whose object store somebody else fills, for a test in another process.

Prints its address. `fill` fills the store with what cannot be moved to disk, `empty` lets go of that; each is answered with
a line. Ends when stdin does. With the word `no-disk` Ray takes the disk for full as well.
"""

import sys

import numpy as np
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import ObjectStoreFullError, OutOfDiskError

MEGABYTE = 2**20
STORE = 80 * MEGABYTE

if __name__ == "__main__":
    system = {"local_fs_capacity_threshold": 1e-4} if "no-disk" in sys.argv else {}
    node = {"num_cpus": 4, "include_dashboard": False, "object_store_memory": STORE, "_system_config": system}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    held: list = []
    try:
        print(cluster.address, flush=True)
        for line in sys.stdin:
            if line.strip() == "empty":
                held.clear()
            for size in (10, 1) if line.strip() == "fill" else ():
                # Values that are being read stay in memory; what goes beyond it goes to disk at once, or is refused.
                try:
                    while sum(map(len, held)) < STORE - size * MEGABYTE:
                        held.append(ray.get(ray.put(np.ones(size * MEGABYTE, np.uint8))))
                except (ObjectStoreFullError, OutOfDiskError):
                    pass
            print("answer", sum(map(len, held)) // MEGABYTE, flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()
