"""What `bench rollouts` measures, and that it measures what it says."""

import json
import subprocess
import sys

import numpy as np
import pytest

from distributed_kd import presets
from distributed_kd.bench import rollouts
from distributed_kd.bench.acting import (
    FREE,
    acting_run,
    at_once,
    balanced,
    bare_cartpole,
    bare_lanes,
    call_share,
    have_all_played,
    parts_of,
)
from distributed_kd.bench.contenders import Rates, contending
from distributed_kd.bench.figures import Options
from distributed_kd.records import Weights
from distributed_kd.rollouts.rollout import Rollout
from distributed_kd.run_file import merge


def segment_of_two_rows():
    return rollouts._segment(merge(presets.read("cartpole"), {"rollouts": {"envs_per_actor": 1, "steps_per_segment": 1}}))


def test_it_does_without_ray_until_it_is_needed():
    words = "import sys, distributed_kd.bench.rollouts; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0


def test_bytes_of_a_step_are_those_of_its_rows():
    # Two rows of 16 + 8 + 4 + 4 + 1 + 1 + 2 + 8 + 4 = 48 bytes for one step.
    assert rollouts._bytes_of_a_step(segment_of_two_rows()) == 96
    many = rollouts._segment(rollouts._cartpole(64))
    assert rollouts._bytes_of_a_step(many) == 48 * 17 / 16  # 17 rows for 16 steps


def test_its_policies_hold_the_pole():
    tables = merge(rollouts._cartpole(10), {"teacher": {"exploration": {"start": 0.0, "end": 0.0}}})
    parts = parts_of(merge(tables, {"rollouts": {"student_epsilon": 0.0, "steps_per_segment": 501}}))
    rollout = Rollout(**parts.rollout(0, 0, repeatable=False))
    from distributed_kd.networks import to_flat

    weights = Weights(0, {name: to_flat(network) for name, network in balanced(parts.networks()).items()})
    _, stats = rollout.collect(weights, 0.0)
    assert stats.episode_length.tolist() == [500] * 10
    assert set(stats.policy.tolist()) == {0, 1, 2, 3, 4}


def test_bare_lanes_and_collects_are_counted_in_this_process():
    table = rollouts._in_process(Options(repeats=1, seconds=0.01))
    *ours, size = table.figures
    assert [one.what for one in ours] == [f"CartPole, {lanes} lanes" for lanes in rollouts.LANES]
    for one in ours:
        assert one.value > 0 and one.other > 0
        assert one.ratio == pytest.approx(one.value / one.other)
        assert one.at_least == 0.6
    assert (size.unit, size.other) == ("bytes", pytest.approx(np.nan, nan_ok=True))


def test_the_share_of_a_call_by_hand():
    # Actor 0 rests 1 s after 9 s of work, twice; then it misses a call, which says nothing. Actor 1 rests 3 s after 9 s.
    collected = [
        (0, 0, 0.0, 9.0),
        (1, 5, 2.0, 9.0),
        (0, 1, 10.0, 9.0),
        (1, 6, 14.0, 9.0),
        (0, 2, 20.0, 9.0),
        (0, 4, 90.0, 9.0),
    ]
    assert call_share(collected) == (1.0, 0.1)


def test_several_take_their_turn_together():
    class Waiting:
        """Ends its turn only while the other one has its turn too."""

        def __init__(self, barrier, rate):
            self.barrier, self.rate = barrier, rate

        def turn(self, seconds):
            self.barrier.wait(timeout=30)
            return Rates(self.rate, 0.0)

    from threading import Barrier

    barrier = Barrier(2)
    assert at_once([Waiting(barrier, 3.0), Waiting(barrier, 4.0)], 0.1) == 7.0


SMALL = {
    "students": {name: {"network": {"hidden": [8]}} for name in ("quarter", "fifteenth", "fiftieth", "smallest")},
    "teacher": {"network": {"hidden": [8]}},
    "rollouts": {"actors": 1, "envs_per_actor": 4},
    "replay": {"capacity": 2_000, "batch_size": 32},
}


@pytest.mark.parametrize(
    ("train", "argument"), [(bare_cartpole, 4), (bare_lanes, merge(rollouts._cartpole(4), SMALL))], ids=["vector", "lanes"]
)
@pytest.mark.timeout(120)
def test_bare_environments_take_turns(train, argument):
    with contending(train, argument) as bare:
        assert bare.turn(0.01).env_steps > 0
        assert bare.turn(0.01).env_steps > 0


def test_a_run_is_measured_from_when_every_rollout_has_played():
    of_the_first = [(0, 0, 1.0, 0.1), (0, 1, 1.2, 0.1)]
    assert not have_all_played(of_the_first, 2)
    assert have_all_played([*of_the_first, (1, 0, 9.0, 0.1)], 2)


@pytest.mark.timeout(180)
def test_a_run_on_ray_acts_and_never_learns(tmp_path):
    out = tmp_path / "calls.json"
    tables = merge(merge(presets.read("cartpole"), FREE), SMALL)
    with contending(acting_run, tables, None, True, 0, str(out)) as run:
        rates = run.turn(0.1)
    assert rates.env_steps > 0
    assert rates.updates == 0
    collected = json.loads(out.read_text())
    assert sorted(sequence for _, sequence, *_ in collected) == list(range(len(collected)))
    gap, share = call_share(collected)
    assert gap > 0 and 0 < share < 1
