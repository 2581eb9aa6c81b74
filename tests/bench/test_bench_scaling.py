"""What `bench scaling` makes of its runs, and the environments that it runs on."""

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import pytest

from distributed_kd.bench import environments, scaling
from distributed_kd.bench.environments import NULL, SLEEPING
from distributed_kd.bench.figures import Options
from distributed_kd.config import EnvConfig
from distributed_kd.envs.spec import read_spec


@pytest.mark.parametrize("environment", [NULL, SLEEPING])
def test_nothing_happens_until_an_episode_is_cut_off(environment, monkeypatch):
    slept = []
    monkeypatch.setattr(environments.time, "sleep", slept.append)
    spec = read_spec(EnvConfig(environment))
    assert (spec.observation_shape, spec.actions) == ((4,), 2)
    env = gym.make(environment.rpartition(":")[2])
    env.reset(seed=0)
    ends = [env.step(0)[2:4] for _ in range(1_000)]
    assert ends == [(False, False)] * 999 + [(False, True)]
    assert slept == ([0.002] * 1_000 if environment == SLEEPING else [])


def test_scaling_is_told_as_a_share_of_linear_and_latency_as_a_share_of_what_the_ceiling_explains(monkeypatch):
    """1 actor makes 100 steps a second, 16 make 1,440: 0.9 of linear. Of 4 rollouts that do nothing 8 calls are under way,
    of 200 there are 400: at 400 a second they take 20 ms and a second."""
    asked = []

    def turns(environment, actors, steps, options, acts=True):
        asked.append((environment, actors, steps, acts))
        if not acts:
            return [400.0] * options.repeats, [0.02 if actors == 4 else 1.2] * 100
        return [100.0 * actors * (0.9 if actors == 16 else 1.0)] * options.repeats, []

    monkeypatch.setattr(scaling, "_turns", turns)
    sleeping, control, many = scaling.measure(Options(repeats=3))
    assert [one.what for one in sleeping.figures] == ["1 actor", "2 actors", "4 actors", "8 actors", "16 actors"]
    assert [one.ratio for one in sleeping.figures[1:]] == pytest.approx([1.0, 1.0, 1.0, 0.9])
    assert [one.at_least for one in sleeping.figures] == [None] * 4 + [0.9]
    # Segments of one step: as many a second as steps.
    assert [(one.value, one.unit) for one in control.figures] == [(100.0 * n, "segments/s") for n in (1, 2, 4)]
    assert [one.ratio for one in many.figures if one.at_most] == pytest.approx([1.0, 1.2])
    assert [one.is_met for one in many.figures if one.at_most] == [True, False]
    assert asked[:8] == [(SLEEPING, n, 128, True) for n in (1, 2, 4, 8, 16)] + [(NULL, n, 1, True) for n in (1, 2, 4)]
    assert asked[8:] == [(NULL, n, 1, False) for n in (4, 200)]


def test_a_rollout_that_does_nothing_is_a_small_process():
    code = "import sys, distributed_kd.bench.null_rollout; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_more_actors_than_cores_run_on_ray():
    assert min(scaling._rates(NULL, 3, 1, Options(repeats=1, seconds=0.1))) > 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_rollouts_that_do_nothing_are_as_good_as_others_to_the_loop():
    rates, seen = scaling._turns(NULL, 3, 1, Options(repeats=1, seconds=0.1), acts=False)
    assert min(rates) > 0
    assert min(seen) >= 0


def test_what_waited_before_all_rollouts_were_warm_is_left_out(monkeypatch):
    """One call is seen to before the first turn has ended, one after it."""

    class Run:
        turns = 0

        def turn(self, seconds):
            self.turns += 1
            return SimpleNamespace(env_steps=10.0 * self.turns)

    @contextmanager
    def contending(acts, tables, address, balances, cpus, out, *_, settle):
        yield Run()
        Path(out).write_text(json.dumps([(0, 0, 1_000.0, 2.0, 1_009.0), (0, 1, 1_010.0, 2.0, 1_015.0)]))

    monkeypatch.setattr(scaling, "contending", contending)
    monkeypatch.setattr(scaling.time, "time", lambda: 1_010.0)
    assert scaling._turns(NULL, 1, 1, Options(repeats=2)) == ([20.0, 30.0], [3.0])
