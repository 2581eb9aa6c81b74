import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box

from distributed_kd.config import EnvConfig
from distributed_kd.envs.atari import AtariFrames, _taps, shrink
from distributed_kd.envs.spec import make, read_spec
from distributed_kd.errors import ConfigurationError

pytest.importorskip("ale_py")

BREAKOUT = "ALE/Breakout-v5"


def played(env, actions, seed=0):
    """reward, terminated, truncated and lives of each step, to the first end."""
    env.reset(seed=seed)
    steps = []
    for action in actions:
        _, reward, terminated, truncated, info = env.step(int(action))
        steps.append((reward, terminated, truncated, info["lives"]))
        if terminated or truncated:
            break
    return steps


def random_actions(count, actions=4, seed=0):
    return np.random.default_rng(seed).integers(0, actions, count)


@pytest.mark.parametrize(
    ("id", "protocol", "shape", "actions"),
    [
        (BREAKOUT, "machado", (84, 84), 18),
        (BREAKOUT, "classic", (84, 84), 4),
        (BREAKOUT, "none", (210, 160, 3), 4),
        ("PongNoFrameskip-v4", "classic", (84, 84), 6),
        ("Pong-v4", "machado", (84, 84), 18),
    ],
)
def test_shapes_and_actions(id, protocol, shape, actions):
    import ale_py  # noqa: F401  without it Pong-v4 is not known to be one of ALE's

    config = EnvConfig(id, protocol=protocol)
    spec = read_spec(config)
    assert (spec.observation_shape, spec.observation_dtype, spec.actions) == (shape, "uint8", actions)
    assert (spec.scale, spec.frame_stack) == (1 / 255, 1)
    env = make(config)
    assert env.observation_space == Box(0, 255, shape, np.uint8)
    for seen in (env.reset(seed=0)[0], env.step(0)[0]):
        assert (seen.shape, seen.dtype) == (shape, np.uint8)
        assert len(np.unique(seen)) > 1


@pytest.mark.parametrize(("protocol", "sticky"), [("machado", 0.25), ("classic", 0.0)])
def test_the_game_is_set_up_by_the_protocol_and_the_users_words_go_before_it(protocol, sticky):
    ale = make(EnvConfig(BREAKOUT, protocol=protocol)).unwrapped.ale
    assert ale.getFloat("repeat_action_probability") == sticky
    own = EnvConfig(BREAKOUT, {"repeat_action_probability": 0.5, "full_action_space": False, "frameskip": 2, "mode": 4},
                    evaluation_kwargs={"repeat_action_probability": 0.125}, protocol=protocol)  # fmt: skip
    env = make(own)
    assert env.unwrapped.ale.getFloat("repeat_action_probability") == 0.5
    assert make(own, evaluation=True).unwrapped.ale.getFloat("repeat_action_probability") == 0.125
    assert env.action_space.n == 4
    env.reset(seed=0)
    first = env.unwrapped.ale.getEpisodeFrameNumber()
    env.step(0)
    assert env.unwrapped.ale.getEpisodeFrameNumber() == first + 2


@pytest.mark.parametrize(
    ("kwargs", "told"),
    [
        (
            {"frameskip": (2, 5)},
            "bad Atari setting (env.kwargs.frameskip=(2, 5)): with a protocol it is a whole number from 1",
        ),
        ({"noop_max": -1}, "bad Atari setting (env.kwargs.noop_max=-1): with a protocol it is a whole number from 0"),
        ({"max_num_frames_per_episode": 0}, "bad Atari setting (env.kwargs.max_num_frames_per_episode=0)"),
        ({"obs_type": "ram"}, "bad Atari setting (env.kwargs.obs_type=ram): with a protocol observations are grey frames"),
    ],
)
def test_what_a_protocol_cannot_have_is_named(kwargs, told):
    with pytest.raises(ConfigurationError) as caught:
        make(EnvConfig(BREAKOUT, kwargs))
    (line,) = caught.value.lines
    assert line.startswith(told)
    assert line.endswith("or set --env.protocol none")


def test_without_a_protocol_all_words_are_the_games_own():
    config = EnvConfig(BREAKOUT, {"obs_type": "ram", "frameskip": 2}, protocol="none")
    assert read_spec(config).observation_shape == (128,)


def test_idle_frames_are_from_none_to_thirty():
    def idle(protocol, games):
        env = make(EnvConfig(BREAKOUT, protocol=protocol))
        frames = []
        for _ in range(games):
            env.reset(seed=0 if not frames else None)
            frames.append(env.unwrapped.ale.getEpisodeFrameNumber())
        return frames

    assert set(idle("machado", 3)) == {0}
    drawn = idle("classic", 40)
    assert 0 <= min(drawn) < 5 < 25 < max(drawn) <= 30


def test_a_lost_life_ends_a_classic_episode_but_not_the_game():
    config = EnvConfig(BREAKOUT, {"noop_max": 0}, protocol="classic")
    training, evaluation = make(config), make(config, evaluation=True)
    actions = random_actions(400)
    whole = played(evaluation, actions)
    assert whole[-1][1:] == (True, False, 0)
    assert {lives for *_, lives in whole} == {5, 4, 3, 2, 1, 0}
    episodes, done, last = [], 0, None
    for lives in (4, 3, 2, 1, 0):
        observation, _ = training.reset(seed=0)
        if done:  # the next episode begins with the frame that the last one ended with
            np.testing.assert_array_equal(observation, last)
        episode = []
        while not episode or not episode[-1][1]:
            last, reward, terminated, truncated, info = training.step(int(actions[done + len(episode)]))
            episode.append((reward, terminated, truncated, info["lives"]))
        assert episode[-1][1:] == (True, False, lives)
        done += len(episode)
        episodes += episode
    # One game in all, step by step the one of evaluation.
    assert [(reward, lives) for reward, *_, lives in episodes] == [(reward, lives) for reward, *_, lives in whole]
    # After its end, another one.
    assert training.reset(seed=0)[1]["lives"] == 5


def test_a_game_is_cut_off_after_its_frames_and_not_before():
    config = EnvConfig(BREAKOUT, {"max_num_frames_per_episode": 100})
    steps = played(make(config), np.zeros(40))
    assert len(steps) == 25  # of 4 frames
    assert [step[1:3] for step in steps] == [(False, False)] * 24 + [(False, True)]
    by_steps = EnvConfig(BREAKOUT, {"max_episode_steps": 7})
    assert [step[2] for step in played(make(by_steps), np.zeros(40))] == [False] * 6 + [True]


def test_the_last_two_frames_are_laid_over_each_other():
    config = EnvConfig(BREAKOUT, {"repeat_action_probability": 0.0})
    env = make(config)
    raw = gym.make(BREAKOUT, frameskip=1, obs_type="grayscale", repeat_action_probability=0.0, full_action_space=True)
    env.reset(seed=1)
    raw.reset(seed=1)
    assert isinstance(env, AtariFrames)
    taps = (_taps(210, 84), _taps(160, 84))
    differed = 0
    for action in random_actions(60, 18):
        frames = [raw.step(int(action))[0] for _ in range(4)]
        seen = env.step(int(action))[0]
        np.testing.assert_array_equal(seen, shrink(np.maximum(frames[2], frames[3]), taps))
        differed += not np.array_equal(seen, shrink(frames[3], taps))
    assert differed > 5


def test_shrinking_takes_the_mean_over_the_covered_area():
    taps = _taps(5, 2)
    # Each of 2 pixels covers 2.5 of 5: (a + b + c / 2) / 2.5 and (c / 2 + d + e) / 2.5.
    row = np.float32([10, 20, 30, 40, 50])
    both = sum(row[at] * weight for at, weight in taps)
    np.testing.assert_allclose(both, [18, 42], rtol=1e-6)
    frame = np.full((210, 160), 77, np.uint8)
    np.testing.assert_array_equal(shrink(frame, (_taps(210, 84), _taps(160, 84))), np.full((84, 84), 77))
    for length in (160, 210, 250):
        weights = np.array([weight for _, weight in _taps(length, 84)])
        np.testing.assert_allclose(weights.sum(0), 1.0, rtol=1e-6)
        # Every long pixel counts for the same: 84 / length of a short one.
        counted = np.zeros(length)
        for at, weight in _taps(length, 84):
            np.add.at(counted, at, weight)
        np.testing.assert_allclose(counted, 84 / length, rtol=1e-4)


@pytest.mark.parametrize("game", ["Breakout", "AirRaid"])
def test_frames_are_those_of_opencv(game):
    cv2 = pytest.importorskip("cv2")
    from gymnasium.wrappers import AtariPreprocessing

    assert cv2.INTER_AREA
    env = make(EnvConfig(f"ALE/{game}-v5", {"repeat_action_probability": 0.0}))
    raw = gym.make(f"ALE/{game}-v5", frameskip=1, repeat_action_probability=0.0, full_action_space=True)
    theirs = AtariPreprocessing(raw, noop_max=0)
    np.testing.assert_array_equal(env.reset(seed=2)[0], theirs.reset(seed=2)[0])
    for action in random_actions(100, 18):
        ours, expected = env.step(int(action)), theirs.step(int(action))
        assert ours[1:4] == expected[1:4]
        if ours[2]:
            break
        np.testing.assert_array_equal(ours[0], expected[0])
