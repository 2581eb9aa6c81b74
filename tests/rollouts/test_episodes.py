"""What episodes came to, against a plain count step by step."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.rollouts.episodes import Episodes


def test_by_hand():
    episodes = Episodes(2)
    reward = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    ended = np.array([[False, True], [True, False], [False, True]])
    lane, total, length = episodes.over(reward, ended)
    # In the order of time: lane 1 after 10; lane 0 after 1 + 2; lane 1 after 20 + 40.
    assert lane.tolist() == [1, 0, 1]
    assert total.tolist() == [10, 3, 60]
    assert length.tolist() == [1, 2, 2]
    # Lane 0 has 4 so far, lane 1 nothing. Then nobody ends, then both: 4 + 1 + 8 and 2 + 16.
    lane, total, length = episodes.over(np.array([[1.0, 2.0]]), np.zeros((1, 2), bool))
    assert len(lane) == len(total) == len(length) == 0
    lane, total, length = episodes.over(np.array([[8.0, 16.0]]), np.ones((1, 2), bool))
    assert (lane.tolist(), total.tolist(), length.tolist()) == ([0, 1], [13, 18], [3, 2])


@settings(deadline=None, max_examples=100)
@given(data=st.data(), lanes=st.integers(1, 4), segments=st.integers(1, 4))
def test_as_counted_step_by_step_and_across_a_state(data, lanes, segments):
    ours = Episodes(lanes)
    total, length = np.zeros(lanes), np.zeros(lanes, int)
    for _ in range(segments):
        steps = data.draw(st.integers(1, 6))
        shape = (steps, lanes)
        reward = np.array(data.draw(st.lists(st.integers(-9, 9), min_size=steps * lanes, max_size=steps * lanes)), float)
        ended = np.array(data.draw(st.lists(st.booleans(), min_size=steps * lanes, max_size=steps * lanes)))
        reward, ended = reward.reshape(shape), ended.reshape(shape)
        expected = []
        for t in range(steps):
            total += reward[t]
            length += 1
            for lane in np.flatnonzero(ended[t]):
                expected.append((lane, total[lane], length[lane]))
                total[lane] = length[lane] = 0
        state = ours.state()
        kept = {name: value.copy() for name, value in state.items()}
        found = list(zip(*ours.over(reward, ended), strict=True))
        assert found == expected
        np.testing.assert_equal(state, kept)
        again = Episodes(lanes)
        again.restore(state)
        assert list(zip(*again.over(reward, ended), strict=True)) == expected
        np.testing.assert_equal(again.state(), ours.state())
    np.testing.assert_array_equal(ours.state()["return"], total)
    np.testing.assert_array_equal(ours.state()["length"], length)
