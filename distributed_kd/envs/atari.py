"""Atari games as frames [84, 84] uint8, by one of two protocols, stepped one game at a time in Python."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from distributed_kd.config import EnvConfig
from distributed_kd.envs.packages import package_of
from distributed_kd.errors import ConfigurationError, Problem

SIDE = 84


@dataclass(frozen=True)
class Protocol:
    """How a game is played; each field can be given in env.kwargs, by the name that Gymnasium and ALE have for it."""

    repeat_action_probability: float
    """that a frame repeats the last action, whatever was chosen"""
    full_action_space: bool
    """all 18 actions, or only those that do something in this game"""
    noop_max: int
    """most idle frames before the first decision; their number is drawn anew for each game, from 0"""
    terminal_on_life_loss: bool
    """a lost life ends an episode, but not the game, which goes on in the next one; never where policies are evaluated"""
    frameskip: int = 4
    """frames that each decision holds for; the last two are laid over each other, the brighter pixel in front"""
    max_num_frames_per_episode: int = 108_000
    """frames after the idle ones at which a game is cut off: half an hour"""


PROTOCOLS = {
    # Machado et al. 2018, "Revisiting the Arcade Learning Environment", 1709.06009, sections 4 and 5.
    "machado": Protocol(0.25, full_action_space=True, noop_max=0, terminal_on_life_loss=False),
    # Mnih et al. 2015, "Human-level control through deep reinforcement learning", methods.
    "classic": Protocol(0.0, full_action_space=False, noop_max=30, terminal_on_life_loss=True),
}


def follows_protocol(config: EnvConfig) -> bool:
    """Whether the id is one of ALE's and its frames are to be made here. ALE must have been imported."""
    package = package_of(config.id.rpartition(":")[2])
    return package is not None and package.extra == "atari" and config.protocol != "none"


def protocol_of(config: EnvConfig, kwargs: Mapping[str, object]) -> tuple[Protocol, dict[str, object]]:
    """The protocol with the user's own words laid over it, and those words that it does not know.

    Raises ConfigurationError where they cannot be.
    """
    names = {field.name for field in fields(Protocol)}
    protocol = replace(PROTOCOLS[config.protocol], **{name: value for name, value in kwargs.items() if name in names})
    rest = {name: value for name, value in kwargs.items() if name not in names}
    if problems := list(_problems(protocol, rest)):
        raise ConfigurationError.of(problems)
    return protocol, rest


def _problems(protocol: Protocol, rest: Mapping[str, object]) -> Iterator[Problem]:
    for name, least in (("noop_max", 0), ("frameskip", 1), ("max_num_frames_per_episode", 1)):
        value = getattr(protocol, name)
        if type(value) is not int or value < least:
            why = f"with a protocol it is a whole number from {least}"
            yield Problem("bad Atari setting", f"env.kwargs.{name}", value, why, "Mend it, or set --env.protocol none")
    for name in {"obs_type", "sound_obs"} & set(rest):
        why = "with a protocol observations are grey frames"
        yield Problem("bad Atari setting", f"env.kwargs.{name}", rest[name], why, "Drop it, or set --env.protocol none")


def make_atari(config: EnvConfig, kwargs: Mapping[str, object], evaluation: bool) -> gym.Env:
    """One game by the config's protocol. Raises ConfigurationError where the arguments cannot be."""
    protocol, rest = protocol_of(config, kwargs)
    steps = rest.pop("max_episode_steps", None)
    env = gym.make(
        config.id.rpartition(":")[2],
        **rest,
        obs_type="grayscale",
        frameskip=1,
        max_num_frames_per_episode=0,  # no bound of ALE's own, which would count the idle frames too
        repeat_action_probability=protocol.repeat_action_probability,
        full_action_space=protocol.full_action_space,
    )
    env = AtariFrames(env, protocol, ends_with_life=protocol.terminal_on_life_loss and not evaluation)
    # Outside, since gymnasium.make would count frames.
    return gym.wrappers.TimeLimit(env, steps) if steps and steps > 0 else env


class AtariFrames(gym.Wrapper):
    """Grey frames [84, 84] uint8 of a game, the same to the byte as those of ALE's own vector environment.

    They are also those of Gymnasium's AtariPreprocessing, with three differences: OpenCV is not needed; the observation at a
    game's end is of its last frames, not of earlier ones; and an episode that a lost life ended is followed by one in the
    same game, from the same frame on. There, a reset begins a new game, and the later lives are never played.
    """

    def __init__(self, env: gym.Env, protocol: Protocol, ends_with_life: bool):
        super().__init__(env)
        self._protocol, self._ends_with_life = protocol, ends_with_life
        self._taps = tuple(_taps(length, SIDE) for length in env.observation_space.shape)
        self.observation_space = Box(0, 255, (SIDE, SIDE), np.uint8)
        self.goes_on = False
        """the next reset goes on with this game: the last episode ended with a life, not with the game"""

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        if self.goes_on:
            self.goes_on = False
            return self._seen, {}
        frame, info = self.env.reset(seed=seed, options=options)
        for _ in range(int(self.np_random.integers(0, self._protocol.noop_max + 1))):
            frame, _, terminated, truncated, info = self.env.step(0)
            if terminated or truncated:
                frame, info = self.env.reset()
        self._frames, self._lives = 0, info["lives"]
        self._seen = shrink(frame, self._taps)
        return self._seen, info

    def step(self, action: int):
        reward, frame, last = 0.0, None, None
        for _ in range(self._protocol.frameskip):
            last = frame
            frame, gained, terminated, truncated, info = self.env.step(action)
            reward += float(gained)
            self._frames += 1
            if terminated or truncated:
                break
        truncated = truncated or (not terminated and self._frames >= self._protocol.max_num_frames_per_episode)
        # A game that counts down to 0 lives may go on for some frames; its end is told by ALE, as in the DQN of 2015.
        lost = self._ends_with_life and 0 < info["lives"] < self._lives
        self._lives = info["lives"]
        self.goes_on = lost and not (terminated or truncated)
        self._seen = shrink(frame if last is None else np.maximum(frame, last), self._taps)
        return self._seen, reward, terminated or lost, truncated, info


@functools.cache
def _taps(length: int, short: int) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Which of `length` pixels make each of `short` ones, and their weights: pairs of [short], to be summed in their order.

    A short pixel covers length / short long ones, those at its borders in part. OpenCV's INTER_AREA is the same sum, in the
    same order and the same precision, so that the bytes are the same too.
    """
    width = length / short
    places, weights = [], []
    for target in range(short):
        begin, end = target * width, min((target + 1) * width, length)
        covered = range(int(begin), min(int(np.ceil(end)), length))
        shares = {place: (min(place + 1, end) - max(place, begin)) / (end - begin) for place in covered}
        shares = {place: share for place, share in shares.items() if share > 1e-3 / width}
        places.append(list(shares))
        weights.append(list(shares.values()))
    most = max(map(len, places))
    at = np.array([row + [row[-1]] * (most - len(row)) for row in places]).T
    weight = np.array([row + [0.0] * (most - len(row)) for row in weights], np.float32).T
    return list(zip(at, weight, strict=True))


def shrink(frame: NDArray[np.uint8], taps: tuple) -> NDArray[np.uint8]:
    """A frame [height, width] brought to [84, 84] by the mean over the area that each of its pixels covers."""
    rows, columns = taps
    wide = sum(frame[:, at] * weight for at, weight in columns)
    return np.rint(sum(wide[at] * weight[:, None] for at, weight in rows)).astype(np.uint8)
