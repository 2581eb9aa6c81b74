"""What the configuration says of a run file's keys, for the tests of its tables."""

import tomllib

from distributed_kd.run_file import merge, read


def told(toml, alone=False):
    """What is wrong with a run of one student, `tiny`, and the keys of `toml`; with `alone`, of these keys only."""
    config, misread = read(merge({} if alone else {"students": {"tiny": {}}}, tomllib.loads(toml)))
    assert misread == []
    return [str(problem) for problem in config.problems()]
