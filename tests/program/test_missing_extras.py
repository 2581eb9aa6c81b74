"""An environment whose package is not installed: one line that names what to install, and nothing begun."""

from pathlib import Path

import pytest
from launching import launch

PACKAGES = [
    ("atari-pong", "ale_py", "ALE/Pong-v5", "ALE/Pong needs ale-py", "atari"),
    ("minatar-breakout", "minatar", "MinAtar/Breakout-v1", "MinAtar/Breakout needs MinAtar", "minatar"),
    ("lunarlander", "Box2D", "LunarLander-v3", "LunarLander needs Box2D", "box2d"),
    ("highway", "highway_env", "highway-fast-v0", "highway-fast needs highway-env", "driving"),
    ("digits", "sklearn", "distributed_kd/Digits-v0", "distributed_kd/Digits needs scikit-learn", "digits"),
]

EVERYDAY = ("minatar", "digits")
"""The others differ in words alone, which tests/envs/test_packages.py holds without starting the program"""
ROWS = [pytest.param(*row, marks=() if row[-1] in EVERYDAY else pytest.mark.slow, id=row[-1]) for row in PACKAGES]


@pytest.mark.parametrize(("preset", "module", "id", "why", "extra"), ROWS)
def test_without_its_package_a_preset_says_what_to_install(preset, module, id, why, extra, tmp_path: Path):
    """A package of that name stands first on the import path and cannot be imported, as if there were none."""
    stub = tmp_path / "without" / module
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text(f'raise ImportError("No module named {module!r}", name="{module}")\n')
    ended = launch("train", preset, cwd=tmp_path, importable=stub.parent)
    fix = f'Install it: pip install "distributed-kd[{extra}]"'
    assert ended.returncode == 2
    assert ended.stderr == f"error: missing package (env.id={id}): {why}, which is not installed. {fix}\n"
    assert ended.stdout == ""
    assert not (tmp_path / "runs").exists()
