"""How steps of many lanes become the rows of one segment, and which segments have been seen before."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from distributed_kd.records import Segment, State

STITCHED = "stitched"
"""Why a segment is dropped in which an episode goes on behind its end"""


def lay_out(
    *,
    name: tuple[int, int, int],
    observation: NDArray,
    action: NDArray,
    reward: NDArray,
    terminated: NDArray[np.bool_],
    ended: NDArray[np.bool_],
    final: NDArray,
    following: NDArray,
    before: NDArray,
    known: NDArray[np.integer],
    gamma: float,
    policy: NDArray[np.integer],
    version: int,
    probability: NDArray[np.floating],
    valid: NDArray[np.bool_] | None = None,
) -> Segment:
    """Lay T steps of N lanes out as rows, lane by lane, with an observation of its own behind every end.

    name (actor, incarnation, sequence); observation [T, N, *shape], action, reward, terminated, ended [T, N] where ended is
    terminated or truncated; final [E, *shape], the true last observation of each episode that ended, in the order of
    `np.nonzero(ended)`; following [N, *shape], what each lane's last step led to; before [N, S - 1, *shape], the frames that
    stand before the first step, of which the newest `known` [N] are of its episode; gamma per step; policy [T, N], who
    acted; version of the weights it acted with; probability [T, N], with which it acts so there; valid [T, N], False where
    the environment failed: what was observed there is an episode's last observation and no step, None: all are steps.
    """
    steps, lanes = action.shape
    assert reward.shape == terminated.shape == ended.shape == policy.shape == probability.shape == (steps, lanes)
    assert len(final) == np.count_nonzero(ended) and len(following) == len(before) == len(known) == lanes
    closes = ended.copy()
    closes[-1] = True  # the lane goes on in the next segment; here its last observation stands alone
    lengths = known + steps + closes.sum(0)
    starts = np.cumsum(lengths) - lengths
    rows = int(lengths.sum())
    # A step's row in its lane: behind the frames before, and one further for every closing observation before it.
    step_row = starts + known + np.arange(steps)[:, None] + np.cumsum(closes, 0) - closes  # [T, N]

    is_step, begins = np.zeros(rows, np.bool_), np.zeros(rows, np.bool_)
    valid = np.ones((steps, lanes), np.bool_) if valid is None else valid
    is_step[step_row] = valid
    begins[starts] = True
    begins[step_row[1:][ended[:-1]]] = True
    # Every row is taken from somewhere, those that are no steps from the first one for now: an eighth of the time that
    # writing each to its place takes where observations are short.
    source = np.zeros(rows, np.int64)
    source[step_row] = np.arange(steps * lanes).reshape(steps, lanes)
    laid = observation.reshape(steps * lanes, *observation.shape[2:]).take(source, 0)
    laid[step_row[-1] + 1] = following
    laid[step_row[ended] + 1] = final
    for age in range(before.shape[1]):  # the newest frame has age 0
        lane = np.flatnonzero(known > age)
        laid[starts[lane] + known[lane] - 1 - age] = before[lane, -1 - age]

    def column(values: NDArray, dtype: type) -> NDArray:
        out = np.zeros(rows, dtype)
        out[step_row] = np.where(valid, values, 0)
        return out

    return Segment(
        *name,
        observation=laid,
        action=column(action, np.int64),
        reward=column(reward, np.float32),
        discount=column(gamma * (1.0 - terminated), np.float32),
        is_step=is_step,
        begins=begins,
        policy=column(policy + 1, np.int16) - np.int16(1),  # -1 where no step
        version=np.where(is_step, version, -1),
        probability=column(probability, np.float32),
    )


def is_stitched(segment: Segment) -> bool:
    """Whether steps follow a row that ended a stretch of steps, and none between them begins an episode, or a lane."""
    step, begins = segment.is_step, segment.begins
    # A lane's first step behind the frames before it, or worse.
    follows = 1 + np.flatnonzero(step[1:] & ~step[:-1] & ~begins[1:])
    if not len(follows):
        return False
    ends, begun = 1 + np.flatnonzero(step[:-1] & ~step[1:]), np.cumsum(begins)
    last = np.searchsorted(ends, follows) - 1
    return bool(np.any(begun[ends[last[last >= 0]]] == begun[follows[last >= 0]]))


def shard_of(actor: int, sequence: int, shards: int) -> int:
    """The shard that a segment belongs to: a later copy of it comes to the same one, and each actor's go round them all."""
    return (actor + sequence) % shards


class Ledger:
    """Which segments were accepted, by (actor, incarnation, sequence): each once, none of an actor's earlier life.

    None is in which an episode goes on behind its end either: n-step returns would be summed over two.
    """

    def __init__(self, shards: int = 1) -> None:
        """Of an actor's every `shards` segments in a row one comes here, as `shard_of` deals them."""
        self._shards = shards
        self._seen: dict[int, tuple[int, int, set[int]]] = {}  # actor -> incarnation, next sequence, those skipped
        self.dropped: Counter[str] = Counter()

    def accept(self, segment: Segment) -> bool:
        """True the first time; else False, its steps counted in `dropped` under the reason."""
        reason = self._refusal(segment)
        if reason:
            self.dropped[reason] += segment.steps
        return not reason

    def fence(self, actor: int, incarnation: int) -> None:
        """Accept nothing any more from the earlier incarnations of an actor."""
        if incarnation > self._seen.get(actor, (-1,))[0]:
            self._seen[actor] = (incarnation, 0, set())

    def _refusal(self, segment: Segment) -> str:
        if is_stitched(segment):
            return STITCHED
        incarnation, following, skipped = self._seen.get(segment.actor, (-1, 0, set()))
        if segment.incarnation < incarnation:
            return "fenced"
        if segment.incarnation > incarnation:
            following, skipped = 0, set()
        sequence = segment.sequence // self._shards  # so that those that come here are numbered without a gap
        if sequence >= following:
            skipped = skipped | set(range(following, sequence))
            following = sequence + 1
        elif sequence in skipped:
            skipped = skipped - {sequence}
        else:
            return "duplicate"
        self._seen[segment.actor] = (segment.incarnation, following, skipped)
        return ""

    def state(self) -> State:
        return {
            "seen": {str(actor): [life, after, sorted(skipped)] for actor, (life, after, skipped) in self._seen.items()},
            "dropped": dict(self.dropped),
        }

    def restore(self, state: State) -> None:
        self._seen = {int(actor): (life, after, set(skipped)) for actor, (life, after, skipped) in state["seen"].items()}
        self.dropped = Counter(state["dropped"])
