"""A run's figures among Ray's metrics, as Prometheus fetches them."""

import os
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import ClassVar

import pytest

from distributed_kd.training import gauges
from distributed_kd.training.gauges import SHOWN, Gauges

pytestmark = pytest.mark.timeout(120)
DEADLINE = 60.0
LINE = re.compile(r"(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>\S+)")


@pytest.fixture
def port() -> Iterator[int]:
    """Of a Ray that tells its metrics twice a second."""
    import ray

    pytest.importorskip("aiohttp_cors", reason="Ray tells its metrics where it is the whole one, ray[default]")
    os.environ.setdefault("RAY_AUTH_TOKEN", "0" * 64)
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        _system_config={"metrics_report_interval_ms": 500},
    )
    yield ray.nodes()[0]["MetricsExportPort"]
    ray.shutdown()


def exported(port: int, run: str) -> dict[tuple[str, str], float]:
    """(name, policy or part) to value, of one run."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    told = {}
    for found in LINE.finditer(text):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', found["labels"]))
        if labels.get("run") == run:
            told[found["name"], labels.get("policy", labels.get("part", ""))] = float(found["value"])
    return told


class Noted:
    """Stands in for Ray's gauge, with its rule that the labels are all given and no others."""

    told: ClassVar[dict] = {}

    def __init__(self, name, description, tag_keys):
        self.name, self.keys, self.labels = name, tag_keys, {}

    def set_default_tags(self, labels):
        self.labels = labels
        return self

    def set(self, value, tags):
        labels = {**self.labels, **tags}
        assert set(labels) == set(self.keys)
        self.told[self.name, *labels.values()] = value


def test_what_is_in_a_line_becomes_gauges_with_labels(monkeypatch):
    monkeypatch.setattr(Noted, "told", {})
    monkeypatch.setattr(gauges, "Gauge", Noted)
    numbers = {"charts/memory_learner_mb": 2.0, "losses/tiny.1/loss": 0.5, "losses/tiny.1/temperature": 4.0}
    made = Gauges("one")
    for steps in (100, 200):
        made.log(steps, 10, numbers)
    assert Noted.told == {
        ("distributed_kd_env_steps", "one"): 200,
        ("distributed_kd_updates", "one"): 10,
        ("distributed_kd_memory_bytes", "one", "learner"): 2.0 * 2**20,
        ("distributed_kd_loss", "one", "tiny.1"): 0.5,
    }


def test_two_runs_figures_are_there_with_their_labels(port):
    one, other = Gauges("one"), Gauges("other")
    numbers = {
        "charts/env_steps_per_second": 12.5,
        "charts/memory_learner_mb": 2.0,
        "restarts/rollout": 3,
        "evaluation/tiny.1/normalised_score": 0.75,
        "evaluation/teacher/normalised_score": 1.0,
        "losses/tiny.1/temperature": 4.0,
    }
    expected = {
        ("ray_distributed_kd_env_steps", ""): 100.0,
        ("ray_distributed_kd_updates", ""): 10.0,
        ("ray_distributed_kd_env_steps_per_second", ""): 12.5,
        ("ray_distributed_kd_memory_bytes", "learner"): 2.0 * 2**20,
        ("ray_distributed_kd_restarts", "rollout"): 3.0,
        ("ray_distributed_kd_normalised_score", "tiny.1"): 0.75,
        ("ray_distributed_kd_normalised_score", "teacher"): 1.0,
    }
    ends = time.monotonic() + DEADLINE
    while (told := exported(port, "one")) != expected:
        assert time.monotonic() < ends, told
        one.log(100, 10, numbers)
        other.log(7, 0, {})
        time.sleep(0.2)
    assert exported(port, "other")["ray_distributed_kd_env_steps", ""] == 7.0


def test_every_pattern_is_one_of_a_line_of_metrics_and_every_name_stands_once():
    assert len({one.name for one in SHOWN}) == len(SHOWN)
    for one in SHOWN:
        assert re.compile(one.path).groups <= 1 and re.fullmatch(r"[a-z_]+", one.name) and one.about
