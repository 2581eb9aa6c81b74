"""Files for Ray's cluster launcher: Ray's own validation, and what each must say of tokens, bounds and machines."""

import gzip
import importlib.util
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

LAUNCHER = Path(__file__).parents[2] / "cluster" / "launcher"
FILES = sorted(LAUNCHER.glob("*.yaml"))


def read(name):
    return yaml.safe_load((LAUNCHER / name).read_text())


def prepared(config):
    """As `ray up` makes it, up to where it asks the cloud; raises where Ray would refuse it."""
    config = prepare_config(config)
    validate_config(config)
    return config


def test_there_is_one_for_each_place():
    assert [path.stem for path in FILES] == ["aws", "gcp", "local"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestEach:
    def test_ray_accepts_it(self, path):
        prepared(read(path.name))

    def test_ray_would_refuse_a_wrong_word(self, path):
        with pytest.raises(Exception, match="idle_minutes"):
            prepared({**read(path.name), "idle_minutes": 5})

    def test_every_node_starts_with_the_token_and_with_rollouts_as_nice_as_the_learner(self, path):
        config = read(path.name)
        assert config["file_mounts"]["~/.ray/cluster_token"] == "~/.ray/cluster_token"
        for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
            (start,) = (command for command in commands if "ray start" in command)
            before = start.partition("ray start")[0]
            for word in ("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH=~/.ray/cluster_token", "RAY_worker_niceness=0"):
                assert re.search(rf"export .*{re.escape(word)}\b", before), word

    def test_the_dashboard_is_for_the_head_alone(self, path):
        config = read(path.name)
        (head,) = (command for command in config["head_start_ray_commands"] if "ray start" in command)
        assert "--dashboard-host=127.0.0.1" in head and "0.0.0.0" not in path.read_text()
        assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head

    def test_it_is_short(self, path):
        assert len(path.read_text().splitlines()) <= 120


@pytest.mark.parametrize("name", ["aws.yaml", "gcp.yaml"])
class TestClouds:
    def test_one_node_for_the_learner_has_a_gpu_and_room_for_what_stands_beside_it(self, name):
        config = prepared(read(name))
        with_gpu = {kind: one for kind, one in config["available_node_types"].items() if one["resources"].get("GPU")}
        ((kind, one),) = with_gpu.items()
        # The learner, the replay, the evaluation and two rollouts to begin with.
        assert one["resources"]["CPU"] >= 1.5 + 2
        assert kind == config["head_node_type"] or one["min_workers"] == one["max_workers"] == 1

    def test_rollouts_are_on_spot_machines_from_none_to_a_bound(self, name):
        types = prepared(read(name))["available_node_types"]
        spot = [one for one in types.values() if "spot" in json.dumps(one["node_config"]).lower()]
        assert spot == [types["rollouts"]]
        assert types["rollouts"]["min_workers"] == 0 < types["rollouts"]["max_workers"]

    def test_the_bound_of_all_has_room_for_each_kinds(self, name):
        config = prepared(read(name))
        workers = {kind: one for kind, one in config["available_node_types"].items() if kind != config["head_node_type"]}
        assert config["max_workers"] == sum(one["max_workers"] for one in workers.values())


def shipped(package, *path):
    """A file inside an installed package, read without importing that; skips where it is not installed."""
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    return Path(found.origin).parent.joinpath(*path)


def test_machines_are_described_as_awss_interface_has_them():
    """Each node_config is handed to EC2's RunInstances."""
    newest = max(shipped("botocore", "data", "ec2").iterdir())
    service = json.loads(gzip.decompress((newest / "service-2.json.gz").read_bytes()))
    for kind, one in read("aws.yaml")["available_node_types"].items():
        assert list(strays(one["node_config"], "RunInstancesRequest", service["shapes"])) == [], kind


def strays(value, shape, shapes):
    """Every field of a value that a shape of AWS's does not have, or that is of another type."""
    kind = shapes[shape]["type"]
    if kind == "structure":
        for key, one in value.items():
            member = shapes[shape]["members"].get(key)
            yield from [key] if member is None else strays(one, member["shape"], shapes)
    elif kind == "list":
        for one in value:
            yield from strays(one, shapes[shape]["member"]["shape"], shapes)
    elif "enum" in shapes[shape] and value not in shapes[shape]["enum"]:
        yield f"{value} in {shape}"
    elif not isinstance(value, {"string": str, "integer": int, "boolean": bool}[kind]):
        yield f"{value!r} in {shape}"


def test_machines_are_described_as_googles_interface_has_them():
    """Each node_config is handed to Compute Engine's instances.insert."""
    document = json.loads(shipped("googleapiclient", "discovery_cache", "documents", "compute.v1.json").read_text())
    schema = {"$ref": "#/$defs/Instance", "$defs": {name: closed(one) for name, one in document["schemas"].items()}}
    for one in read("gcp.yaml")["available_node_types"].values():
        jsonschema.Draft202012Validator(schema).validate(one["node_config"])


def closed(schema):
    """A schema of Google's as JSON Schema that allows no further field."""
    if "$ref" in schema:
        return {"$ref": f"#/$defs/{schema['$ref']}"}
    if "properties" in schema:
        properties = {key: closed(one) for key, one in schema["properties"].items()}
        return {"type": "object", "properties": properties, "additionalProperties": False}
    kept = {key: closed(schema[key]) for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)}
    if "enum" in schema:
        return {"enum": schema["enum"]}
    if schema.get("format") in ("int64", "uint64"):  # these are texts there, and numbers are taken too
        return {"type": ["integer", "string"]}
    return {**kept, "type": schema["type"]} if schema.get("type") != "any" else {}
