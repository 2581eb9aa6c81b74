"""The replay as plain lists of trajectories, slow and plain enough to be believed: what the real one is held against."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from distributed_kd.records import EnvSpec
from distributed_kd.replay.segments import lay_out

SPEC = EnvSpec("Numbers", (2,), "float32", 4)
"""an observation is [its own number, minus that], no number twice"""


@dataclass
class Piece:
    """One lane's steps within one segment up to an episode's end, or to the segment's."""

    steps: list = field(default_factory=list)
    """(number of the observation, action, reward, discount, policy, probability)"""
    last: int = -1
    """number of the observation behind the last step"""

    def transition(self, k, n):
        """The n-step transition from step k: action, return, discount, number of the next observation, probability."""
        total, discount, following = 0.0, 1.0, k
        for _, _, reward, factor, _, _ in self.steps[k : k + n]:
            total += discount * reward
            discount *= factor
            following += 1
            if factor == 0.0:  # nothing behind it counts
                break
        number = self.steps[following][0] if following < len(self.steps) else self.last
        return self.steps[k][1], total, discount, number, self.steps[k][5]


class NaiveReplay:
    """A list of rows, each the place (piece, k) of an observation; as many of the newest as the capacity holds."""

    def __init__(self, capacity, n):
        self.capacity, self.n, self.rows, self.inserted = capacity, n, [], 0

    def add(self, pieces):
        for piece in pieces:
            self.rows += [(piece, k) for k in range(len(piece.steps) + 1)]
            self.inserted += len(piece.steps)
        self.rows = self.rows[-self.capacity :]

    def transitions(self):
        """Number of the observation -> its transition, for all steps that are held."""
        return {piece.steps[k][0]: piece.transition(k, self.n) for piece, k in self.rows if k < len(piece.steps)}

    def own(self, policy, newest):
        """Numbers of the observations of that policy's newest steps, of those that are held."""
        held = [piece.steps[k] for piece, k in self.rows if k < len(piece.steps)]
        return [step[0] for step in held if step[4] == policy][-newest:]


class Player:
    """Makes up segments of lanes that go on from one to the next, together with their pieces.

    Each lane has a policy of its own, and in some steps the teacher, policy 0, acts instead.
    """

    def __init__(self, seed, lanes, steps, gamma, ending=0.3):
        self.random = np.random.default_rng(seed)
        self.lanes, self.steps, self.gamma, self.ending = lanes, steps, gamma, ending
        self.numbers = iter(range(10**9))
        self.now = [next(self.numbers) for _ in range(lanes)]
        self.sequence = 0

    def play(self):
        """The next segment, and its pieces, one lane after the other."""
        shape = (self.steps, self.lanes)
        observation, after = np.zeros((2, *shape), int)
        action = self.random.integers(0, 4, shape)
        reward = self.random.normal(size=shape).astype(np.float32)
        ended = self.random.random(shape) < self.ending
        terminated = ended & (self.random.random(shape) < 0.5)
        policy = np.where(self.random.random(shape) < 0.2, 0, np.arange(self.lanes))
        probability = self.random.random(shape).astype(np.float32)
        pieces = []
        for lane in range(self.lanes):
            pieces.append(Piece())
            for t in range(self.steps):
                observation[t, lane] = self.now[lane]
                after[t, lane] = self.now[lane] = next(self.numbers)
                factor = 0.0 if terminated[t, lane] else self.gamma
                who = policy[t, lane], float(probability[t, lane])
                pieces[-1].steps.append((observation[t, lane], action[t, lane], float(reward[t, lane]), factor, *who))
                pieces[-1].last = after[t, lane]
                if ended[t, lane]:
                    self.now[lane] = next(self.numbers)
                    if t + 1 < self.steps:
                        pieces.append(Piece())
        segment = lay_out(
            name=(0, 0, self.sequence),
            observation=pictured(observation),
            action=action,
            reward=reward,
            terminated=terminated,
            ended=ended,
            after=pictured(after),
            gamma=self.gamma,
            policy=policy,
            version=self.sequence,
            probability=probability,
        )
        self.sequence += 1
        return segment, pieces


def pictured(numbers):
    return np.stack([numbers, -numbers], -1).astype(np.float32)


players = st.builds(
    Player,
    seed=st.integers(0, 2**32 - 1),
    lanes=st.integers(1, 4),
    steps=st.integers(1, 6),
    gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    ending=st.sampled_from([0.0, 0.3, 1.0]),
)
