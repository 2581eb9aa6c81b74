"""A recorder that does on a processor what a CUDA graph does: the same operations on the same memory, without Python."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from distributed_kd.networks import prepared

READS = ("item", "tolist", "numpy", "cpu", "cuda", "to", "__bool__", "__float__", "__int__", "__index__", "__array__")
"""Methods of a tensor that wait for the device, or may: `to` where it names a device"""
WAITS = ("_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "is_nonzero", "_unique2", "unique_dim", "equal")
"""Operations that wait for the device: reading a number, bringing one, and results whose size is known there alone"""


def as_on_a_gpu(monkeypatch):
    """Let PyTorch do all: what NumPy does is no operation that could be recorded."""
    monkeypatch.setattr(prepared, "by_numpy", lambda *places: False)


class WaitsForDevice(AssertionError):
    """The host asked the device for a value, or gave it one, in the middle of an update."""


class NoWaiting(TorchFunctionMode):
    """Raises WaitsForDevice at a call that would let the host wait for a GPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        named = [*args[1:], *kwargs.values()]
        moves = any(isinstance(one, (str, torch.device)) for one in named)
        if name in READS and (name != "to" or moves) and isinstance(args[0], torch.Tensor):
            raise WaitsForDevice(name)
        return func(*args, **kwargs)


class _Operations(TorchDispatchMode):
    """Every operation below automatic differentiation, with its arguments and what it gave."""

    def __init__(self):
        super().__init__()
        self.done = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name.startswith(("index", "_index_put")) and any(
            isinstance(index, torch.Tensor) and index.dtype == torch.bool
            for indices in args[1:]
            for index in (indices if isinstance(indices, (tuple, list)) else [indices])
        )
        if name in WAITS or by_mask:  # how many a mask picks is known on the device alone
            raise WaitsForDevice(name)
        result = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, result))
        return result


class Tape:
    """A `Recorder`; `recorded` and `replayed` count what it was asked for."""

    def __init__(self):
        self.warmed_up = self.recorded = self.replayed = 0

    def warm_up(self, work):
        self.warmed_up += 1
        return work()

    def record(self, work, generators):
        self.recorded += 1
        operations = _Operations()
        with NoWaiting(), operations:
            outcome = work()
        return outcome, lambda: self._again(operations.done)

    @torch.no_grad()
    def _again(self, operations):
        self.replayed += 1
        for func, args, kwargs, results in operations:
            anew = func(*args, **kwargs)
            for old, new in zip(_tensors(results), _tensors(anew), strict=True):
                # A view, or what was written in place, lies where it lay; all else takes the place of what it gave then.
                if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


def _tensors(results):
    if isinstance(results, torch.Tensor):
        return [results]
    return [one for one in results if isinstance(one, torch.Tensor)] if isinstance(results, (tuple, list)) else []


def without_waiting(work):
    """Do it; raises WaitsForDevice where it would wait for a GPU."""
    with NoWaiting(), _Operations():
        return work()
