"""One rollout: lanes of the environment driven by the teacher and the students, T steps at a time."""

import time
import traceback
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distributed_kd.config import EnvConfig
from distributed_kd.data_config import RolloutsConfig
from distributed_kd.envs.lanes import make_lanes
from distributed_kd.errors import EnvironmentFault
from distributed_kd.maths.schedules import epsilon_ladder, linear
from distributed_kd.policy_config import ExplorationConfig
from distributed_kd.records import EnvSpec, EpisodeStats, Segment, State, Weights
from distributed_kd.replay.segments import lay_out
from distributed_kd.rollouts.exploration import LanePlan, sample_softmax
from distributed_kd.rollouts.frames import Frames
from distributed_kd.rollouts.policies import Policies


class Rollout:
    """Steps its lanes and returns what they saw. Owns its lanes, its random stream and its sequence numbers.

    Lanes act epsilon-greedily, but for those of the students named in `sampled`, which draw from softmax(outputs). In a
    share `rollouts.behaviour.beta` of the steps in the students' lanes the teacher acts, greedily: DAgger, by Ross, Gordon
    and Bagnell 2011, 1011.0686. Such a step is the teacher's; the episode remains that of the lane's policy.
    """

    def __init__(
        self,
        *,
        env: EnvConfig,
        spec: EnvSpec,
        networks: Mapping[str, nn.Module],
        plan: LanePlan,
        rollouts: RolloutsConfig,
        exploration: ExplorationConfig,
        gamma: float,
        seed: np.random.SeedSequence,
        actor: int,
        incarnation: int = 0,
        sampled: frozenset[str] = frozenset(),
        repeatable: bool = True,
    ):
        """`repeatable` lanes come back from a saved state; without it the fastest that there are may be taken."""
        self._spec, self._plan, self._exploration, self._gamma = spec, plan, exploration, gamma
        self._steps, self._student_epsilon = rollouts.steps_per_segment, rollouts.student_epsilon
        self._behaviour, self._sampled = rollouts.behaviour, sampled
        self._actor, self._incarnation, self._sequence = actor, incarnation, 0
        lane_seed, action_seed = seed.spawn(2)
        self._random = np.random.default_rng(action_seed)
        self._policies = Policies(networks)
        self._groups = _groups(plan.policy, list(networks))
        self._lanes = make_lanes(env, spec, len(plan.policy), lane_seed, repeatable)
        self._frames = Frames(spec, len(plan.policy))
        self._frames.begin(self._guarded(self._lanes.reset))
        self._return = np.zeros(len(plan.policy))
        self._length = np.zeros(len(plan.policy), np.int64)

    def collect(self, weights: Weights, progress: float) -> tuple[Segment, EpisodeStats]:
        """Play T steps in every lane with these weights.

        `progress` is the share of the run that is over, from 0 to 1. Raises EnvironmentFault where the environment fails.
        """
        began = time.perf_counter()
        self._policies.load(weights)
        lanes = len(self._plan.policy)
        shape = (self._steps, lanes)
        observation = np.empty((*shape, *self._spec.observation_shape), self._spec.observation_dtype)
        before, known = self._frames.before
        final: list[NDArray] = []
        action = np.empty(shape, np.int64)
        preferred, likelihood = np.empty_like(action), np.empty(shape, np.float64)
        reward = np.empty(shape, np.float64)
        terminated, ended = np.empty(shape, np.bool_), np.empty(shape, np.bool_)
        taught = self._taught(progress, shape)
        epsilon = np.where(taught, 0.0, self._epsilon(progress))
        explores = self._random.random(shape) < epsilon
        random_action = self._random.integers(0, self._spec.actions, shape)
        finished: list[tuple[NDArray, NDArray, NDArray]] = []
        for step in range(self._steps):
            observation[step] = self._frames.newest
            self._policies.draw_noise(self._random)
            preferred[step], likelihood[step] = self._decide(self._frames.seen, taught[step])
            action[step] = np.where(explores[step], random_action[step], preferred[step])
            taken = self._guarded(self._lanes.step, action[step])
            reward[step], terminated[step] = taken.reward, taken.terminated
            ended[step] = taken.terminated | taken.truncated
            following = taken.after
            # Copied into the frames, since the lanes may write their next observation into the same array.
            self._frames.push(taken.observation)
            self._return += taken.reward
            self._length += 1
            if ended[step].any():
                over = np.flatnonzero(ended[step])
                final.append(taken.after[over])
                self._frames.begin(taken.observation[over], over)
                finished.append((self._plan.policy[over], self._return[over], self._length[over]))
                self._return[over], self._length[over] = 0.0, 0
        segment = lay_out(
            name=(self._actor, self._incarnation, self._sequence),
            observation=observation,
            action=action,
            reward=reward,
            terminated=terminated,
            ended=ended,
            final=np.concatenate(final) if final else np.empty((0, *observation.shape[2:]), observation.dtype),
            following=following,
            before=before,
            known=known,
            gamma=self._gamma,
            policy=np.where(taught, 0, self._plan.policy),
            version=weights.version,
            probability=epsilon / self._spec.actions + (1.0 - epsilon) * likelihood * (action == preferred),
        )
        self._check_finite(segment)
        stats = EpisodeStats(
            self._actor,
            self._incarnation,
            self._sequence,
            segment.steps,
            weights.version,
            time.perf_counter() - began,
            *(np.concatenate(column) if finished else np.empty(0, kind) for column, kind in _columns(finished)),
        )
        self._sequence += 1
        return segment, stats

    def _check_finite(self, segment: Segment) -> None:
        """Raise EnvironmentFault rather than let a number into the replay that no network could learn from."""
        for what, values in (("a reward", segment.reward), ("an observation", segment.observation)):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise EnvironmentFault(f"the environment failed (env.id={self._spec.id}): {what} is not finite. Mend it")

    def _epsilon(self, progress: float) -> NDArray[np.float64]:
        """[N]: the teacher's lanes stand on the ladder, the students' have one epsilon, but none where they are sampled."""
        schedule = self._exploration
        epsilon = linear(schedule.start, schedule.end, schedule.fraction, progress)
        ladder = epsilon_ladder(epsilon, self._plan.rung, schedule.ladder)
        epsilon = np.where(self._plan.policy == 0, ladder, self._student_epsilon)
        for name, lanes in self._groups:
            if name in self._sampled:
                epsilon[lanes] = 0.0
        return epsilon

    def _taught(self, progress: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """[T, N]: where the teacher acts in a student's lane."""
        schedule = self._behaviour
        beta = linear(schedule.beta, schedule.beta_end, schedule.beta_fraction, progress)
        if beta == 0.0:  # no number drawn, so that a run without DAgger is the same as ever
            return np.zeros(shape, np.bool_)
        return (self._random.random(shape) < beta) & (self._plan.policy != 0)

    def _decide(self, observation: NDArray, taught: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """What each lane does where it does not explore [N], and with which probability it decides so [N]."""
        action, probability = np.empty(len(observation), np.int64), np.ones(len(observation))
        for name, lanes in self._groups:
            if name in self._sampled:
                outputs = self._policies.outputs(name, observation[lanes])
                action[lanes], probability[lanes] = sample_softmax(outputs, self._random)
            else:
                action[lanes] = self._policies.greedy(name, observation[lanes])
        if taught.any():
            action[taught] = self._policies.greedy("teacher", observation[taught])
            probability[taught] = 1.0
        return action, probability

    def _guarded(self, call: Callable, *arguments: object):
        try:
            return call(*arguments)
        except Exception as error:  # whatever the user's environment raises ends the run with its traceback
            last = traceback.format_exc().strip().splitlines()
            where = next((line.strip() for line in reversed(last) if line.strip().startswith("File ")), "")
            raise EnvironmentFault(
                f"the environment failed (env.id={self._spec.id}): rollout {self._actor} in segment {self._sequence}: "
                f"{type(error).__name__}: {error} {where}. Mend it"
            ) from error

    def state(self) -> State:
        """All that decides what this rollout collects next, but for the weights it is given."""
        return {
            "lanes": self._lanes.state(),
            "frames": self._frames.state(),
            "random": self._random.bit_generator.state,
            "return": self._return.copy(),
            "length": self._length.copy(),
            "sequence": self._sequence,
        }

    def restore(self, state: State) -> None:
        """Go on from `state`. Raises EnvironmentFault where the lanes do not come back to where they were."""
        observation = self._guarded(self._lanes.restore, state["lanes"])
        self._frames.restore(state["frames"])
        if not np.array_equal(self._frames.newest, observation):
            raise EnvironmentFault(
                f"the environment cannot be resumed exactly (env.id={self._spec.id}): the same seed and actions led "
                "elsewhere. Resume with --runner ray, which starts new episodes"
            )
        self._random.bit_generator.state = state["random"]
        self._return, self._length = state["return"].copy(), state["length"].copy()
        self._sequence = state["sequence"]

    @property
    def sequence(self) -> int:
        """Segments collected so far."""
        return self._sequence

    def close(self) -> None:
        self._lanes.close()


def _groups(policy: NDArray[np.int16], names: list[str]) -> list[tuple[str, slice]]:
    """The lanes of each policy that drives any, as one slice."""
    numbers, first, count = np.unique(policy, return_index=True, return_counts=True)
    return [(names[n], slice(f, f + c)) for n, f, c in zip(numbers, first.tolist(), count.tolist(), strict=True)]


def _columns(finished: list[tuple[NDArray, NDArray, NDArray]]):
    """policy, return and length of the episodes that ended, each with its type for when there are none."""
    return zip(zip(*finished, strict=True) if finished else ((), (), ()), (np.int16, np.float64, np.int64), strict=True)
