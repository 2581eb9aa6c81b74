"""The dashboard for Grafana: it shows every gauge that there is and no other, by the labels that each has."""

import json
import re
from pathlib import Path

from distributed_kd.training.gauges import PREFIX, SHOWN

DASHBOARD = json.loads((Path(__file__).parents[2] / "cluster" / "grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
LABELS = {one.name: ("run", *re.compile(one.path).groupindex) for one in SHOWN}
NAME = re.compile(rf"\bray_{PREFIX}(\w+)")


def queries():
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_what_it_shows_is_what_there_is():
    named = {name for query in queries() for name in NAME.findall(query)}
    assert named == set(LABELS)


def test_each_is_picked_and_told_apart_by_its_labels():
    for query in queries():
        by, name, picked = re.fullmatch(rf"max by \((.+)\) \(ray_{PREFIX}(\w+)\{{(.+)\}}\)", query).groups()
        assert tuple(by.split(", ")) == LABELS[name], query
        assert [one for one in ("run", "policy") if f'{one}=~"${one}"' in picked.split(",")] == [
            one for one in ("run", "policy") if one in LABELS[name]
        ], query


def test_its_variables_ask_for_labels_of_gauges_that_have_them():
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"source", "run", "policy"} and variables["source"]["type"] == "datasource"
    for label in ("run", "policy"):
        (name,) = NAME.findall(variables[label]["definition"])
        assert label in LABELS[name] and variables[label]["multi"] and variables[label]["includeAll"]
        assert variables[label]["definition"] == variables[label]["query"]["query"]


def test_every_panel_has_a_unit_and_a_place_of_its_own():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}


def test_units_are_those_of_the_names():
    units = {
        name: panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS for name in NAME.findall(str(panel["targets"]))
    }
    for ending, unit in {"_seconds": "s", "_bytes": "bytes", "_share": "percentunit"}.items():
        found = {name: units[name] for name in units if name.endswith(ending)}
        assert found and set(found.values()) == {unit}, found
