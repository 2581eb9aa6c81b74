"""Updates of teacher and students, beside the same updates in plain PyTorch, and beside each other for more students.

Nothing here needs Ray or an environment: batches are random numbers of an environment's shapes, in memory.
"""

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from distributed_kd import networks
from distributed_kd.bench.figures import Figure, Options, Table
from distributed_kd.bench.rounds import Turn, compared, each, interleaved
from distributed_kd.learning.gathering import Recruit
from distributed_kd.learning.learner import Learner
from distributed_kd.learning.lesson import Lesson, Steps
from distributed_kd.learning.recorded import CudaGraphs, Recorder
from distributed_kd.learning.together import Together
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import Batch, EnvSpec
from distributed_kd.student_config import StudentConfig

NUMBERS = EnvSpec("numbers", (4,), "float32", 2)
MINATAR = EnvSpec("MinAtar", (10, 10, 4), "uint8", 3, channels="last")
ATARI = EnvSpec("Atari", (84, 84), "uint8", 6, frame_stack=4, scale=1 / 255)
STUDENT = StudentConfig(loss="kl", temperature="auto")
COUNTS = (1, 2, 4, 8, 16, 32)
"""Students side by side"""
MIXED = (16, 24, 32, 48, 64, 80, 96, 128)
"""Widths of the two hidden layers of students that differ"""
GRAPH = "as a CUDA graph"
BATCHES = 16
"""Different batches that are learned from in turn"""


def mlp(*hidden: int) -> NetworkConfig:
    return NetworkConfig(hidden=hidden)


SETTINGS: dict[str, tuple[EnvSpec, int, NetworkConfig, tuple[NetworkConfig, ...]]] = {
    "CartPole, 256-256 and 4 students, batch 64": (
        NUMBERS, 64, mlp(256, 256), (mlp(128, 128), mlp(64, 64), mlp(32, 32), mlp(16, 16))),
    "CleanRL's network 120-84, no student, batch 128": (NUMBERS, 128, mlp(120, 84), ()),
    "CleanRL's network 120-84 and 4 students, batch 128": (
        NUMBERS, 128, mlp(120, 84), (mlp(60, 42), mlp(30, 20), mlp(16, 16), mlp(8, 8))),
    "MinAtar's network and 3 students, batch 64": (
        MINATAR, 64, NetworkConfig("minatar"), tuple(NetworkConfig("minatar", width=share) for share in (0.5, 0.25, 0.125))),
    "Nature's network and 2 students, batch 32": (
        ATARI, 32, NetworkConfig("nature"), tuple(NetworkConfig("nature", width=share) for share in (0.5, 0.25))),
}  # fmt: skip
"""Environment's shapes, steps in a batch, the teacher's network and the students'"""


def measure(options: Options) -> list[Table]:
    """Both tables, on the GPU where there is one and on one CPU thread otherwise."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [_beside_bare_pytorch(options, device), _more_students(options, device)]
    finally:
        torch.set_num_threads(threads)


def _beside_bare_pytorch(options: Options, device: torch.device) -> Table:
    figures = []
    for what, setting in SETTINGS.items():
        sides = {"the learner": _learner(setting, device), "bare PyTorch": BareLoop(setting, device)}
        if device.type == "cuda":
            sides[GRAPH] = _learner(setting, device, CudaGraphs())
        rounds = interleaved({name: _turn(side, options, device) for name, side in sides.items()}, options)
        figures.append(compared(what, "ms an update", rounds, "the learner", "bare PyTorch", scale=1e3))
        if GRAPH in sides:
            figures.append(compared(f"{what}, {GRAPH}", "ms an update", rounds, GRAPH, "the learner", scale=1e3))
    return Table(
        "Learner: one update of teacher and students",
        "Double Q-learning and KL from batches in memory: the time of an update in the learner, conversion from NumPy, "
        "clipping and logging with it, beside plain PyTorch with one optimizer a network on tensors that are ready. "
        f"On {'one CPU thread' if device.type == 'cpu' else 'the GPU'}.",
        figures,
    )


def _more_students(options: Options, device: torch.device) -> Table:
    """Of one batch, and without the teacher's own part."""
    of_one = Options(options.repeats, options.seconds / 4)
    turns: dict[str, Turn] = {}
    for label, widths in {**{str(count): (64,) * count for count in COUNTS}, "mixed": MIXED}.items():
        for way in ("loop", "together"):
            turns[f"{label} {way}"] = _turn(_StudentsAlone(widths, way == "together", device), of_one, device)
    rounds = interleaved(turns, of_one)
    figures: list[Figure] = []
    for count in COUNTS:
        best = f"{count} {'together' if count > 1 else 'loop'}"
        goals = {"at_most": 2.0} if count == 8 else {}
        figures.append(compared(f"{count} equal, 64-64", "ms an update of all", rounds, best, "1 loop", 1e3, **goals))
    for count in COUNTS[1:]:
        what = f"{count} equal, 64-64, together"
        figures.append(compared(what, "ms an update of all", rounds, f"{count} together", f"{count} loop", 1e3))
    what = f"{len(MIXED)} mixed, {MIXED[0]}-{MIXED[0]} to {MIXED[-1]}-{MIXED[-1]}, together"
    figures.append(compared(what, "ms an update of all", rounds, "mixed together", "mixed loop", 1e3, at_most=0.5))
    return Table(
        "Students: several for the price of one",
        "Distillation updates (KL, batch 64) of students side by side, the teacher's word being there: one alone, all in "
        "one computation (together), and one after the other (loop).",
        figures,
    )


def _turn(updates: object, options: Options, device: torch.device) -> Turn:
    """Seconds of one of its updates."""

    def turn() -> float:
        def some() -> None:
            updates.some()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return each(some, options.seconds) / BATCHES

    return turn


class _Ours:
    """A learner and batches in memory."""

    def __init__(self, learner: Learner, batches: list[Batch]):
        self._learner = learner
        self._batches = Batch(*(np.stack(columns) for columns in zip(*(one.columns for one in batches), strict=True)))

    def some(self) -> None:
        for one in self._learner.taken(self._batches):
            self._learner.learn(one, 0.5)
        self._learner.losses()


def _learner(setting: tuple, device: torch.device, recorder: Recorder | None = None) -> _Ours:
    spec, size, teacher, students = setting
    names = {f"student{place}": config for place, config in enumerate(students)}
    built = {"teacher": networks.build(teacher, spec)} | {n: networks.build(config, spec) for n, config in names.items()}
    learner = Learner(
        networks=built,
        spec=spec,
        teacher=TeacherConfig(network=teacher, target_update=500),
        students=dict.fromkeys(names, STUDENT),
        seeds=dict.fromkeys(built, 0),
        device=device,
        together="auto",
        recorder=recorder,
    )
    return _Ours(learner, batches_of(spec, size))


class BareLoop:
    """The same updates as anyone would write them: a loop over networks, each with its optimizer."""

    def __init__(self, setting: tuple, device: torch.device):
        spec, size, teacher, students = setting
        self._teacher = networks.build(teacher, spec).to(device)
        self._target = copy.deepcopy(self._teacher).requires_grad_(False)
        self._students = [networks.build(config, spec).to(device) for config in students]
        self._adams = [torch.optim.Adam(one.parameters(), lr=1e-3, fused=True) for one in (self._teacher, *self._students)]
        scaled = [Steps.of(batch, device) for batch in batches_of(spec, size)]
        shared = networks.common_input([self._teacher], spec)
        self._steps = [(shared.prepared(one.observation), shared.prepared(one.next_observation), one) for one in scaled]

    def some(self) -> None:
        for observation, following, steps in self._steps:
            self._learn(observation, following, steps)

    def _learn(self, observation: Tensor, following: Tensor, steps: Steps) -> None:
        with torch.no_grad():
            best = self._teacher(following).argmax(1, keepdim=True)
            goal = steps.n_step_return + steps.discount * self._target(following).gather(1, best).squeeze(1)
        q = self._teacher(observation)
        loss = functional.smooth_l1_loss(q.gather(1, steps.action.unsqueeze(1)).squeeze(1), goal)
        self._descend(0, self._teacher, loss)
        target = functional.softmax(q.detach() / 0.1, dim=1)
        for place, student in enumerate(self._students, start=1):
            loss = functional.kl_div(functional.log_softmax(student(observation), dim=1), target, reduction="batchmean")
            self._descend(place, student, loss)

    def _descend(self, place: int, network: nn.Module, loss: Tensor) -> None:
        self._adams[place].zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        self._adams[place].step()


class _StudentsAlone:
    """Students of these widths and one lesson."""

    def __init__(self, widths: tuple[int, ...], together: bool, device: torch.device):
        names = [f"student{place}" for place in range(len(widths))]
        recruit = Recruit(dict.fromkeys(names, STUDENT), dict.fromkeys(names, 0), [], NUMBERS)
        self._students: Mapping = {
            name: recruit(name, networks.build(mlp(width, width), NUMBERS).to(device))
            for name, width in zip(names, widths, strict=True)
        }
        ones = [self._students] if together else [{name: one} for name, one in self._students.items()]
        self._groups = [Together(one) for one in ones]
        q = torch.randn((64, NUMBERS.actions), device=device)
        self._lesson = Lesson(torch.randn((64, *NUMBERS.input_shape), device=device), q)
        self._temperature = torch.ones((), device=device)

    def some(self) -> None:
        for place in range(BATCHES):
            say = self._lesson, self._temperature, 0.5, place % 8 == 0
            for group in self._groups:
                group.update(*say)


def batches_of(spec: EnvSpec, size: int) -> list[Batch]:
    """Random batches of an environment's shapes, as a replay gives them."""
    random = np.random.default_rng(0)
    shape = (size, *spec.input_shape)

    def observations() -> np.ndarray:
        if spec.observation_dtype == "uint8":
            return random.integers(0, round(1 / spec.scale) + 1, shape, dtype=np.uint8)
        return random.standard_normal(shape, dtype=np.float32)

    return [
        Batch(
            observation=observations(),
            action=random.integers(0, spec.actions, size),
            n_step_return=random.standard_normal(size, dtype=np.float32),
            discount=np.full(size, 0.99, np.float32),
            next_observation=observations(),
            probability=np.ones(size, np.float32),
            row=np.arange(size),
            oversampling=np.ones(size, np.float32),
        )
        for _ in range(BATCHES)
    ]
