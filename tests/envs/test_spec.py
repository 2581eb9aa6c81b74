import envs.odd_spaces  # noqa: F401
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete

from distributed_kd.config import EnvConfig
from distributed_kd.envs.spec import import_module, make, read_spec
from distributed_kd.errors import ConfigurationError
from distributed_kd.records import EnvSpec

VECTOR = Box(-1, 1, (3,), np.float32)


def spaces(observation=VECTOR, action=None):
    return EnvConfig("Spaces-v0", {"observation": observation, "action": action or Discrete(2)})


def refusal(config, call=read_spec):
    with pytest.raises(ConfigurationError) as caught:
        call(config)
    return caught.value


@pytest.mark.parametrize(
    ("config", "spec"),
    [
        (EnvConfig("CartPole-v1"), EnvSpec("CartPole-v1", (4,), "float32", 2)),
        (EnvConfig("Acrobot-v1"), EnvSpec("Acrobot-v1", (6,), "float32", 3)),
        (EnvConfig("Walk-v0", {"actions": 4, "start": -2}), EnvSpec("Walk-v0", (3,), "float32", 4, -2)),
        (spaces(Box(0, 255, (2, 3), np.uint8)), EnvSpec("Spaces-v0", (2, 3), "uint8", 2, scale=1 / 255)),
        (spaces(Discrete(3)), EnvSpec("Spaces-v0", (3,), "uint8", 2)),
        (EnvConfig("FrozenLake-v1"), EnvSpec("FrozenLake-v1", (16,), "uint8", 4)),
        (spaces(Box(-1, 1, (5,), np.float64)), EnvSpec("Spaces-v0", (5,), "float32", 2)),
    ],
    ids=lambda value: value.id if isinstance(value, EnvConfig) else "",
)
def test_what_is_read(config, spec):
    assert read_spec(config) == spec


@pytest.mark.parametrize(("id", "near"), [("CartPole-v9", "CartPole-v1"), ("Acrobatics-v1", "Acrobot-v1")])
def test_an_unknown_id_names_the_nearest(id, near):
    error = refusal(EnvConfig(id))
    assert error.lines == (f"unknown environment (env.id={id}): Gymnasium has no such id. Did you mean {near}?",)
    assert error.exit_code == 2


def test_an_id_near_to_none_gets_no_suggestion():
    message = str(refusal(EnvConfig("zzzzzzzzzz")))
    assert "Did you mean" not in message
    assert "module:Id-v0" in message


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (EnvConfig("Pendulum-v1"), "its actions are a Box[1]"),
        (spaces(action=MultiDiscrete([2, 2])), "its actions are a MultiDiscrete[2]"),
        (spaces(action=Discrete(1)), "it has a single action"),
        (spaces(Dict({"eye": VECTOR})), "they are a Dict"),
    ],
    ids=["box", "multi-discrete", "single", "dict"],
)
def test_what_cannot_be_played_is_named(config, why):
    error = refusal(config)
    assert len(error.lines) == 1
    assert error.lines[0].startswith(f"unsupported {'observations' if 'they' in why else 'actions'} (env.id={config.id})")
    assert f": {why}." in error.lines[0]


def test_all_that_is_wrong_is_told_at_once():
    lines = refusal(spaces(Dict({"eye": VECTOR}), VECTOR)).lines
    assert [line.split(" (")[0] for line in lines] == ["unsupported actions", "unsupported observations"]


def test_arguments_that_do_not_fit_are_one_line():
    error = refusal(EnvConfig("Walk-v0", {"colour": "red"}), make)
    assert len(error.lines) == 1
    assert error.lines[0].startswith("environment cannot be made (env.id=Walk-v0): TypeError")
    assert "colour" in error.lines[0]
    assert "\n" not in error.lines[0]


def test_arguments_reach_the_environment_and_extras_go_before_them():
    config = EnvConfig("Walk-v0", {"actions": 4, "scale": 2.0})
    env = make(config, actions=7)
    assert env.action_space.n == 7
    assert env.unwrapped.scale == 2.0
    assert config.kwargs == {"actions": 4, "scale": 2.0}


def test_a_module_before_the_colon_is_imported_first(tmp_path, monkeypatch):
    (tmp_path / "registers_on_import.py").write_text(
        "import gymnasium as gym\nfrom small_environments import Walk\ngym.register('Imported-v0', entry_point=Walk)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert read_spec(EnvConfig("registers_on_import:Imported-v0")).actions == 2


def test_a_module_that_fails_is_named_with_its_error(tmp_path, monkeypatch):
    (tmp_path / "fails_on_import.py").write_text("raise RuntimeError('half installed')\n")
    monkeypatch.syspath_prepend(tmp_path)
    message = str(refusal(EnvConfig("fails_on_import:Any-v0"), import_module))
    assert "importing fails_on_import failed with RuntimeError: half installed" in message
    assert "importing no_such_module failed" in str(refusal(EnvConfig("no_such_module:Any-v0")))


def sized(evaluation, **kwargs):
    return EnvConfig("Sized-v0", kwargs, evaluation_kwargs=evaluation)


def test_evaluation_has_arguments_of_its_own():
    config = sized({"actions": 4}, actions=3, start=-1)
    assert make(config).action_space == Discrete(3, start=-1)
    assert make(config, evaluation=True).action_space == Discrete(4, start=-1)
    assert make(config, evaluation=True, actions=9).action_space.n == 9
    assert config.kwargs == {"actions": 3, "start": -1}


@pytest.mark.parametrize(
    ("evaluation", "why"),
    [
        (
            {"actions": 4},
            "evaluation has observations [3] float32 and 4 actions, training observations [3] float32 and 2 actions",
        ),
        ({"shape": (2, 2)}, "evaluation has observations [2, 2] float32 and 2 actions, training"),
        ({"start": 1}, "evaluation has observations [3] float32 and 2 actions from 1, training"),
        ({"dtype": "uint8"}, "evaluation has observations [3] uint8 up to 1 and 2 actions, training"),
        ({"dtype": "uint8", "high": 16}, "evaluation has observations [3] uint8 up to 16 and 2 actions, training"),
    ],
)
def test_evaluation_must_look_as_training_does(evaluation, why):
    (line,) = refusal(sized(evaluation)).lines
    assert line.startswith(f"evaluation differs (env.evaluation_kwargs={evaluation}): {why}")


def test_evaluation_may_differ_where_it_does_not_show():
    assert read_spec(sized({"high": 5.0})) == read_spec(sized({}))
