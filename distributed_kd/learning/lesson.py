"""What is learned from: steps as tensors, and what a teacher says of their observations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distributed_kd.learning.replicas import ALONE, Replicas
from distributed_kd.records import Batch

ALIGNMENT = 512
"""Bytes: each column begins where a tensor of its own would"""


@dataclass(frozen=True)
class Steps:
    """Columns of a `records.Batch` as tensors [B, ...] on the learner's device.

    Where several replicas learn, each holds its part of the rows; `oversampling` alone is of the whole batch, since
    importance weights are relative to all of it.
    """

    observation: Tensor
    action: Tensor
    n_step_return: Tensor
    discount: Tensor
    next_observation: Tensor
    probability: Tensor
    oversampling: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device, replicas: Replicas = ALONE) -> "Steps":
        return cls.of_each([batch], device, replicas)[0]

    @classmethod
    def of_each(cls, batches: Sequence[Batch], device: torch.device, replicas: Replicas = ALONE) -> list["Steps"]:
        """Of several batches, brought to the device together."""
        columns = iter(brought([column for one in batches for column in cls._columns(one, replicas)], device))
        return [cls(*(next(columns) for _ in fields(cls))) for _ in batches]

    @classmethod
    def _columns(cls, batch: Batch, replicas: Replicas) -> list[NDArray]:
        axis = batch.row.ndim - 1  # behind that of batches that travel together
        columns = {one.name: replicas.part(getattr(batch, one.name), axis) for one in fields(cls)}
        return list({**columns, "oversampling": batch.oversampling}.values())

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every column, in the order of the fields."""
        return tuple(getattr(self, one.name) for one in fields(self))

    def copied(self) -> "Steps":
        return Steps(*(tensor.clone() for tensor in self.tensors))

    def split(self) -> list["Steps"]:
        """The K batches of columns [K, B, ...], as views."""
        return [Steps(*one) for one in zip(*(tensor.unbind() for tensor in self.tensors), strict=True)]


@dataclass(frozen=True)
class Taken:
    """A `records.Batch` on the learner's device; `row`, of all steps, stays on the host, from where priorities are sent."""

    row: NDArray[np.int64]
    steps: Steps
    students: Steps | None
    own: Mapping[str, Steps]

    @classmethod
    def of(cls, batch: Batch, device: torch.device, replicas: Replicas = ALONE) -> "Taken":
        shared = [batch, batch.students] if batch.students else [batch]
        each = Steps.of_each([*shared, *batch.own.values()], device, replicas)
        students = each[1] if batch.students else None
        return cls(batch.row, each[0], students, dict(zip(batch.own, each[len(shared) :], strict=True)))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every column that lies on the device."""
        each = [self.steps, *([self.students] if self.students else []), *self.own.values()]
        return tuple(tensor for one in each for tensor in one.tensors)

    def arrays(self) -> dict[str, NDArray]:
        """Every column as an array, by name: those of the teacher's batch by their own, others behind a name and a dot."""
        each = {"": self.steps, **({"students.": self.students} if self.students else {})}
        each |= {f"own.{name}.": one for name, one in self.own.items()}
        found = {f"{of}{one.name}": getattr(steps, one.name) for of, steps in each.items() for one in fields(Steps)}
        return {"row": self.row, **{name: column.cpu().numpy() for name, column in found.items()}}

    def copied(self) -> "Taken":
        """The same in memory of its own."""
        own = {name: one.copied() for name, one in self.own.items()}
        return Taken(self.row, self.steps.copied(), self.students.copied() if self.students else None, own)

    def split(self) -> list["Taken"]:
        """The K batches that travelled together: brought to the device at once, which costs about as much as for one."""
        students = self.students.split() if self.students else [None] * len(self.row)
        own = {name: one.split() for name, one in self.own.items()}
        return [
            Taken(row, steps, theirs, {name: one[place] for name, one in own.items()})
            for place, (row, steps, theirs) in enumerate(zip(self.row, self.steps.split(), students, strict=True))
        ]


def brought(columns: Sequence[NDArray], device: torch.device) -> list[Tensor]:
    """Copies on the device, since arrays out of Ray are read-only; to a GPU they go while the host goes on."""
    if device.type != "cuda":
        return [torch.tensor(column) for column in columns]
    return in_one_block(columns, device, pinned=True)


def in_one_block(columns: Sequence[NDArray], device: torch.device, pinned: bool) -> list[Tensor]:
    """As `brought`, all by one transfer: a GPU asks as much time for a small one as for a large one.

    `pinned`: out of memory that a GPU reads by itself.
    """
    starts = [0]
    for column in columns:
        starts.append(starts[-1] + math.ceil(column.nbytes / ALIGNMENT) * ALIGNMENT)
    here = torch.empty(starts[-1], dtype=torch.uint8, pin_memory=pinned)
    places = [slice(start, start + column.nbytes) for start, column in zip(starts, columns, strict=False)]
    for place, column in zip(places, columns, strict=True):
        here.numpy()[place].view(column.dtype).reshape(column.shape)[...] = column
    there = here.to(device, non_blocking=True)
    types = [torch.from_numpy(np.empty(0, column.dtype)).dtype for column in columns]
    return [there[place].view(kind).view(column.shape) for place, kind, column in zip(places, types, columns, strict=True)]


@dataclass(frozen=True)
class Lesson:
    """Observations [B, *shape], the Q-values [B, A] that are taught there, and the teacher's hidden layers.

    Where each student has a teacher of its own (peers), `q_for` holds what differs, by the student's name; `leader` is the
    student that teaches all others and is taught nothing itself.
    """

    observation: Tensor
    q: Tensor
    layers: tuple[Tensor, ...] = ()
    weight: Tensor | None = None
    """[B] of each observation, their mean 1, where they were not drawn alike"""
    q_for: Mapping[str, Tensor] = field(default_factory=dict)
    leader: str = ""
    heard: bool = True
    """it has something to teach whom it is addressed to"""

    def arrays(self) -> dict[str, NDArray]:
        """What was seen and what was taught, as arrays by name."""
        return {"observation": self.observation.cpu().numpy(), "q": self.q.cpu().numpy()}

    def addressed_to(self, student: str) -> "Lesson":
        if not (self.q_for or self.leader):
            return self
        return replace(self, q=self.q_for.get(student, self.q), q_for={}, leader="", heard=student != self.leader)
