"""What is checked before anything starts: the environment, the device, the address.

The lines that users see are in the table of `program/test_bad_input.py`.
"""

import socket

import pytest
from journals import CONFIG

from distributed_kd.config import EnvConfig, RunConfig
from distributed_kd.errors import ConfigurationError, RayError
from distributed_kd.student_config import StudentConfig
from distributed_kd.training.preflight import check_address, check_device, check_run


def test_an_environment_is_made_once_and_read():
    spec = check_run(CONFIG, allow_env_import=False)
    assert (spec.id, spec.observation_shape, spec.actions) == ("CartPole-v1", (4,), 2)


def test_a_module_may_be_imported_with_leave():
    config = RunConfig(env=EnvConfig("small_environments:Walk-v0"), students={"tiny": StudentConfig()})
    assert check_run(config, allow_env_import=True).observation_shape == (3,)
    with pytest.raises(ConfigurationError, match="a module would be imported"):
        check_run(config, allow_env_import=False)


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
