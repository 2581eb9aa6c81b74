"""learning.lesson: batches brought to the device, column by column or all at once."""

import dataclasses

import numpy as np
import torch
from learning_samples import CPU, batches, with_own_steps

from distributed_kd.learning.lesson import ALIGNMENT, Steps, Taken, brought, in_one_block


def columns():
    """As a replay of pictures gives them, read-only as out of Ray."""
    random = np.random.default_rng(0)
    given = [
        random.integers(0, 256, (2, 3, 5, 5), dtype=np.uint8),
        random.integers(-5, 5, (2, 3)),
        random.normal(size=(2, 3)).astype(np.float32),
        random.normal(size=(2, 3, 7)),
    ]
    for column in given:
        column.flags.writeable = False
    return given


def test_columns_in_one_block_are_what_they_are_one_by_one():
    at_once, one_by_one = in_one_block(columns(), CPU, pinned=False), brought(columns(), CPU)
    for ours, theirs, given in zip(at_once, one_by_one, columns(), strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
        np.testing.assert_array_equal(ours.numpy(), given)
    (block,) = {one.untyped_storage().data_ptr() for one in at_once}
    # 150 bytes of pictures, then 48 of actions: each column begins at the next whole number of alignments.
    assert [one.data_ptr() - block for one in at_once] == [0, ALIGNMENT, 2 * ALIGNMENT, 3 * ALIGNMENT]


def test_all_parts_of_a_batch_are_taken():
    (batch,) = with_own_steps(batches(1), ["a", "b"])
    batch = dataclasses.replace(batch, students=batches(1, seed=7)[0])
    taken = Taken.of(batch, CPU)
    parts = {"steps": batch, "students": batch.students, **batch.own}
    mine = {"steps": taken.steps, "students": taken.students, **taken.own}
    for name, part in parts.items():
        for column in dataclasses.fields(Steps):
            np.testing.assert_array_equal(getattr(mine[name], column.name).numpy(), getattr(part, column.name))
    assert len(taken.tensors) == 4 * 7
    copied = taken.copied()
    for ours, theirs in zip(copied.tensors, taken.tensors, strict=True):
        assert torch.equal(ours, theirs) and ours.data_ptr() != theirs.data_ptr()
    assert list(copied.own) == ["a", "b"]
