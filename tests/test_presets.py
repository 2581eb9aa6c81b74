"""Every preset is a run file that holds, and tells what it is."""

from typing import get_args

import pytest

from distributed_kd import presets
from distributed_kd.errors import ConfigurationError
from distributed_kd.run_file import decode
from distributed_kd.student_config import LossName


def test_names():
    assert presets.names() == ["acrobot", "cartpole", "losses", "mountaincar"]


@pytest.mark.parametrize("name", ["acrobot", "cartpole", "mountaincar"])
def test_a_preset_of_one_environment(name):
    config = decode(presets.read(name))
    assert list(config.students) == ["quarter", "fifteenth", "fiftieth", "smallest"]
    assert {(s.loss, s.temperature) for s in config.students.values()} == {("kl", "auto")}
    assert config.students["smallest"].network.hidden == (16, 16)


@pytest.mark.parametrize("name", presets.names())
def test_its_first_line_says_what_it_is(name):
    line = presets.describe(name)
    assert line.startswith(decode(presets.read(name)).env.id)
    assert "#" not in line
    assert len(line) <= 120


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
            "unknown preset (preset='../x'): there is none of this name. "
            "The presets are acrobot, cartpole, losses, mountaincar",
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
