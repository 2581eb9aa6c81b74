import numpy as np
import pytest

from distributed_kd.config import EnvConfig
from distributed_kd.envs.atari_lanes import AtariLanes
from distributed_kd.envs.lanes import SyncLanes, make_lanes
from distributed_kd.envs.spec import make, read_spec

pytest.importorskip("ale_py.vector_env")

STILL = {"repeat_action_probability": 0.0, "noop_max": 0}
"""nothing is left to chance, so that both ways of stepping play the same game"""


def lanes_of(config, count=2, seed=0, repeatable=False):
    return make_lanes(config, read_spec(config), count, np.random.SeedSequence(seed), repeatable=repeatable)


def actions_of(config, steps, count=2, seed=0):
    return np.random.default_rng(seed).integers(0, read_spec(config).actions, (steps, count))


@pytest.mark.parametrize(
    ("config", "repeatable", "kind"),
    [
        (EnvConfig("ALE/Pong-v5"), False, AtariLanes),
        (EnvConfig("PongNoFrameskip-v4", {"frameskip": 3}, protocol="classic"), False, AtariLanes),
        (EnvConfig("ALE/Pong-v5"), True, SyncLanes),
        (EnvConfig("ALE/Pong-v5", protocol="none"), False, SyncLanes),
        # A word that only the single form knows.
        (EnvConfig("ALE/Pong-v5", {"difficulty": 1}), False, SyncLanes),
        (EnvConfig("Acrobot-v1"), False, SyncLanes),
    ],
    ids=["v5", "no frameskip", "repeatable", "no protocol", "difficulty", "another"],
)
def test_the_fast_form_is_taken_where_it_plays_the_same(config, repeatable, kind):
    lanes = lanes_of(config, repeatable=repeatable)
    assert type(lanes) is kind
    lanes.close()


@pytest.mark.parametrize(
    ("game", "protocol", "kwargs", "steps"),
    [
        ("Breakout", "machado", {}, 200),
        ("Breakout", "classic", {}, 200),
        ("Breakout", "classic", {"max_num_frames_per_episode": 222}, 100),
        ("Breakout", "machado", {"frameskip": 1}, 60),
        ("AirRaid", "machado", {}, 30),  # 250 rows of pixels, where most games have 210
    ],
)
def test_games_are_stepped_as_the_python_form_steps_them(game, protocol, kwargs, steps):
    config = EnvConfig(f"ALE/{game}-v5", {**STILL, **kwargs}, protocol=protocol)
    lanes, singles = lanes_of(config), [make(config) for _ in range(2)]
    now = lanes.reset()
    for lane, single in enumerate(singles):
        np.testing.assert_array_equal(now[lane], single.reset(seed=0)[0])
    ends = {"terminated": 0, "truncated": 0, "lives": 0}
    for action in actions_of(config, steps):
        step = lanes.step(action)
        for name in ("observation", "after"):
            assert (getattr(step, name).shape, getattr(step, name).dtype) == ((2, 84, 84), np.uint8)
        for lane, single in enumerate(singles):
            expected, reward, terminated, truncated, _ = single.step(int(action[lane]))
            assert (step.reward[lane], step.terminated[lane], step.truncated[lane]) == (reward, terminated, truncated)
            if terminated or truncated:
                goes_on = single.goes_on
                ends["lives" if goes_on else "terminated" if terminated else "truncated"] += 1
                # Nothing is learned from the observation at a game's own end, which ALE puts together from older frames.
                if goes_on or truncated:
                    np.testing.assert_array_equal(step.after[lane], expected)
                expected, _ = single.reset()
            else:
                np.testing.assert_array_equal(step.after[lane], expected)
            np.testing.assert_array_equal(step.observation[lane], expected)
    lanes.close()
    assert (ends["lives"] > 0) == (protocol == "classic")
    assert (ends["truncated"] > 0) == ("max_num_frames_per_episode" in kwargs)
    if steps == 200 and not kwargs:
        assert ends["terminated"] > 0


def test_rewards_are_those_of_the_game():
    config = EnvConfig("ALE/SpaceInvaders-v5", STILL)
    lanes = lanes_of(config)
    lanes.reset()
    gained = {float(reward) for action in actions_of(config, 150) for reward in lanes.step(action).reward}
    assert max(gained) >= 5  # a hit is worth 5 to 30


def test_arrays_are_new_ones_at_every_step():
    config = EnvConfig("ALE/Breakout-v5")
    lanes = lanes_of(config)
    kept = [lanes.reset()]
    copies = [kept[0].copy()]
    for action in actions_of(config, 60):
        step = lanes.step(action)
        kept += [step.observation, step.after]
        copies += [step.observation.copy(), step.after.copy()]
    np.testing.assert_array_equal(kept, copies)


# Breakout waits for a shot, whatever the idle frames; Space Invaders shows no player for its first steps.
@pytest.mark.parametrize(("game", "protocol"), [("Breakout", "machado"), ("SpaceInvaders", "classic")])
def test_one_seed_gives_one_future_and_lanes_of_their_own(game, protocol):
    config = EnvConfig(f"ALE/{game}-v5", protocol=protocol)
    same = np.repeat(actions_of(config, 40, 1), 2, axis=1)

    def play(seed):
        lanes = lanes_of(config, seed=seed)
        return np.stack([lanes.reset(), *(lanes.step(action).after for action in same)])

    first = play(0)
    np.testing.assert_array_equal(first, play(0))
    assert not np.array_equal(first, play(1))
    assert not np.array_equal(first[:, 0], first[:, 1])


def test_such_lanes_have_no_state_and_begin_anew():
    config = EnvConfig("ALE/Breakout-v5", {"max_num_frames_per_episode": 40})
    lanes = lanes_of(config)
    begin = lanes.reset().copy()
    for action in actions_of(config, 7):
        lanes.step(action)
    assert lanes.state() == {}
    np.testing.assert_array_equal(lanes.restore({}), begin)
    ended = [lanes.step(action).truncated.tolist() for action in actions_of(config, 10)]
    assert ended == [[False] * 2] * 9 + [[True] * 2]


@pytest.mark.parametrize("protocol", ["machado", "classic"])
def test_repeatable_lanes_are_restored_in_the_midst_of_a_game(protocol):
    config = EnvConfig("ALE/Breakout-v5", protocol=protocol)
    actions = actions_of(config, 120)
    first = lanes_of(config, repeatable=True)
    first.reset()
    ended = np.zeros(2, bool)
    for action in actions[:90]:
        step = first.step(action)
        ended |= step.terminated
        now = step.observation.copy()
    assert ended.all() or protocol == "machado"
    state = first.state()
    second = lanes_of(config, repeatable=True)
    second.reset()
    np.testing.assert_array_equal(second.restore(state), now)
    for action in actions[90:]:
        ours, theirs = second.step(action), first.step(action)
        for name in ("observation", "after", "reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_equal(second.state(), first.state())
