"""Which observations are kept of the episodes that a policy plays: some of all, each as likely as any other."""

import gymnasium as gym
import numpy as np
from scipy import stats

from distributed_kd.records import EnvSpec
from distributed_kd.rollouts.evaluation import play

SPEC = EnvSpec("Counted", (2,), "float32", 2)
LENGTHS = (2, 3, 5, 8, 8, 13, 21)
"""60 observations in all; from the 14th step on one episode alone is played"""


class Counted(gym.Env):
    """An episode of so many steps; the observation is [lane, steps taken], always in the same array."""

    def __init__(self, lane, length):
        self.row, self.length = np.array([lane, 0], np.float32), length

    def reset(self, *, seed=None, options=None):
        self.row[1] = 0
        return self.row, {}

    def step(self, action):
        self.row[1] += 1
        return self.row, 1.0, self.row[1] == self.length, False, {}


def kept(keep, seed=0):
    """(lane, step) of what is kept."""
    envs = [Counted(lane, length) for lane, length in enumerate(LENGTHS)]
    seeds = np.random.SeedSequence(seed).generate_state(len(envs))
    played = play(envs, SPEC, lambda observation: np.zeros(len(observation), np.int64), seeds, keep)
    assert played.lengths == LENGTHS
    return [tuple(one) for one in played.observations.tolist()]


ALL = {(lane, step) for lane, length in enumerate(LENGTHS) for step in range(length)}


def test_all_are_kept_where_there_is_room_and_none_unless_asked():
    for keep in (60, 61, 1000):
        assert len(kept(keep)) == 60
        assert set(kept(keep)) == ALL
    assert kept(0) == []


def test_as_many_as_asked_for_none_twice_and_the_same_for_the_same_seeds():
    for keep in (1, 7, 59):
        ours = kept(keep)
        assert len(ours) == len(set(ours)) == keep
        assert set(ours) < ALL
        assert kept(keep) == ours
    assert set(kept(7)) != set(kept(7, seed=1))


def test_each_observation_is_as_likely_to_be_kept_as_any_other():
    # 600 times 8 of 60: 80 each. The final observation of an episode is never acted on, nor kept.
    counts = dict.fromkeys(ALL, 0)
    for seed in range(600):
        for one in kept(8, seed):
            counts[one] += 1
    # Drawn without replacement they vary less than a chi-square says, by 8 / 60.
    assert stats.chisquare(list(counts.values())).pvalue > 1e-4
    steps = np.array([step for _, step in counts])
    late = sum(count for (_, step), count in counts.items() if step >= 13)
    # 8 of the 60 come when one episode is left: 640 of 4,800, with a standard deviation of 22.
    assert (steps >= 13).sum() == 8
    assert abs(late - 640) < 90


def test_they_stand_in_no_order():
    """So that the first of them are a fair sample too: decisions are timed on those."""
    places = [np.mean([step for _, step in kept(20, seed)[:5]]) for seed in range(100)]
    mean = np.mean([step for _, step in ALL])
    # 500 steps with a standard deviation of about 5: a standard error of .22
    assert abs(np.mean(places) - mean) < 1.0
