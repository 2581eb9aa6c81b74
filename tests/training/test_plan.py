"""Who runs with how much of a machine or a cluster, and whether it is large enough."""

from dataclasses import replace

import pytest
import torch

from distributed_kd.config import LearnerConfig, ReplayConfig, RolloutsConfig, RunConfig
from distributed_kd.data_config import ElasticConfig
from distributed_kd.errors import ResourceError
from distributed_kd.placement_config import PlacementConfig
from distributed_kd.student_config import StudentConfig
from distributed_kd.training.plan import Node, best_plan, gpus_here, make_plan


def config(actors=2, device="auto"):
    return RunConfig(
        students={"tiny": StudentConfig()}, rollouts=RolloutsConfig(actors=actors), learner=LearnerConfig(device=device)
    )


@pytest.mark.parametrize(
    ("cpus", "actors", "each"),
    [(2, 2, 0.25), (2.5, 2, 0.5), (3.5, 2, 1.0), (4, 2, 1.0), (4, 4, 0.5), (1.75, 1, 0.25), (64, 32, 1.0)],
)
def test_one_machine(cpus, actors, each):
    plan = make_plan(config(actors), [Node(cpus, 0)])
    assert plan.rollout_cpus == each
    assert len(plan.bundles) == 1 + actors
    assert plan.cpus <= cpus
    assert plan.device == "cpu"


@pytest.mark.parametrize(
    ("cpus", "actors", "line"),
    [
        (2, 3, "too few CPUs (rollouts.actors=3): the run needs 2.25 CPU, there are 2. Lower --rollouts.actors to 2"),
        (
            1,
            1,
            "too few CPUs (rollouts.actors=1): the run needs 1.75 CPU, there are 1. "
            "Use a larger machine, or --runner inline",
        ),
    ],
)
def test_a_machine_too_small(cpus, actors, line):
    with pytest.raises(ResourceError) as raised:
        make_plan(config(actors), [Node(cpus, 0)])
    assert raised.value.lines == (line,)


def test_what_it_says_to_lower_to_does_fit():
    with pytest.raises(ResourceError) as raised:
        make_plan(config(50), [Node(6, 0), Node(2, 0)])
    most = int(raised.value.lines[0].rpartition(" ")[2])
    make_plan(config(most), [Node(6, 0), Node(2, 0)])
    with pytest.raises(ResourceError):
        make_plan(config(most + 1), [Node(6, 0), Node(2, 0)])


def test_the_learner_goes_where_the_gpu_is():
    plan = make_plan(config(), [Node(16, 0), Node(4, 1)])
    assert (plan.gpus, plan.device, plan.bundles[0]["GPU"]) == (1.0, "cuda", 1.0)
    plan = make_plan(config(device="cpu"), [Node(4, 1)])
    assert plan.device == "cpu"
    assert "GPU" not in plan.bundles[0]


@pytest.mark.parametrize("nodes", [[Node(8, 0)], [], [Node(8, 0), Node(1, 1)]])
def test_asked_for_cuda_it_never_falls_back(nodes):
    with pytest.raises(ResourceError):
        make_plan(config(device="cuda"), nodes)
    recorded = replace(config(), learner=LearnerConfig(cuda_graph=True))
    with pytest.raises(ResourceError):
        make_plan(recorded, nodes)
    assert make_plan(recorded, [Node(16, 0), Node(4, 1)]).device == "cuda"


def test_a_number_that_follows_the_cluster_needs_room_for_its_least():
    elastic = replace(config(), rollouts=RolloutsConfig(actors=ElasticConfig(min=2, max=40)))
    plan = make_plan(elastic, [Node(4, 0)])
    assert (plan.rollout_actors, plan.rollout_cpus) == (2, 1.0)
    assert any(line.startswith("rollouts    2 to 40 x 1 CPU: 16 lanes each") for line in plan.lines(elastic))
    with pytest.raises(ResourceError) as raised:
        make_plan(replace(config(), rollouts=RolloutsConfig(actors=ElasticConfig(min=3))), [Node(2, 0)])
    assert raised.value.lines == (
        "too few CPUs (rollouts.actors.min=3): the run needs 2.25 CPU, there are 2. Lower --rollouts.actors.min to 2",
    )


def sharded(shards, actors=2):
    return replace(config(actors), replay=ReplayConfig(shards=shards))


def test_every_shard_of_the_replay_is_an_actor():
    """The first stands beside the learner; the others and the rollouts wherever there is room."""
    plan = make_plan(sharded(3), [Node(2, 0), Node(1, 0)])
    # 1.5 beside each other leave .5 and 1, and two shards .5 and .5: one rollout of .5 on each.
    assert plan.bundles == [{"CPU": 1.5}, {"CPU": 0.25}, {"CPU": 0.25}, {"CPU": 0.5}, {"CPU": 0.5}]
    assert "replay      3 x 0.25 CPU: 100,000 rows" in plan.lines(sharded(3))


@pytest.mark.parametrize(
    ("shards", "actors", "line"),
    [
        (2, 2, "(rollouts.actors=2): the run needs 2.25 CPU, there are 2. Lower --rollouts.actors to 1"),
        (3, 1, "(rollouts.actors=1): the run needs 2.25 CPU, there are 2. Lower --replay.shards, use a larger machine, "
               "or --runner inline"),
        (9, 1, "(rollouts.actors=1): the run needs 3.75 CPU, there are 2. Lower --replay.shards, use a larger machine, "
               "or --runner inline"),
    ],
)  # fmt: skip
def test_a_machine_too_small_for_so_many_shards(shards, actors, line):
    with pytest.raises(ResourceError) as raised:
        make_plan(sharded(shards, actors), [Node(2, 0)])
    assert raised.value.lines == (f"too few CPUs {line}",)


def replicated(replicas, device="auto", actors=2):
    return replace(config(actors), learner=LearnerConfig(device=device, replicas=replicas))


def test_every_replica_of_the_learner_asks_for_what_the_learner_does():
    plan = make_plan(replicated(2), [Node(4, 0)])
    # 1.5 for the learner and those beside it and 1 for its replica leave 1.5: two rollouts of .5.
    assert plan.core_bundles == [{"CPU": 1.5}, {"CPU": 1.0}]
    assert plan.rollout_bundles == [{"CPU": 0.5}, {"CPU": 0.5}]
    assert plan.lines(replicated(2))[0] == (
        "learner     2 x (1 CPU), on cpu: teacher and 1 students, batches of 64 in 2 parts"
    )
    plan = make_plan(replicated(3), [Node(32, 1), Node(8, 2)])
    # Where most GPUs are the learner stands, though the other machine has more CPUs.
    assert plan.core_bundles == [{"CPU": 1.5, "GPU": 1.0}, *[{"CPU": 1.0, "GPU": 1.0}] * 2]
    assert "3 x (1 CPU + 1 GPU), on cuda" in plan.lines(replicated(3))[0]


@pytest.mark.parametrize("nodes", [[Node(16, 1)], [Node(16, 1), Node(16, 0.5)]])
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_for_one_of_two_replicas_is_too_few(nodes, device):
    with pytest.raises(ResourceError) as raised:
        make_plan(replicated(2, device), nodes)
    assert raised.value.lines == (
        "too few GPUs (learner.replicas=2): each of them learns on a GPU of its own, and one is there. "
        "Lower --learner.replicas to 1, or set --learner.device cpu",
    )
    assert make_plan(replicated(2, "cpu"), nodes).device == "cpu"


def test_a_machine_too_small_for_so_many_replicas():
    with pytest.raises(ResourceError) as raised:
        make_plan(replicated(4), [Node(4, 0)])
    assert raised.value.lines == (
        "too few CPUs (rollouts.actors=2): the run needs 5 CPU, there are 4. "
        "Lower --learner.replicas, use a larger machine, or --runner inline",
    )
    # A replica's CPU and GPU must be on one machine: here the second GPU's has no CPU left over.
    with pytest.raises(ResourceError):
        make_plan(replicated(2), [Node(4, 1), Node(0.5, 1)])


def labelled(count=1, actors=2, **where):
    return replace(sharded(count, actors), placement=PlacementConfig(**where))


SPOT, STABLE = {"market-type": "spot"}, {"market-type": "on-demand", "zone": "a"}


def test_labels_say_on_which_nodes_room_is_looked_for():
    nodes = [Node(64, 0, SPOT), Node(2, 0, STABLE), Node(2, 0)]
    config = labelled(learner=("market-type=on-demand",), rollouts=("market-type=spot",), actors=32)
    plan = make_plan(config, nodes)
    assert (plan.core_labels, plan.rollout_cpus) == ([("market-type=on-demand",)], 1.0)
    assert plan.lines(config)[-1] == "labels      learner on market-type=on-demand; rollouts on market-type=spot"
    assert plan.lines(config)[-2] == "in all      33.5 of 68 CPU, on 3 nodes"
    # The large node is no place for them now.
    away = labelled(learner=("market-type=on-demand",), rollouts=("market-type=!spot",), actors=11)
    with pytest.raises(ResourceError) as raised:
        make_plan(away, nodes)
    assert raised.value.lines == (
        "too few CPUs (rollouts.actors=11): the run needs 4.25 CPU, there are 68 on 3 nodes, and the learner needs 1.5 on "
        "one; 2.5 are left for rollouts on nodes with market-type=!spot. Lower --rollouts.actors to 10",
    )


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (
            {"learner": ("market-type=reserved",)},
            "no such node (placement.learner=market-type=reserved): of 2 nodes none has it. "
            "Theirs are market-type=on-demand, market-type=spot",
        ),
        (
            {"rollouts": ("market-type=spot", "zone=a")},
            "no such node (placement.rollouts=market-type=spot zone=a): of 2 nodes none has them all. "
            "Theirs are market-type=on-demand, market-type=spot, zone=a",
        ),
        (
            {"shards": ("disk=fast",)},
            "no such node (placement.shards=disk=fast): of 2 nodes none has it. "
            "Start nodes with `ray start --labels`, or leave it out",
        ),
    ],
)
def test_labels_that_no_node_has_are_told_with_those_that_there_are(where, line):
    with pytest.raises(ResourceError) as raised:
        make_plan(labelled(2, **where), [Node(8, 0, SPOT), Node(8, 0, STABLE)])
    assert raised.value.lines == (line,)


def test_a_gpu_on_a_node_without_the_label_is_none():
    config = replace(labelled(learner=("zone=a",)), learner=LearnerConfig(device="cuda"))
    with pytest.raises(ResourceError, match="no GPU"):
        make_plan(config, [Node(8, 1), Node(8, 0, STABLE)])
    assert make_plan(config, [Node(8, 1), Node(8, 1, STABLE)]).device == "cuda"


def test_shards_are_spread_and_replicas_kept_together():
    assert make_plan(sharded(3), [Node(8, 0)]).core_strategy == "SPREAD"
    assert make_plan(sharded(1), [Node(8, 0)]).core_strategy == "PACK"
    assert make_plan(replace(replicated(2), replay=ReplayConfig(shards=2)), [Node(8, 0)]).core_strategy == "PACK"


def test_what_a_run_would_like_to_have():
    plan = best_plan(labelled(3, actors=40, rollouts=("market-type=spot",)))
    assert plan.cpus == 1.5 + 2 * 0.25 + 40
    assert (plan.gpus, plan.placement.rollouts) == (0.0, ("market-type=spot",))
    on_gpus = replace(config(), learner=LearnerConfig(device="cuda", replicas=2))
    assert [bundle["GPU"] for bundle in best_plan(on_gpus).core_bundles] == [1.0, 1.0]


def test_the_plan_in_words():
    lines = make_plan(config(), [Node(2, 0)]).lines(config())
    assert lines[-1] == "in all      2 of 2 CPU"
    assert any("1 students" in line or "1 student" in line for line in lines)
    assert all(len(line) <= 100 for line in lines)


def test_shares_of_lanes_are_told():
    some = replace(config(), rollouts=RolloutsConfig(actors=2, envs_per_actor=5))
    assert any("2 x 0.25 CPU: 5 lanes each, 50% driven" in line for line in make_plan(some, [Node(2, 0)]).lines(some))


def test_gpus_are_called_as_whoever_started_us_calls_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus_here() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5e1f")
    assert gpus_here() == ["3", "GPU-5e1f"]
