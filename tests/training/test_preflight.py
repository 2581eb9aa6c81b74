"""What is checked before anything starts: the environment, the device, the address.

The lines that users see are in the table of `program/test_bad_input.py`.
"""

import socket
from dataclasses import replace

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from journals import CONFIG, SPEC

from distributed_kd.config import EnvConfig, RunConfig
from distributed_kd.data_config import BehaviourConfig, RolloutsConfig
from distributed_kd.errors import ConfigurationError, RayError
from distributed_kd.network_config import NetworkConfig
from distributed_kd.student_config import LossConfig, StudentConfig
from distributed_kd.training.parts import Parts
from distributed_kd.training.preflight import check_address, check_device, check_networks, check_run

BYTES = Box(0, 255, (8, 8, 3), np.uint8)


def test_an_environment_is_made_once_and_read():
    spec = check_run(CONFIG, allow_env_import=False)
    assert (spec.id, spec.observation_shape, spec.actions) == ("CartPole-v1", (4,), 2)


def test_a_module_may_be_imported_with_leave():
    config = RunConfig(env=EnvConfig("small_environments:Walk-v0"), students={"tiny": StudentConfig()})
    assert check_run(config, allow_env_import=True).observation_shape == (3,)
    with pytest.raises(ConfigurationError, match="a module would be imported"):
        check_run(config, allow_env_import=False)


@pytest.mark.parametrize("key", ["teacher.network", "students.big.network", "students.small.network"])
def test_a_network_of_ones_own_is_imported_with_leave(key):
    network, (owner, *name, _) = NetworkConfig("nobody:net"), key.split(".")
    if owner == "teacher":
        config = replace(CONFIG, teacher=replace(CONFIG.teacher, network=network))
    else:
        changed = {name[0]: replace(CONFIG.students[name[0]], network=network)}
        config = replace(CONFIG, students={**CONFIG.students, **changed})
    assert list(config.problems()) == []
    with pytest.raises(ConfigurationError) as error:
        check_run(config, allow_env_import=False)
    assert error.value.lines == (
        f"a module would be imported ({key}.kind=nobody:net): importing nobody runs its code. "
        "If you trust it, add --allow-env-import",
    )
    assert check_run(config, allow_env_import=True) == SPEC, "the module itself is tried when its network is built"


def test_all_that_would_be_imported_is_told_at_once():
    teacher = replace(CONFIG.teacher, network=NetworkConfig("nobody:net"))
    config = replace(CONFIG, env=EnvConfig("nowhere:Id-v0"), teacher=teacher)
    with pytest.raises(ConfigurationError) as error:
        check_run(config, allow_env_import=False)
    assert [line.partition(":")[0] for line in error.value.lines] == [
        "a module would be imported (env.id=nowhere",
        "a module would be imported (teacher.network.kind=nobody",
    ]


def test_what_is_normalised_is_on_the_scale_of_one_already():
    env = EnvConfig("Spaces-v0", {"observation": BYTES, "action": Discrete(3)})
    scales = [check_run(replace(CONFIG, env=replace(env, normalise=on)), False).scale for on in (False, True)]
    assert scales == [pytest.approx(1 / 255), 1.0]


def test_a_device_that_need_not_be_there():
    check_device(CONFIG)


def test_an_address_where_something_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        check_address(f"127.0.0.1:{server.getsockname()[1]}")
    check_address("auto")


@pytest.mark.parametrize(
    ("address", "start"),
    [
        ("127.0.0.1:1", "no Ray cluster there (address=127.0.0.1:1): connection refused."),
        ("127.0.0.1", "bad address (address=127.0.0.1): it must be auto or HOST:PORT."),
        ("127.0.0.1:99999", "bad address (address=127.0.0.1:99999)"),
        (":6379", "bad address (address=:6379)"),
        ("host:port", "bad address (address=host:port)"),
        (f"{'a' * 70}.example:6379", "no Ray cluster there (address="),
        ("a\nb", "bad address (address=a\\nb)"),
    ],
)
def test_an_address_where_nothing_does(address, start):
    with pytest.raises(RayError) as raised:
        check_address(address)
    (line,) = raised.value.lines
    assert line.startswith(start)


def checked(rollouts=CONFIG.rollouts, **students) -> tuple[str, ...]:
    """What is said of a CartPole run with these students and a teacher of one hidden layer; nothing where all fits."""
    config = replace(CONFIG, students=students, rollouts=rollouts)
    assert not list(config.problems())
    try:
        check_networks(Parts(config, SPEC))
    except ConfigurationError as error:
        return error.lines
    return ()


ONE_LAYER = NetworkConfig(hidden=(4,))


def test_networks_that_serve_their_losses():
    assert checked(kl=StudentConfig(), hint=StudentConfig(loss="hint"), own=StudentConfig(loss="policy_gradient")) == ()


@pytest.mark.parametrize(
    ("student", "line"),
    [
        (
            StudentConfig(ONE_LAYER, losses=(LossConfig(), LossConfig("hint", layer=1))),
            "no such layer (students.tiny.losses=hint, layer 1): the student has 1 hidden layer. Choose layer from -1 to 0",
        ),
        (
            StudentConfig(NetworkConfig(hidden=()), loss="relational"),
            "no such layer (students.tiny.losses=relational, layer -1): the student has 0 hidden layers. "
            "Give it hidden layers",
        ),
        (
            StudentConfig(ONE_LAYER, loss="attention"),
            "no attention (students.tiny.losses=attention): the student's and the teacher's layers are not convolutional, "
            "and attention compares maps of an image. Use hint, relational or similarity",
        ),
        (
            StudentConfig(ONE_LAYER, loss="dkd"),
            "too few actions (students.tiny.losses=dkd): dkd parts the best action from the others, and with two actions "
            "there is one other. Use kl or kl_hinton",
        ),
        (
            StudentConfig(ONE_LAYER, trainable="body.7.*"),
            "nothing to train (students.tiny.trainable='body.7.*'): no parameter has such a name. Use all, head, or a "
            "pattern of: body.0.weight, body.0.bias, advantage.weight, advantage.bias",
        ),
    ],
)
def test_a_network_that_cannot_serve(student, line):
    assert checked(tiny=student) == (line,)


def test_a_student_that_learns_from_its_own_lanes_needs_one():
    # A quarter of 4 lanes is one lane, for two students that each need their own: the second goes without.
    rollouts = RolloutsConfig(actors=1, envs_per_actor=4, steps_per_segment=4, behaviour=BehaviourConfig(0.75, 0.25))
    alone = StudentConfig(ONE_LAYER, loss="policy_gradient")
    assert checked(rollouts, first=alone, second=alone) == (
        "no lanes of its own (rollouts.envs_per_actor=4): second learns from its own lanes, and 4 lanes are too few for "
        "every student. Raise --rollouts.envs_per_actor or --rollouts.behaviour.students",
    )
    assert checked(replace(rollouts, envs_per_actor=8), first=alone, second=alone) == ()


def test_all_that_does_not_fit_is_told_at_once():
    lines = checked(one=StudentConfig(ONE_LAYER, trainable="none"), two=StudentConfig(loss="attention"))
    assert [line.partition("(students.")[2][:4] for line in lines] == ["one.", "two."]
