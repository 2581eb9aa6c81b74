"""What the two loops in one process share, the inline one and the one over a fixed set of states."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from distributed_kd.learning.learner import Learner
from distributed_kd.records import LearnerReport, Receipt


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread for as long as the block lasts: sums are then taken in one order, the same in every run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def report(learner: Learner, done: int, began: float, busy: float, receipt: Receipt, starved: bool) -> LearnerReport:
    """What a learner did in `done` updates since `began` (as of time.time()), `busy` seconds of it in updates."""
    losses = learner.losses()
    return LearnerReport(
        updates=learner.updates,
        done=done,
        busy_seconds=busy,
        wait_seconds=0.0,
        started=began,
        ended=time.time(),
        starved=starved,
        receipt=receipt,
        updates_of=learner.updates_of,
        losses=losses,
        skipped=learner.skipped,
        diverged=learner.diverged,
    )
