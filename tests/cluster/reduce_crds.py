"""KubeRay's published schemas, reduced to what our manifests use; the whole of them is two megabytes.

    python tests/cluster/reduce_crds.py v1.7.0 ray.io_rayclusters.yaml ray.io_rayjobs.yaml

The two files are in ray-operator/config/crd/bases of github.com/ray-project/kuberay at that tag. Of every object that a
manifest of ours fills, all fields stay, with their types; objects that none fills are allowed to nobody (`false`): for a
manifest that fills more, run this again. It writes kuberay_schema.json beside this file.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

MANIFESTS = Path(__file__).parents[2] / "cluster" / "kuberay"
REDUCED = Path(__file__).with_name("kuberay_schema.json")
KEPT = ("type", "enum", "required", "minimum", "maximum", "minItems", "pattern", "anyOf", "format")


def plain(schema: dict) -> dict:
    """Without descriptions, defaults and rules in languages of Kubernetes' own."""
    kept = {key: schema[key] for key in KEPT if key in schema}
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if "properties" in schema:
        kept["properties"] = {name: plain(one) for name, one in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            kept[key] = plain(schema[key])
    return kept


def text(schema: dict) -> str:
    return json.dumps(schema, sort_keys=True)


def filled(schema: dict, value: object) -> Iterator[str]:
    """Every schema of an object that a manifest fills. One that stands in several places is one: all pods are alike."""
    if isinstance(value, dict):
        yield text(schema)
        for name, one in value.items():
            below = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            if below:
                yield from filled(below, one)
    elif isinstance(value, list):
        for one in value:
            yield from filled(schema.get("items", {}), one)


def reduced(key: str, schema: dict, used: set[str], shared: dict[str, str], definitions: dict[str, object]) -> object:
    """`key` names the object that a schema is of."""
    if schema.get("type") == "array":
        items = reduced(key, schema.get("items", {}), used, shared, definitions)
        return items and {**schema, "items": items}
    if schema.get("type") != "object":
        return schema
    whole = text(schema)
    if whole not in used:
        return False
    if whole not in shared:
        shared[whole] = name = f"{key}-{len(shared)}"
        body = dict(schema)
        if "properties" in schema:
            properties = {
                below: reduced(below, one, used, shared, definitions) for below, one in sorted(schema["properties"].items())
            }
            body |= {"properties": properties, "additionalProperties": False}
        definitions[name] = body
    return {"$ref": f"#/$defs/{shared[whole]}"}


def main(version: str, *paths: str) -> None:
    schemas = {}
    for path in paths:
        crd = yaml.safe_load(Path(path).read_text())["spec"]
        (served,) = (one for one in crd["versions"] if one["name"] == "v1")
        whole = plain(served["schema"]["openAPIV3Schema"])
        # Kubernetes checks metadata itself, and a status is nobody's to write.
        schemas[crd["names"]["kind"]] = whole["properties"]["spec"]
    used, shared, definitions = set(), {}, {}
    for path in sorted(MANIFESTS.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] in schemas:
                used |= set(filled(schemas[document["kind"]], document["spec"]))
    kinds = {kind: reduced(kind, schema, used, shared, definitions) for kind, schema in schemas.items()}
    lines = [f"    {json.dumps(name)}: {json.dumps(body)}" for name, body in definitions.items()]
    REDUCED.write_text(
        "\n".join(
            [
                f'{{\n  "kuberay": "{version}",',
                f'  "kinds": {json.dumps(kinds)},',
                '  "$defs": {',
                ",\n".join(lines),
                "  }",
                "}\n",
            ]
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
