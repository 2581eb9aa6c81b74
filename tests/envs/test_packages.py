import os
import subprocess
import sys

import gymnasium as gym
import pytest
from small_environments import Walk

from distributed_kd.config import EnvConfig
from distributed_kd.envs.packages import DIGITS, package_of
from distributed_kd.envs.spec import make, read_spec
from distributed_kd.errors import ConfigurationError

CASES = [
    ("ALE/Pong-v5", "ale_py", "ALE/Pong needs ale-py", "atari"),
    ("BreakoutNoFrameskip-v4", "ale_py", "BreakoutNoFrameskip needs ale-py", "atari"),
    ("MinAtar/Breakout-v1", "minatar", "MinAtar/Breakout needs MinAtar", "minatar"),
    ("LunarLander-v3", "Box2D", "LunarLander needs Box2D", "box2d"),
    ("CarRacing-v3", "Box2D", "CarRacing needs Box2D", "box2d"),
    ("highway-fast-v0", "highway_env", "highway-fast needs highway-env", "driving"),
    ("u-turn-v0", "highway_env", "u-turn needs highway-env", "driving"),
    (DIGITS, "sklearn", "distributed_kd/Digits needs scikit-learn", "digits"),
]


def forget(monkeypatch, name):
    """As in a process that has not met this id, where the registry belongs to nobody else."""
    if not name.startswith(("LunarLander", "CarRacing")):
        monkeypatch.delitem(gym.registry, name, raising=False)


@pytest.mark.parametrize("call", [make, read_spec])
@pytest.mark.parametrize(("id", "module", "why", "extra"), CASES, ids=[case[0] for case in CASES])
def test_a_package_that_is_missing_is_named_with_its_extra(id, module, why, extra, call, monkeypatch):
    forget(monkeypatch, id)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as caught:
        call(EnvConfig(id))
    fix = f'Install it: pip install "distributed-kd[{extra}]"'
    assert caught.value.lines == (f"missing package (env.id={id}): {why}, which is not installed. {fix}",)
    assert caught.value.exit_code == 2


def test_a_package_that_fails_to_import_says_how(monkeypatch, tmp_path):
    (tmp_path / "Box2D.py").write_text("import no_such_library")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "Box2D", raising=False)
    with pytest.raises(ConfigurationError) as caught:
        make(EnvConfig("LunarLander-v3"))
    why = "LunarLander needs Box2D, which cannot be imported (No module named 'no_such_library')"
    assert f"(env.id=LunarLander-v3): {why}. Install it" in str(caught.value)


def test_an_environment_of_the_users_own_keeps_its_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "highway_env", None)
    monkeypatch.setitem(gym.registry, "exit-v7", gym.envs.registration.EnvSpec("exit-v7", entry_point=Walk))
    assert package_of("exit-v7") is None
    assert read_spec(EnvConfig("exit-v7")).observation_shape == (3,)


@pytest.mark.parametrize(
    ("id", "module", "near"),
    [
        ("ALE/Pongg-v5", "ale_py", "ALE/Pong-v5"),
        ("MinAtar/Breakuot-v1", "minatar", "MinAtar/Breakout-v1"),
        ("roundabot-v0", None, ""),
    ],
)
def test_an_unknown_id_of_a_known_package_names_the_nearest(id, module, near):
    if module:
        pytest.importorskip(module)
    with pytest.raises(ConfigurationError) as caught:
        make(EnvConfig(id))
    assert str(caught.value).startswith(f"unknown environment (env.id={id}): Gymnasium has no such id.")
    assert near in str(caught.value)


PLAYED = {
    "LunarLander-v3": ("Box2D", {}, (8,), 4),
    "CarRacing-v3": ("Box2D", {"continuous": False}, (96, 96, 3), 5),
    "highway-v0": ("highway_env", {}, (5, 5), 5),
    "MinAtar/Breakout-v0": ("minatar", {}, (10, 10, 4), 6),
}


@pytest.mark.parametrize("id", PLAYED)
def test_each_package_is_played(id):
    module, kwargs, shape, actions = PLAYED[id]
    pytest.importorskip(module)
    config = EnvConfig(id, kwargs)
    spec = read_spec(config)
    assert (spec.observation_shape, spec.actions) == (shape, actions)
    env = make(config)
    for seen in (env.reset(seed=0)[0], env.step(1)[0]):
        assert seen.shape == shape
        assert seen in env.observation_space
    env.close()


def test_nothing_is_imported_that_the_run_does_not_play():
    program = (
        "import sys; from distributed_kd.config import EnvConfig; from distributed_kd.envs.spec import read_spec\n"
        "import distributed_kd.envs.lanes, distributed_kd.envs.digits; read_spec(EnvConfig('CartPole-v1'))\n"
        "print(sorted({'ale_py', 'minatar', 'Box2D', 'highway_env', 'sklearn', 'pygame'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=True)
    assert done.stdout == "[]\n"


def test_atari_greets_nobody():
    pytest.importorskip("ale_py")
    program = (
        "from distributed_kd.config import EnvConfig; from distributed_kd.envs.spec import read_spec\n"
        "print(read_spec(EnvConfig('ALE/Pong-v5')).actions)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=True)
    assert (done.stdout, done.stderr) == ("18\n", "")
