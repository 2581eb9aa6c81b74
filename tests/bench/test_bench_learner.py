"""bench.learner: the bare loop does what the learner does, and both tables come out."""

import numpy as np
import pytest
import torch

from distributed_kd.bench import learner
from distributed_kd.bench.figures import Options

CPU = torch.device("cpu")
SMALL = {"small": (learner.NUMBERS, 8, learner.mlp(8), (learner.mlp(4), learner.mlp(4)))}


def test_batches_are_of_the_environments_shapes():
    (batch, *_) = learner.batches_of(learner.ATARI, 3)
    assert batch.observation.shape == (3, 4, 84, 84) and batch.observation.dtype == np.uint8
    assert batch.observation.max() > 200
    (batch, *_) = learner.batches_of(learner.MINATAR, 3)
    assert batch.observation.max() == 1


def test_the_bare_loop_learns_from_the_same_batches():
    (setting,) = SMALL.values()
    bare = learner.BareLoop(setting, CPU)
    before = [one.clone() for network in (bare._teacher, *bare._students) for one in network.parameters()]
    bare.some()
    after = [one for network in (bare._teacher, *bare._students) for one in network.parameters()]
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_both_tables_come_out(monkeypatch):
    monkeypatch.setattr(learner, "SETTINGS", SMALL)
    monkeypatch.setattr(learner, "COUNTS", (1, 2, 8))
    threads = torch.get_num_threads()
    bare, students = learner.measure(Options(repeats=1, seconds=0.01))
    assert torch.get_num_threads() == threads
    assert [one.what for one in bare.figures] == ["small"] and bare.figures[0].ratio > 0
    goals = {one.what: one.at_most for one in students.figures if one.goal}
    assert goals == {"8 equal, 64-64": 2.0, "8 mixed, 16-16 to 128-128, together": 0.5}
    assert students.figures[0].ratio == pytest.approx(1.0)
