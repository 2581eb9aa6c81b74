"""Every preset is a run file that holds, and tells what it is."""

import tomllib
from typing import get_args

import pytest

from distributed_kd import presets
from distributed_kd.errors import ConfigurationError
from distributed_kd.run_file import decode, encode
from distributed_kd.student_config import LossName

CONTROL = ["acrobot", "cartpole", "losses", "mountaincar"]
PIXELS = ["atari-breakout", "atari-pong"]
MINATAR = ["minatar-asterix", "minatar-breakout", "minatar-freeway", "minatar-seaquest", "minatar-space-invaders"]
OTHERS = ["digits", "highway", "lunarlander"]


def test_names():
    assert presets.names() == sorted([*CONTROL, *PIXELS, *MINATAR, *OTHERS])


@pytest.mark.parametrize("name", presets.names())
def test_each_holds_and_is_written_and_read_back_the_same(name):
    config = decode(presets.read(name))  # which raises where there is a problem
    assert decode(tomllib.loads(encode(config))) == config
    # Every student is smaller than its teacher, layer by layer, and all are of its kind.
    teacher = config.teacher.network
    for student in config.students.values():
        network = student.network
        assert network.kind == teacher.kind
        assert sum(network.units) < sum(teacher.units)
        assert sum(network.filters) < sum(teacher.filters) or not teacher.filters


@pytest.mark.parametrize("name", PIXELS)
def test_atari(name):
    config = decode(presets.read(name))
    assert config.env.id.startswith("ALE/")
    assert (config.env.frame_stack, config.env.protocol) == (4, "classic")
    assert (config.teacher.network.label, config.teacher.reward_clip) == ("nature 32 64 64, 512", 1.0)
    assert config.replay.prioritized


@pytest.mark.parametrize("name", MINATAR)
def test_minatar(name):
    config = decode(presets.read(name))
    assert config.env.id == f"MinAtar/{name.removeprefix('minatar-').title().replace('-', '')}-v1"
    assert config.teacher.network.label == "minatar 16, 128"
    assert [one.network.label for one in config.students.values()] == ["minatar 8, 64", "minatar 4, 32", "minatar 2, 16"]
    assert config.replay.prioritized


def test_digits_are_scored_on_others_than_it_learned_from():
    env = decode(presets.read("digits")).env
    assert env.kwargs["split"] == "train"
    assert env.evaluation_kwargs["split"] == "test"


@pytest.mark.parametrize("name", ["acrobot", "cartpole", "mountaincar"])
def test_a_preset_of_one_environment(name):
    config = decode(presets.read(name))
    assert list(config.students) == ["quarter", "fifteenth", "fiftieth", "smallest"]
    assert {(s.loss, s.temperature) for s in config.students.values()} == {("kl", "auto")}
    assert config.students["smallest"].network.hidden == (16, 16)


@pytest.mark.parametrize("name", presets.names())
def test_its_first_line_says_what_it_is(name):
    line = presets.describe(name)
    assert "#" not in line
    assert 40 <= len(line) <= 140
    # The environment is named as Gymnasium does, or as people do: none but its own.
    words = decode(presets.read(name)).env.id.replace("ALE/", "Atari ").replace("distributed_kd/", "").lower()
    first = words.replace("-fast", "").partition("-v")[0].replace("/", " ").split()
    assert all(word in line.lower().replace(" ", "") or word in line.lower() for word in first)


def test_cartpole():
    config = decode(presets.read("cartpole"))
    assert (config.env.id, config.stop.env_steps, config.teacher.learning_rate) == ("CartPole-v1", 150_000, 8e-4)
    assert (config.replay.batch_size, config.replay.samples_per_insert, config.replay.warmup) == (128, 16.0, 1_000)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cartpol", "unknown preset (preset='cartpol'): there is none of this name. Did you mean cartpole?"),
        (
            "../x",
            f"unknown preset (preset='../x'): there is none of this name. The presets are {', '.join(presets.names())}",
        ),
    ],
)
def test_an_unknown_preset_suggests_the_nearest(name, line):
    for ask in (presets.read, presets.describe):
        with pytest.raises(ConfigurationError) as raised:
            ask(name)
        assert raised.value.lines == (line,)


def test_losses_compares_one_student_for_each_way_of_distilling():
    students = decode(presets.read("losses")).students
    assert len(students) == 17
    # Each is called by what is mapped to it, alone or beside kl, and all else is alike.
    for name, student in students.items():
        assert student.label in (name, f"kl+{name}")
        assert (student.network.hidden, student.temperature, student.learning_rate) == ((32, 32), "auto", 1e-3)
    # attention is left out: it compares maps of an image, and there is none here.
    used = {term.name for student in students.values() for term in student.terms}
    assert used == set(get_args(LossName)) - {"attention"}
