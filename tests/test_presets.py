"""Every preset is a run file that holds, and tells what it is."""

import pytest

from distributed_kd import presets
from distributed_kd.errors import ConfigurationError
from distributed_kd.run_file import decode


def test_names():
    assert presets.names() == ["acrobot", "cartpole", "mountaincar"]


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_is_a_valid_run(name):
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
            "unknown preset (preset='../x'): there is none of this name. The presets are acrobot, cartpole, mountaincar",
        ),
    ],
)
def test_an_unknown_preset_suggests_the_nearest(name, line):
    for ask in (presets.read, presets.describe):
        with pytest.raises(ConfigurationError) as raised:
            ask(name)
        assert raised.value.lines == (line,)
