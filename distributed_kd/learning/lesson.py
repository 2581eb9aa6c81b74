"""What is learned from: steps as tensors, and what a teacher says of their observations."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distributed_kd.records import Batch


@dataclass(frozen=True)
class Steps:
    """Columns of a `records.Batch` as tensors [B, ...] on the learner's device."""

    observation: Tensor
    action: Tensor
    n_step_return: Tensor
    discount: Tensor
    next_observation: Tensor
    probability: Tensor
    oversampling: Tensor

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "Steps":
        return cls(**{one.name: _on(device, getattr(batch, one.name)) for one in fields(cls)})

    def split(self) -> list["Steps"]:
        """The K batches of columns [K, B, ...], as views."""
        return [Steps(*one) for one in zip(*(getattr(self, one.name).unbind() for one in fields(self)), strict=True)]


@dataclass(frozen=True)
class Taken:
    """A `records.Batch` on the learner's device; `row` stays on the host, from where priorities are sent."""

    row: NDArray[np.int64]
    steps: Steps
    students: Steps | None
    own: Mapping[str, Steps]

    @classmethod
    def of(cls, batch: Batch, device: torch.device) -> "Taken":
        students = Steps.of(batch.students, device) if batch.students else None
        own = {name: Steps.of(one, device) for name, one in batch.own.items()}
        return cls(batch.row, Steps.of(batch, device), students, own)

    def split(self) -> list["Taken"]:
        """The K batches that travelled together: brought to the device at once, which costs about as much as for one."""
        students = self.students.split() if self.students else [None] * len(self.row)
        own = {name: one.split() for name, one in self.own.items()}
        return [
            Taken(row, steps, theirs, {name: one[place] for name, one in own.items()})
            for place, (row, steps, theirs) in enumerate(zip(self.row, self.steps.split(), students, strict=True))
        ]


def _on(device: torch.device, column: NDArray) -> Tensor:
    """A copy on the device, since arrays out of Ray are read-only; to a GPU it goes while the host goes on."""
    copied = torch.tensor(column)
    return copied.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else copied


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

    def addressed_to(self, student: str) -> "Lesson":
        if not (self.q_for or self.leader):
            return self
        return replace(self, q=self.q_for.get(student, self.q), q_for={}, leader="", heard=student != self.leader)
