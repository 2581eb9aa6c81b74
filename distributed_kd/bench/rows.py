"""Made-up segments for the replay to hold: laid out as a rollout lays them, but nothing is played for them."""

from dataclasses import replace

import numpy as np

from distributed_kd.records import EnvSpec, Segment
from distributed_kd.replay.segments import lay_out

CARTPOLE = EnvSpec("CartPole-v1", (4,), "float32", 2)
ATARI = EnvSpec("ALE/Pong-v5", (84, 84), "uint8", 6, frame_stack=4)
ENDING = 0.02
"""Share of the steps that end an episode"""


def segment(spec: EnvSpec, steps: int, lanes: int, ending: float = ENDING) -> Segment:
    """So many steps of each lane, in the middle of their episodes; number it with `numbered`."""
    random, shape = np.random.default_rng(0), (steps, lanes)
    ended = random.random(shape) < ending

    def observations(*count: int) -> np.ndarray:
        values = random.random((*count, *spec.observation_shape)) * (255 if spec.observation_dtype == "uint8" else 1)
        return values.astype(spec.observation_dtype)

    return lay_out(
        name=(0, 0, 0),
        observation=observations(*shape),
        action=random.integers(0, spec.actions, shape),
        reward=np.ones(shape),
        terminated=ended,
        ended=ended,
        final=observations(int(ended.sum())),
        following=observations(lanes),
        before=observations(lanes, spec.frame_stack - 1),
        known=np.full(lanes, spec.frame_stack - 1),
        gamma=0.99,
        policy=np.zeros(shape, np.int16),
        version=0,
        probability=np.ones(shape),
    )


def numbered(made: Segment, sequence: int, actor: int = 0) -> Segment:
    """The same steps as a segment of their own."""
    return replace(made, actor=actor, sequence=sequence)
