"""What the texts under cluster/ tell people to type: words that the program takes, files and anchors that are there."""

import re
import shlex
from pathlib import Path

import pytest

from distributed_kd import presets
from distributed_kd.command_words import split
from distributed_kd.flags import parse_run

CLUSTER = Path(__file__).parents[2] / "cluster"
README = (CLUSTER / "README.md").read_text()
TRAINS = re.compile(
    r"(?:launch\.py train|cluster/slurm\.sh|train_or_resume\.sh /\S+|two_nodes_one_machine\.sh --out \S+) +([a-z].*)"
)


def trained():
    """The words behind every command that trains, of the README and of the comments in the files."""
    texts = [README, *(path.read_text() for path in CLUSTER.rglob("*") if path.suffix in (".sh", ".yaml"))]
    lines = "\n".join(texts).replace("\\\n", " ").splitlines()
    return sorted({found.group(1) for line in lines if (found := TRAINS.search(line))})


def test_there_are_such():
    assert len(trained()) >= 6


@pytest.mark.parametrize("words", trained())
def test_the_program_takes_them(words):
    preset, *rest = shlex.split(words, comments=True)
    _, flags = split(rest, "train")
    parse_run(flags, presets.read(preset), "train")


def test_links_lead_somewhere():
    headings = re.findall(r"^#+ (.+)$", README, re.M)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert link.removeprefix("#") in anchors if link.startswith("#") else (CLUSTER / link).exists(), link


def test_no_file_is_long():
    for path in CLUSTER.rglob("*"):
        assert path.is_dir() or len(path.read_text().splitlines()) <= 300, path
