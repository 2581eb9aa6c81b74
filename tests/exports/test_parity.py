"""distributed_kd/exports/parity.py: by numbers worked out by hand."""

import numpy as np

from distributed_kd.exports.parity import TOLERANCE, compare, outputs_of
from distributed_kd.exports.states import BATCH


def test_outputs_that_are_the_same():
    outputs = np.array([[1, 2], [3, 1]], np.float32)
    found = compare(outputs, outputs)
    assert (found.states, found.largest_difference, found.other_actions, found.ties, found.agreement) == (2, 0, 0, 0, 1)


def test_what_is_large_may_differ_by_more():
    # Largest |outputs| 1000, 8 and 0.5; their median is 8, so the scales are 1000, 8 and 8.
    policy = np.array([[1000, 0], [8, -4], [0.5, 0.25]])
    apart = np.array([[0.5, 0], [0, 0.016], [0, 0]])
    found = compare(policy, policy + apart)
    np.testing.assert_allclose([found.largest_difference, found.largest_share], [0.5, 0.016 / 8])
    # The last state alone, where it differs: 0.04 of a scale of 8.
    found = compare(policy, policy + np.array([[0, 0], [0, 0], [0.04, 0]]))
    np.testing.assert_allclose(found.largest_share, 0.04 / 8)


def test_below_1_differences_count_as_they_are():
    policy = np.array([[0.01, 0.02], [0.03, 0.01]])
    np.testing.assert_allclose(compare(policy, policy + 1e-4).largest_share, 1e-4)


def test_actions_and_ties():
    near = TOLERANCE / 2
    policy = np.array([[1, 0], [0, 1], [0, near], [0, near]])
    file = np.array([[0, 1], [0, 1], [near, 0], [0, near]])
    found = compare(policy, file)
    # Of two states whose best action is another one, the third state's outputs are a tie.
    assert (found.other_actions, found.ties, found.agreement) == (1, 2, 0.5)


def test_what_is_not_a_number_is_near_nothing():
    policy = np.array([[1.0, 0.0]])
    for file in ([[np.nan, 0.0]], [[np.inf, 0.0]]):
        assert not compare(policy, np.array(file)).largest_share <= TOLERANCE


def test_states_are_worked_on_batch_by_batch():
    sizes = []

    def act(observations):
        sizes.append(len(observations))
        return observations * 2

    observations = np.arange(2.0 * (BATCH + 3)).reshape(-1, 2)
    assert outputs_of(act, observations).tolist() == (observations * 2).tolist()
    assert sizes == [BATCH, 3]
