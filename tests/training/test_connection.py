"""training.connection: what is told where Ray cannot be had."""

import pytest
import ray
from ray._private.utils import check_version_info

from distributed_kd.errors import RayError
from distributed_kd.training.connection import joined


@pytest.fixture
def refusing(monkeypatch):
    """A Ray whose `init` does what the test says."""

    def refuse(work):
        monkeypatch.setattr(ray, "init", lambda **_: work())

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    return refuse


def told(address: str | None) -> str:
    with pytest.raises(RayError) as raised, joined(address):
        pass
    assert raised.value.exit_code == 6
    (line,) = raised.value.lines
    return line


def test_another_version_is_told_with_both(refusing):
    refusing(lambda: check_version_info({"ray_version": "2.9.3", "python_version": "3.9.1"}, "10.0.0.1:6379"))
    line = told("10.0.0.1:6379")
    assert line.startswith("Ray could not be joined (address=10.0.0.1:6379): RuntimeError: Version mismatch: ")
    assert "Ray: 2.9.3 Python: 3.9.1" in line and f"Ray: {ray.__version__}" in line
    assert f". Here are Ray {ray.__version__}, Python 3." in line
    assert "give the address of a running cluster of these versions" in line


@pytest.mark.parametrize(("mode", "here"), [("token", "a token"), ("disabled", "no token")])
def test_whether_there_is_a_token_here_is_told(refusing, monkeypatch, mode, here):
    def unauthenticated():
        raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")

    refusing(unauthenticated)
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    line = told("10.0.0.1:6379")
    assert f"{here}: give the address of a running cluster of these versions and with the same token" in line


def test_an_error_of_ray_moves_no_cursor(refusing):
    def hostile():
        raise RuntimeError("\x1b[2Jgone\r\n\x9b31m")

    refusing(hostile)
    line = told(None)
    assert line.startswith("Ray could not be started (address=on this machine): RuntimeError: ") and line.isprintable()
