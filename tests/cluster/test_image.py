"""The image: the tested versions, no rights over the machine, and nothing in it that is not named. It is not built here."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = re.sub(r"\\\n", " ", (ROOT / "cluster" / "Dockerfile").read_text()).splitlines()
STEPS = [line.split(None, 1) for line in LINES if line and not line.startswith("#")]


def told(word):
    return [rest for step, rest in STEPS if step == word]


def test_its_versions_are_the_tested_ones():
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    installs = [rest for rest in told("RUN") if "pip install" in rest]
    assert all("--constraint" in rest for rest in installs)
    assert re.findall(r"\btorch==[\d.]+", installs[0]) == [line for line in pinned if line.startswith("torch==")]
    (base,) = told("FROM")
    major, minor = re.match(r"python:(\d+)\.(\d+)-", base).groups()
    assert (int(major), int(minor)) >= (3, 11)


def test_it_runs_without_rights_and_says_where_home_is():
    words = [step for step, _ in STEPS]
    assert told("USER") == ["ray"] and "RUN" not in words[words.index("USER") :]
    (environment,) = told("ENV")
    for word in ("HOME=/home/ray", "RAY_AUTH_MODE=token", "RAY_worker_niceness=0"):
        assert word in environment.split()


def test_what_it_copies_is_there_and_nothing_else_is_sent():
    copied = {word for rest in told("COPY") for word in rest.split()[:-1]}
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == {word.removeprefix("./") for word in copied}
    assert all((ROOT / word).exists() for word in copied)


def test_its_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = (rest for rest in told("ARG") if rest.startswith("EXTRAS="))
    assert set(named.removeprefix("EXTRAS=").split(",")) <= set(extras)
