"""Manifests for KubeRay: field by field against its published schema, and the rules that its operator adds to that."""

import json
import shlex
from pathlib import Path

import jsonschema
import pytest
import yaml

from distributed_kd import presets
from distributed_kd.command_words import split
from distributed_kd.flags import parse_run

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "cluster" / "kuberay"
SCHEMA = json.loads(Path(__file__).with_name("kuberay_schema.json").read_text())
"""Made by reduce_crds.py from the release that it names"""


def documents(name):
    return {one["kind"]: one for one in yaml.safe_load_all((MANIFESTS / name).read_text())}


def check(kind, spec):
    schema = {**SCHEMA["kinds"][kind], "$defs": SCHEMA["$defs"]}
    jsonschema.Draft202012Validator(schema).validate(spec)


def cluster(name):
    found = documents(name)
    return found["RayCluster"]["spec"] if "RayCluster" in found else found["RayJob"]["spec"]["rayClusterSpec"]


def groups(name):
    """The head's and every group's, by name."""
    spec = cluster(name)
    return {"head": spec["headGroupSpec"], **{one["groupName"]: one for one in spec["workerGroupSpecs"]}}


def container(group):
    (only,) = group["template"]["spec"]["containers"]
    return only


BOTH = pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])


@BOTH
def test_every_field_is_one_of_kuberays(name):
    kinds = documents(name)
    assert len(set(kinds) & set(SCHEMA["kinds"])) == 1
    for kind in set(kinds) & set(SCHEMA["kinds"]):
        assert kinds[kind]["apiVersion"] == "ray.io/v1"
        check(kind, kinds[kind]["spec"])


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (lambda spec: spec, "unexpected"),
        (lambda spec: spec["workerGroupSpecs"][0], "unexpected"),
        (lambda spec: container(spec["headGroupSpec"]), "unexpected"),
        (lambda spec: container(spec["headGroupSpec"])["resources"]["limits"], "not valid under any"),
    ],
)
def test_a_field_that_is_not_is_told(where, said):
    spec = cluster("raycluster.yaml")
    where(spec)["gpus"] = [1]
    with pytest.raises(jsonschema.ValidationError, match=said):
        check("RayCluster", spec)


def test_both_have_the_same_cluster():
    assert cluster("raycluster.yaml") == cluster("rayjob.yaml")


@BOTH
def test_the_operators_own_rules(name):
    spec = cluster(name)
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    # Without the version the operator refuses tokens, and with another one its health checks may be wrong.
    assert spec["authOptions"] == {"mode": "token"} and spec["rayVersion"] == tested["ray"]
    assert spec["enableInTreeAutoscaling"] is True and spec["autoscalerOptions"]["version"] == "v2"
    for one in spec["workerGroupSpecs"]:
        assert 0 <= one["minReplicas"] <= one["replicas"] <= one["maxReplicas"]
    for one in groups(name).values():
        assert "resources" not in one and "restartPolicy" not in one["template"]["spec"]  # v2 allows no other than Never


@BOTH
def test_the_learner_has_a_gpu_from_the_start_and_rollouts_come_and_go(name):
    learner, rollouts = groups(name)["learner"], groups(name)["rollouts"]
    resources = container(learner)["resources"]
    assert resources["limits"] == resources["requests"] and resources["limits"]["nvidia.com/gpu"] == "1"
    assert float(resources["limits"]["cpu"]) >= 1.5 + 2  # with the replay, the evaluation and the first two rollouts
    assert learner["minReplicas"] == learner["maxReplicas"] == 1
    assert rollouts["minReplicas"] == 0 < rollouts["maxReplicas"]
    assert "nvidia.com/gpu" not in container(rollouts)["resources"]["limits"]


@BOTH
def test_prometheus_finds_every_pod(name):
    for one in groups(name).values():
        annotations = one["template"]["metadata"]["annotations"]
        ports = {port["name"]: port["containerPort"] for port in container(one)["ports"]}
        assert annotations["prometheus.io/scrape"] == "true" and annotations["prometheus.io/path"] == "/metrics"
        assert annotations["prometheus.io/port"] == str(ports["metrics"])


@BOTH
def test_every_pod_is_of_one_image_and_of_no_rights(name):
    assert len({container(one)["image"] for one in groups(name).values()}) == 1
    for one in groups(name).values():
        assert one["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
        assert {"name": "RAY_worker_niceness", "value": "0"} in container(one)["env"]


@BOTH
def test_runs_are_kept_by_a_claim_of_the_same_file(name):
    claim = documents(name)["PersistentVolumeClaim"]
    assert claim["spec"].keys() == {"accessModes", "resources"} and claim["apiVersion"] == "v1"
    head = groups(name)["head"]["template"]["spec"]
    (volume,) = head["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert {"name": volume["name"], "mountPath": "/runs"} in head["containers"][0]["volumeMounts"]


def test_the_job_is_one_that_the_program_knows_and_leaves_nothing_running():
    spec = documents("rayjob.yaml")["RayJob"]["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    script, folder, preset, *words = shlex.split(spec["entrypoint"])
    assert (ROOT / "cluster" / script).is_file() and folder.startswith("/runs/")
    options, flags = split(words, "train")
    assert options.address == "auto"
    assert parse_run(flags, presets.read(preset), "train").rollouts.most == 64
