"""The replay as plain lists of trajectories, slow and plain enough to be believed: what the real one is held against."""

from dataclasses import dataclass, field, replace

import numpy as np
from hypothesis import strategies as st

from distributed_kd.records import EnvSpec
from distributed_kd.replay.segments import lay_out
from distributed_kd.rollouts.frames import Frames

SPEC = EnvSpec("Numbers", (2,), "float32", 4)
"""an observation is [its own number, minus that], no number twice"""


def stacking(stack):
    """The same environment, `stack` of its observations seen at once."""
    return replace(SPEC, frame_stack=stack)


@dataclass
class Piece:
    """One lane's steps within one segment up to an episode's end, or to the segment's."""

    episode: list
    """numbers of all observations of its episode, from the first one on; it grows while the episode goes on"""
    first: int
    """place in the episode of the observation before the first step here"""
    before: int
    """observations before that one which the segment brings along"""
    steps: list = field(default_factory=list)
    """(action, reward, discount, policy, probability)"""

    def number(self, k):
        """Number of the observation of step k, or behind the last step."""
        return self.episode[self.first + k]

    def seen(self, k, stack):
        """What a network sees there: the newest observations of the episode, the first one for those that never were."""
        here = self.first + k
        return tuple(self.episode[max(0, place)] for place in range(here - stack + 1, here + 1))

    def transition(self, k, n, stack, clip):
        """The n-step transition from step k: what is seen, action, return, discount, what is seen next, probability."""
        total, discount, following = 0.0, 1.0, k
        for _, reward, factor, _, _ in self.steps[k : k + n]:
            total += discount * max(-clip, min(clip, reward))
            discount *= factor
            following += 1
            if factor == 0.0:  # nothing behind it counts
                break
        return self.seen(k, stack), self.steps[k][0], total, discount, self.seen(following, stack), self.steps[k][4]


class NaiveReplay:
    """A list of rows, each the place (piece, k) of an observation; as many of the newest as the capacity holds."""

    def __init__(self, capacity, n, stack=1, clip=float("inf")):
        self.capacity, self.n, self.stack, self.clip = capacity, n, stack, clip
        self.rows, self.inserted, self.written = [], 0, 0

    def add(self, pieces):
        for piece in pieces:
            self.rows += [(piece, k) for k in range(-piece.before, len(piece.steps) + 1)]
            self.inserted += len(piece.steps)
            self.written += piece.before + len(piece.steps) + 1
        self.rows = self.rows[-self.capacity :]

    def held(self):
        """(row's number, piece, k) of all steps of which every frame is held, the oldest first."""
        places = {(id(piece), k) for piece, k in self.rows}
        steps = []
        for number, (piece, k) in enumerate(self.rows, self.written - len(self.rows)):
            stacked = range(max(-piece.first, k - self.stack + 1), k + 1)
            if 0 <= k < len(piece.steps) and all((id(piece), frame) in places for frame in stacked):
                steps.append((number, piece, k))
        return steps

    def transitions(self):
        """Number of the observation -> its transition, for all steps that are held."""
        return {piece.number(k): piece.transition(k, self.n, self.stack, self.clip) for _, piece, k in self.held()}

    def numbers(self):
        """Number of the observation -> that of its row, of all rows ever written, for all steps that are held."""
        return {piece.number(k): row for row, piece, k in self.held()}

    def own(self, policy, newest):
        """Numbers of the observations of that policy's newest steps, of those that are held."""
        return [piece.number(k) for _, piece, k in self.held() if piece.steps[k][3] == policy][-newest:]


class Player:
    """Makes up segments of lanes that go on from one to the next, together with their pieces.

    Each lane has a policy of its own, and in some steps the teacher, policy 0, acts instead. Observations are counted.
    """

    def __init__(self, seed, lanes, steps, gamma, ending=0.3, stack=1, scale=1.0):
        self.random = np.random.default_rng(seed)
        self.lanes, self.steps, self.gamma, self.ending, self.stack, self.scale = lanes, steps, gamma, ending, stack, scale
        self.count = 0
        self.episodes = [[self.next()] for _ in range(lanes)]
        self.frames = Frames(stacking(stack), lanes)
        self.frames.begin(self.newest())
        self.sequence = 0

    def next(self):
        self.count += 1
        return self.count

    def newest(self):
        return pictured([episode[-1] for episode in self.episodes])

    @property
    def most_rows(self):
        """Of one segment."""
        return self.lanes * (self.stack - 1 + 2 * self.steps)

    def play(self):
        """The next segment, and its pieces, one lane after the other."""
        shape = (self.steps, self.lanes)
        action = self.random.integers(0, 4, shape)
        reward = (self.scale * self.random.normal(size=shape)).astype(np.float32)
        ended = self.random.random(shape) < self.ending
        terminated = ended & (self.random.random(shape) < 0.5)
        policy = np.where(self.random.random(shape) < 0.2, 0, np.arange(self.lanes))
        probability = self.random.random(shape).astype(np.float32)
        observation, final = np.empty((*shape, 2), np.float32), []
        before, known = self.frames.before
        pieces = [[self.piece(lane, self.stack - 1)] for lane in range(self.lanes)]
        for t in range(self.steps):
            observation[t] = self.frames.newest
            for lane, episode in enumerate(self.episodes):
                factor = 0.0 if terminated[t, lane] else self.gamma
                who = int(policy[t, lane]), float(probability[t, lane])
                pieces[lane][-1].steps.append((int(action[t, lane]), float(reward[t, lane]), factor, *who))
                episode.append(self.next())
            following = self.newest()
            self.frames.push(following)
            over = np.flatnonzero(ended[t])
            final.append(following[over])
            for lane in over:
                self.episodes[lane] = [self.next()]
                if t + 1 < self.steps:
                    pieces[lane].append(self.piece(lane))
            self.frames.begin(self.newest()[over], over)
        segment = lay_out(
            name=(0, 0, self.sequence),
            observation=observation,
            action=action,
            reward=reward,
            terminated=terminated,
            ended=ended,
            final=np.concatenate(final),
            following=following,
            before=before,
            known=known,
            gamma=self.gamma,
            policy=policy,
            version=self.sequence,
            probability=probability,
        )
        self.sequence += 1
        return segment, [piece for lane in pieces for piece in lane]

    def piece(self, lane, before=0):
        """A piece that begins where the lane stands, with at most so many observations before it."""
        first = len(self.episodes[lane]) - 1
        return Piece(self.episodes[lane], first, min(first, before))


def pictured(numbers):
    return np.stack([numbers, np.negative(numbers)], -1).astype(np.float32)


def players_of(stack):
    return st.builds(
        Player,
        seed=st.integers(0, 2**32 - 1),
        lanes=st.integers(1, 4),
        steps=st.integers(1, 6),
        gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
        ending=st.sampled_from([0.0, 0.1, 0.3, 1.0]),
        stack=stack,
    )


players = players_of(st.just(1))
stacking_players = players_of(st.integers(1, 4))
