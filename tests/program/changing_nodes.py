"""A Ray cluster on this machine whose nodes come and go, for a test in another process.

Prints its address. Then it reads orders, one a line, and answers each with a line: `add CPUS[,KEY=VALUE]` gives the new
node's id, `remove ID` and `drain ID` nothing. It ends when stdin does. A node that is gone is noticed within two seconds.
"""

import sys
import time

import ray
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

HEALTH = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}
NOTICE_SECONDS = 300
PREEMPTION = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")


def obey(cluster: Cluster, nodes: dict, word: str, given: str) -> str:
    if word == "add":
        cpus, *labels = given.split(",")
        node = cluster.add_node(num_cpus=int(cpus), labels=dict(label.split("=") for label in labels))
        nodes[node.node_id] = node
        return node.node_id
    if word == "remove":
        cluster.remove_node(nodes.pop(given), allow_graceful=False)
    if word == "drain":
        client = ray._raylet.GcsClient(address=cluster.address)
        deadline = int(1000 * (time.time() + NOTICE_SECONDS))
        accepted, why = client.drain_node(given, PREEMPTION, "a notice", deadline)
        assert accepted, why
    return ""


if __name__ == "__main__":
    head = {"num_cpus": int(sys.argv[1]), "include_dashboard": False, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes: dict = {}
        print(cluster.address, flush=True)
        for line in sys.stdin:
            print("answer", obey(cluster, nodes, *line.split()), flush=True)
    finally:
        cluster.shutdown()
