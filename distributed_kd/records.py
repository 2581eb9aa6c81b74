"""What moves between the parts of a run: plain records of NumPy arrays and numbers, cheap to hand to Ray."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

RANDOM = "random"
"""Name of the policy that acts at random, where scores are told"""

State = dict[str, object]
"""What `state()` gives and `restore(state)` takes: nested dicts with str keys of arrays, tensors and plain numbers."""


@dataclass(frozen=True)
class EnvSpec:
    """What a network and a replay must know of an environment."""

    id: str
    observation_shape: tuple[int, ...]
    """of one observation, as it is stored"""
    observation_dtype: str
    """uint8 or float32"""
    actions: int
    action_start: int = 0
    frame_stack: int = 1
    """newest observations of an episode that a network sees at once, the oldest first"""
    channels: Literal["none", "first", "last"] = "none"
    """where the channels of an image of three axes stand; none: it has no such axis"""
    scale: float = 1.0
    """factor that brings an observation to about 1, such as 1 / 255"""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of what a network sees: [*shape], or [frame_stack, *shape] where observations are stacked."""
        return (self.frame_stack, *self.observation_shape) if self.frame_stack > 1 else self.observation_shape


@dataclass(frozen=True)
class Segment:
    """What one rollout saw in T steps of its N lanes, laid lane by lane into R rows.

    A lane's rows stand in the order of time. A row is a *step* (an observation and what was done in it) or only an
    observation: the true last one of an episode, or the one that follows the lane's last step here. So the observation
    after a step always stands in the next row, each observation stands once, and a row that is no step ends every walk.
    Where observations are stacked, the frames that stand before a lane's first step here come first, again as rows that are
    no steps: the one thing that is stored twice.

    observation [R, *shape], action [R] int64, reward [R] float32, discount [R] float32 (gamma * (1 - terminated)),
    is_step [R] bool, begins [R] bool (nothing of its episode stands before this row), policy [R] int16 (number of the policy
    that acted, -1 where no step), version [R] int64 (its weights), probability [R] float32 (with which that policy takes
    that action there, 0 where no step).
    """

    actor: int
    incarnation: int
    sequence: int
    observation: NDArray
    action: NDArray[np.int64]
    reward: NDArray[np.float32]
    discount: NDArray[np.float32]
    is_step: NDArray[np.bool_]
    begins: NDArray[np.bool_]
    policy: NDArray[np.int16]
    version: NDArray[np.int64]
    probability: NDArray[np.float32]

    @property
    def steps(self) -> int:
        return int(np.count_nonzero(self.is_step))

    def check_valid(self) -> None:
        """Raise ValueError where the arrays do not fit each other or the last row is a step."""
        rows = len(self.observation)
        for name in ("action", "reward", "discount", "is_step", "begins", "policy", "version", "probability"):
            if getattr(self, name).shape != (rows,):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not ({rows},)")
        if rows == 0 or self.is_step[-1]:
            raise ValueError("the last row of a segment must be an observation without a step")
        if not self.begins[0]:
            raise ValueError("nothing stands before the first row of a segment, so it must begin")


@dataclass(frozen=True)
class Batch:
    """Steps drawn from the replay; `[K, B]` stands before every shape where K batches travel together.

    observation [B, *input_shape], action [B] int64, n_step_return [B] float32, discount [B] float32 (the product of the
    discounts of the steps summed, 0 after a termination), next_observation [B, *input_shape], the one to bootstrap from,
    probability [B] float32 (with which the policy that acted takes that action), row [B] int64 (the number that the replay
    gave the step, under which it takes its priority back), oversampling [B] float32 (how many times as likely it was drawn
    as it would have been uniformly; 1 where draws are uniform).

    `own` holds, by name, batches of the newest steps of students that learn from their own lanes; there is none before they
    have made a batch of steps. `students` is the batch that the students learn from where it is not this one.
    """

    observation: NDArray
    action: NDArray[np.int64]
    n_step_return: NDArray[np.float32]
    discount: NDArray[np.float32]
    next_observation: NDArray
    probability: NDArray[np.float32]
    row: NDArray[np.int64]
    oversampling: NDArray[np.float32]
    own: Mapping[str, "Batch"] = field(default_factory=dict)
    students: "Batch | None" = None

    @property
    def columns(self) -> tuple[NDArray, ...]:
        """Every array of the batch itself, in the order of its fields."""
        return tuple(getattr(self, name) for name in COLUMNS)

    def split(self) -> list["Batch"]:
        """The K batches that travelled together, as views."""
        own = {name: batch.split() for name, batch in self.own.items()}
        students = self.students.split() if self.students else None
        return [
            Batch(
                *one,
                own={name: batches[place] for name, batches in own.items()},
                students=students[place] if students else None,
            )
            for place, one in enumerate(zip(*self.columns, strict=True))
        ]


COLUMNS = tuple(one.name for one in fields(Batch) if one.name not in ("own", "students"))
"""The fields of a `Batch` that are arrays"""


@dataclass(frozen=True)
class Priorities:
    """What learning says of steps that were drawn: row [K] int64 as in `Batch`, priority [K] float32 of each."""

    row: NDArray[np.int64]
    priority: NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """One publication: every policy's parameters as one flat float32 vector, in the order of `parameters()`.

    `normal` [2, *observation_shape] is the mean and the standard deviation that all of them see observations by; None where
    they see them as they are.
    """

    version: int
    flat: Mapping[str, NDArray[np.float32]]
    normal: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Fault:
    """What an environment did that is no step. Its lane's episode was cut off where it stood, and a new one begun."""

    reason: Literal["env_error", "env_nan", "env_shape"]
    """it raised; gave a number that is none; gave an observation of another shape"""
    lane: int
    seed: int
    """of the episode"""
    why: str
    steps: int
    """dropped for it: 1, or 0 where it failed between two episodes"""


@dataclass(frozen=True)
class EpisodeStats:
    """The small account of one `collect`, which travels beside its segment."""

    actor: int
    incarnation: int
    sequence: int
    steps: int
    version: int
    seconds: float
    policy: NDArray[np.int16]
    """[E] number of the policy that drove each episode that ended"""
    episode_return: NDArray[np.float64]
    """[E] sum of its rewards"""
    episode_length: NDArray[np.int64]
    """[E] its steps"""
    started: float = math.nan
    """time.time() when the call began; NaN where it is not told"""
    faults: tuple[Fault, ...] = ()
    """of the environments, in the order of time"""


@dataclass(frozen=True)
class Receipt:
    """The replay's word on its counts after a call; only the replay counts them."""

    inserted: int
    evicted: int
    size: int
    sampled: int
    insert_limit: int
    """how far `inserted` may run for now; it only ever grows"""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """steps refused so far, by reason"""
    prioritised: int = 0
    """priorities taken from learning so far"""
    late_priorities: int = 0
    """priorities that came for steps no longer there"""
    shards: tuple["Receipt", ...] = ()
    """the receipts that these counts are the sums of; a shard's own has none"""

    @property
    def order(self) -> tuple[int, ...]:
        """Counts that only ever grow, by which the later of two receipts is told."""
        return self.inserted, self.sampled, sum(self.dropped.values()), self.prioritised, self.late_priorities


@dataclass(frozen=True)
class Divergence:
    """A network of which too many updates in a row were skipped, and the batch that the last of these was to learn from."""

    network: str
    update: int
    """updates of the teacher since the run began"""
    skipped: int
    """in a row, at least"""
    loss: float
    """the newest one that was measured; not a number where none was"""
    batch: Mapping[str, NDArray]
    """its columns [B, ...] by name; those of the students' own batches behind a name and a dot"""


@dataclass(frozen=True)
class LearnerReport:
    """What a call of the learner did."""

    updates: int
    """updates of the teacher since the run began"""
    done: int
    """updates in this call"""
    busy_seconds: float
    """time of this call spent in updates"""
    wait_seconds: float
    """time of this call spent waiting for batches"""
    started: float
    """time.time() when the call began"""
    ended: float
    """time.time() when the call ended"""
    starved: bool
    """the replay's pace gave no more batches"""
    receipt: Receipt
    """the replay's counts with the newest batches"""
    updates_of: Mapping[str, int] = field(default_factory=dict)
    """updates of each student since the run began: fewer than the teacher's where it began later"""
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """per network the means over this call of what was finite: loss, grad_norm and what else it logs"""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """per network the updates of this call that were left out, as its gradient or loss was not finite"""
    diverged: Divergence | None = None
    """a network that cannot go on so"""
    waits: int = 0
    """requests for batches whose answer this call waited for"""
    sample_age_rows: float = float("nan")
    """rows inserted since the steps learned from in this call, their mean; not a number where none were"""


@dataclass(frozen=True)
class PolicyScore:
    """One policy's full greedy episodes."""

    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    version: int
    agreement: float = float("nan")
    """share of held-out states where it acts as the teacher does"""
    gap_weighted_agreement: float = float("nan")
    """the same, each state weighing as much as the teacher's best action is better than its second best"""
    decision_microseconds: float = float("nan")
    """median time of one decision on one CPU thread"""


@dataclass(frozen=True)
class Evaluation:
    """The scores of all policies, the random one among them, on the same seeds."""

    version: int
    seconds: float
    scores: Mapping[str, PolicyScore]
    teacher: NDArray[np.float32]
    """the teacher's parameters [P] that were played"""
    faults: tuple[Fault, ...] = ()
    """of the environments; each cost an episode, which was played again"""
