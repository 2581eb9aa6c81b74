"""What is learned from: steps as tensors, and what a teacher says of their observations."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

import torch
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
        return cls(**{one.name: torch.tensor(getattr(batch, one.name), device=device) for one in fields(cls)})


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
