"""Replicas in threads of one process, that reach each other as processes do."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import torch.distributed as dist

from distributed_kd.learning.replicas import Replicas


def abreast(*tasks):
    """All tasks at the same time, each in a thread of its own; gives what each gives."""
    with ThreadPoolExecutor(len(tasks)) as threads:
        return [future.result(timeout=60) for future in [threads.submit(task) for task in tasks]]


def replicas(count):
    """So many, brought together."""
    store = dist.HashStore()
    patience = timedelta(seconds=30)
    places = range(count)
    groups = abreast(*(lambda rank=rank: dist.ProcessGroupGloo(store, rank, count, patience) for rank in places))
    return [Replicas(rank, count, group) for rank, group in enumerate(groups)]
