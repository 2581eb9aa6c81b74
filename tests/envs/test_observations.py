import gymnasium as gym
import numpy as np
import pytest
from envs.odd_spaces import GRID, VECTOR
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.config import EnvConfig
from distributed_kd.envs.lanes import make_lanes
from distributed_kd.envs.spec import make, read_spec
from distributed_kd.errors import ConfigurationError

BOTH = Dict({"where": VECTOR, "what": Discrete(3)})


def config_of(space, values=(), **env):
    return EnvConfig("Shows-v0", {"space": space, "values": list(values)}, **env)


def shown(config):
    env = make(config)
    return [env.reset(seed=0)[0], *(env.step(0)[0] for _ in config.kwargs["values"][1:])]


ROWS = {
    "discrete": (Discrete(3), [0, 2], [[1, 0, 0], [0, 0, 1]]),
    "discrete from 5": (Discrete(3, start=5), [5, 6], [[1, 0, 0], [0, 1, 0]]),
    "multi-binary": (MultiBinary(3), [np.int8([1, 0, 1]), np.int8([0, 0, 1])], [[1, 0, 1], [0, 0, 1]]),
    "multi-discrete": (MultiDiscrete([2, 3]), [np.array([1, 0]), np.array([0, 2])], [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]),
    "yes or no": (Box(0, 1, (1, 2), np.bool_), [np.array([[True, False]]), np.array([[True, True]])], [[[1, 0]], [[1, 1]]]),
}


@pytest.mark.parametrize(("space", "values", "rows"), ROWS.values(), ids=ROWS)
def test_choices_become_bytes_of_zeros_and_ones(space, values, rows):
    config = config_of(space, values)
    seen = shown(config)
    np.testing.assert_array_equal(seen, rows)
    assert {one.dtype for one in seen} == {np.dtype(np.uint8)}
    spec = read_spec(config)
    assert spec.observation_shape == np.shape(rows[0])
    assert (spec.observation_dtype, spec.scale, spec.frame_stack) == ("uint8", 1.0, 1)
    env = make(config)
    assert env.observation_space == Box(0, 1, spec.observation_shape, np.uint8)
    assert all(one in env.observation_space for one in seen)


def test_parts_stand_in_one_row_where_that_is_asked_for():
    values = [{"where": np.float32([0.5, -1, 0.25]), "what": np.int64(2)}]
    config = config_of(BOTH, values, flatten=True)
    # By name: "what", one-hot of 3, before "where".
    np.testing.assert_array_equal(shown(config)[0], [0, 0, 1, 0.5, -1, 0.25])
    assert read_spec(config).observation_dtype == "float32"
    assert read_spec(config).observation_shape == (6,)

    blackjack = EnvConfig("Blackjack-v1", flatten=True)
    spec = read_spec(blackjack)
    assert (spec.observation_shape, spec.observation_dtype) == ((32 + 11 + 2,), "uint8")


def test_a_grid_of_bytes_and_a_direction_stay_bytes():
    grid = Dict({name: part for name, part in GRID.spaces.items() if name != "mission"})
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    config = config_of(grid, [{"image": image, "direction": np.int64(3)}], flatten=True)
    seen = shown(config)[0]
    np.testing.assert_array_equal(seen, [0, 0, 0, 1, *range(12)])
    assert seen.dtype == np.uint8
    assert read_spec(config).scale == 1 / 255


@pytest.mark.parametrize("call", [make, read_spec])
@pytest.mark.parametrize(
    ("space", "flatten", "told"),
    [
        (BOTH, False, "they are a Dict. Set --env.flatten true"),
        (Tuple([Discrete(2), VECTOR]), False, "they are a Tuple. Set --env.flatten true"),
        (GRID, False, "part mission is a Text. Leave that out in a wrapper of your own, given as module:Id-v0"),
        (GRID, True, "part mission is a Text. Leave that out in a wrapper of your own, given as module:Id-v0"),
        (Dict({"a": Tuple([VECTOR, Sequence(VECTOR)])}), True, "part a.1 is a Sequence. Leave"),
        (Dict({"net": Graph(VECTOR, None), "say": Text(5)}), True, "part net is a Graph, part say is a Text. Leave"),
        (Text(5), True, "they are a Text. Choose another environment"),
        (Box(-1, 1, (), np.float32), False, "their shape is []. Choose"),
        (Box(-1, 1, (2, 0), np.float32), False, "their shape is [2, 0]. Choose"),
        (Dict({"none": Box(-1, 1, (0,), np.float32)}), True, "their shape is []. Choose"),
    ],
    ids=["dict", "tuple", "grid", "flat grid", "sequence", "graph", "text", "one number", "empty", "empty dict"],
)
def test_what_cannot_be_laid_out_is_named(space, flatten, told, call):
    with pytest.raises(ConfigurationError) as caught:
        call(config_of(space, flatten=flatten))
    assert len(caught.value.lines) == 1
    assert caught.value.lines[0].startswith(f"unsupported observations (env.id=Shows-v0): {told}")


@pytest.mark.parametrize(
    ("space", "asked", "channels", "scale"),
    [
        (Box(0, 255, (3, 8, 8), np.uint8), "auto", "first", 1 / 255),
        (Box(0, 255, (8, 8, 3), np.uint8), "auto", "last", 1 / 255),
        (Box(0, 255, (8, 8, 8), np.uint8), "auto", "last", 1 / 255),
        (Box(0, 255, (3, 8, 8), np.uint8), "last", "last", 1 / 255),
        (Box(0, 255, (8, 8, 3), np.uint8), "first", "first", 1 / 255),
        (Box(0, 255, (8, 8), np.uint8), "first", "none", 1 / 255),
        (Box(0, 16, (8,), np.uint8), "auto", "none", 1 / 16),
        (Box(0, 1, (4, 4, 2), np.bool_), "auto", "last", 1.0),
        (Box(0.0, 1.0, (3, 8, 8), np.float32), "auto", "first", 1.0),
        (Box(0, 300, (3,), np.int32), "auto", "none", 1.0),
        # The bounds differ from number to number: the highest of them counts.
        (Box(np.uint8([0, 0]), np.uint8([10, 40]), dtype=np.uint8), "auto", "none", 1 / 40),
    ],
)
def test_channels_and_scale(space, asked, channels, scale):
    spec = read_spec(config_of(space, channels=asked, frame_stack=4))
    assert (spec.channels, spec.scale, spec.frame_stack) == (channels, scale, 4)
    assert spec.observation_dtype == ("uint8" if space.dtype in (np.uint8, np.bool_) else "float32")


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_flattened_numbers_are_those_of_gymnasium(data):
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    parts = [data.draw(st.sampled_from([Discrete(n), MultiBinary(n), Box(0, 9, (n,), np.uint8), VECTOR])) for n in sizes]
    space = Tuple(parts, seed=data.draw(st.integers(0, 99)))
    value = space.sample()
    seen = shown(config_of(space, [value], flatten=True))[0]
    np.testing.assert_array_equal(seen, gym.spaces.flatten(space, value))
    assert (seen.dtype == np.uint8) == (VECTOR not in parts)


@pytest.mark.parametrize("name", ["discrete from 5", "yes or no", "dict"])
def test_lanes_show_what_one_environment_shows(name):
    space, values = (BOTH, [{"where": VECTOR.sample(), "what": n} for n in range(3)])
    if name != "dict":
        space, values, _ = ROWS[name]
    config = config_of(space, values, flatten=True)
    expected, spec = shown(config), read_spec(config)
    lanes = make_lanes(config, spec, 2, np.random.SeedSequence(0))
    np.testing.assert_array_equal(lanes.reset(), [expected[0]] * 2)
    for number in range(1, len(expected)):
        step = lanes.step(np.zeros(2, np.int64))
        assert step.observation.dtype == step.after.dtype == expected[0].dtype
        np.testing.assert_array_equal(step.after, [expected[number]] * 2)
        last = number == len(expected) - 1
        assert step.terminated.tolist() == [last] * 2
        np.testing.assert_array_equal(step.observation, [expected[0 if last else number]] * 2)
