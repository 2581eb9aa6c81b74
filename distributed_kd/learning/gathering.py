"""Which students learn together: those of one age, where that is asked for or found to be faster."""

import copy
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from distributed_kd.learning.lesson import Lesson
from distributed_kd.learning.replicas import ALONE, Replicas
from distributed_kd.learning.students import Student
from distributed_kd.learning.together import Together
from distributed_kd.learning.tree_student import TreeStudent
from distributed_kd.networks import layer_shapes
from distributed_kd.records import EnvSpec
from distributed_kd.student_config import StudentConfig

How = Literal["auto", "loop", "together"]
TRIALS = 15
"""Updates of which the median decides whether a group learns together or each by itself"""


@dataclass(frozen=True)
class Recruit:
    """Makes a student of a network."""

    configs: Mapping[str, StudentConfig]
    seeds: Mapping[str, int]
    teacher_shapes: list[tuple[int, ...]]
    """of the hidden layers of the teacher"""
    spec: EnvSpec
    replicas: Replicas = ALONE

    def __call__(self, name: str, network: nn.Module) -> Student | TreeStudent:
        if self.configs[name].network.is_tree:
            return TreeStudent(network, math.prod(self.spec.input_shape), self.spec.actions, self.replicas)
        shapes = layer_shapes(network, self.spec)
        features = math.prod(shapes[-1] if shapes else self.spec.input_shape)
        return Student(network, self.configs[name], shapes, self.teacher_shapes, features, self.seeds[name], self.replicas)


def gathered(students: Mapping[str, Student], recruit: Recruit, lesson: Lesson, how: How) -> list[Together]:
    """The groups in which students learn from now on; trees, and those that learn from their own lanes, go on by themselves.

    `loop`: each is a group of its own, so that nobody's neighbours change a bit of what it learns. `together`: all of one
    age are one. `auto`: both ways are tried on copies that learn from `lesson`, and the faster one is taken.
    """
    by_age: dict[Hashable, dict[str, Student]] = defaultdict(dict)
    for name, one in students.items():
        config = recruit.configs[name]
        if not (config.learns_from_own_lanes or config.network.is_tree):
            by_age[config.warmup, one.updates, one.began][name] = one
    groups: list[Together] = []
    for group in by_age.values():
        if how == "together" or (how == "auto" and len(group) > 1 and _is_faster(group, recruit, lesson)):
            groups.append(Together(group, recruit.replicas))
        else:
            groups += _each(group, recruit)
    return groups


def _each(group: Mapping[str, Student], recruit: Recruit) -> list[Together]:
    return [Together({name: one}, recruit.replicas) for name, one in group.items()]


def _is_faster(group: Mapping[str, Student], recruit: Recruit, lesson: Lesson) -> bool:
    """Whether all of them in one computation take less time than one after the other."""

    def copies() -> dict[str, Student]:
        return {name: recruit(name, copy.deepcopy(one.network)) for name, one in group.items()}

    temperature = torch.ones((), device=lesson.q.device)
    ways = _each(copies(), recruit), [Together(copies(), recruit.replicas)]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(TRIALS + 1):
        for way, taken in zip(ways, times, strict=True):
            began = time.perf_counter()
            for one in way:
                one.update(lesson, temperature, 0.0, measure=False)
            if lesson.q.is_cuda:
                torch.cuda.synchronize(lesson.q.device)
            taken.append(time.perf_counter() - began)
    loop, together = (statistics.median(taken[1:]) for taken in times)  # the first trial warms up
    return together < loop
