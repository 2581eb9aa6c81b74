"""A rollout that does nothing, so that hundreds of them fit on a machine: what is left is what the loop does for each."""

import time
from dataclasses import replace

import numpy as np
import ray

from distributed_kd.actors.once import once
from distributed_kd.actors.pulsed import GROUPS, Pulsed
from distributed_kd.envs.progress import begin
from distributed_kd.records import EnvSpec, EpisodeStats, Segment, Weights
from distributed_kd.replay.segments import lay_out


@ray.remote(concurrency_groups=GROUPS)
class NullRollout(Pulsed):
    """Answers as `RolloutActor` does, with the same step each time; it needs neither PyTorch nor an environment."""

    def __init__(self, spec: EnvSpec, actor: int, incarnation: int, **_: object):
        none = np.zeros(0, np.int64)
        self._segment = _one_step(spec, actor, incarnation)
        self._stats = EpisodeStats(actor, incarnation, 0, 1, 0, 0.0, none.astype(np.int16), none.astype(float), none)
        self._sequence = 0

    def prepare(self) -> None:
        """There is nothing to make."""

    @once
    @ray.method(num_returns=2)
    def collect(self, weights: Weights, progress: float) -> tuple[Segment, EpisodeStats]:
        begin()  # or it would be taken to hang
        name = {"sequence": self._sequence}
        self._sequence += 1
        return replace(self._segment, **name), replace(self._stats, **name, version=weights.version, started=time.time())


def _one_step(spec: EnvSpec, actor: int, incarnation: int) -> Segment:
    """The first step of an episode that goes on."""
    observation, one = np.zeros((1, 1, *spec.observation_shape), spec.observation_dtype), np.zeros((1, 1))
    return lay_out(
        name=(actor, incarnation, 0),
        observation=observation,
        action=one.astype(np.int64),
        reward=one,
        terminated=one.astype(bool),
        ended=one.astype(bool),
        final=observation[0][:0],
        following=observation[0],
        before=observation[:, :0],
        known=np.zeros(1, np.int64),
        gamma=0.99,
        policy=one.astype(np.int16),
        version=0,
        probability=one + 1.0,
    )
