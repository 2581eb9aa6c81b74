"""One rollout: lanes of the environment driven by the teacher and the students, T steps at a time."""

import time
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import nn

from distributed_kd.config import EnvConfig
from distributed_kd.data_config import RolloutsConfig
from distributed_kd.envs.faults import told
from distributed_kd.envs.injected import NOTHING, Injected
from distributed_kd.envs.lanes import make_lanes
from distributed_kd.envs.progress import begin
from distributed_kd.errors import EnvironmentFault
from distributed_kd.maths.schedules import epsilon_ladder, linear
from distributed_kd.policy_config import ExplorationConfig
from distributed_kd.records import EnvSpec, EpisodeStats, Segment, State, Weights
from distributed_kd.replay.segments import lay_out
from distributed_kd.rollouts.episodes import Episodes
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
        injected: Injected = NOTHING,
    ):
        """`repeatable` lanes come back from a saved state; without it the fastest that there are may be taken. `injected`
        are faults that the environments have on purpose."""
        self._spec, self._plan, self._exploration, self._gamma = spec, plan, exploration, gamma
        self._steps, self._student_epsilon = rollouts.steps_per_segment, rollouts.student_epsilon
        self._behaviour, self._sampled = rollouts.behaviour, sampled
        self._actor, self._incarnation, self._sequence = actor, incarnation, 0
        lane_seed, action_seed = seed.spawn(2)
        self._random = np.random.default_rng(action_seed)
        lanes = len(plan.policy)
        self._groups = _groups(plan.policy, list(networks))
        drivers = {name for name, _ in self._groups}
        if max(rollouts.behaviour.beta, rollouts.behaviour.beta_end) > 0:
            drivers.add("teacher")
        # Weights of networks that act nowhere here need not be unpacked.
        self._policies = Policies({name: network for name, network in networks.items() if name in drivers})
        self._act = self._policies.together(self._groups, lanes)
        self._lanes = make_lanes(env, spec, lanes, lane_seed, repeatable, injected)
        self._frames = Frames(spec, lanes)
        self._frames.begin(self._guarded(self._lanes.reset))
        self._episodes = Episodes(lanes)

    def collect(self, weights: Weights, progress: float) -> tuple[Segment, EpisodeStats]:
        """Play T steps in every lane with these weights.

        `progress` is the share of the run that is over, from 0 to 1. An environment that fails costs its lane the step and
        the rest of the episode; raises EnvironmentFault where no other one can be begun.
        """
        started, began = time.time(), time.perf_counter()
        if weights.version > self._policies.version:  # a call that was lost on the way comes behind a later one
            self._policies.load(weights)
        shape = (self._steps, len(self._plan.policy))
        observation = np.empty((*shape, *self._spec.observation_shape), self._spec.observation_dtype)
        before, known = self._frames.before
        final: list[NDArray] = []
        preferred, likelihood = np.empty(shape, np.int64), np.ones(shape)
        reward = np.empty(shape, np.float64)
        terminated, ended = np.empty(shape, np.bool_), np.empty(shape, np.bool_)
        valid, faults = np.ones(shape, np.bool_), []
        taught = self._taught(progress, shape)
        epsilon = np.where(taught, 0.0, self._epsilon(progress))
        decides = self._random.random(shape) >= epsilon
        action = self._random.integers(0, self._spec.actions, shape)  # those decided for take the place of the random ones
        for step in range(self._steps):
            observation[step] = self._frames.newest
            self._policies.draw_noise(self._random)
            self._decide(self._frames.seen, taught[step], preferred[step], likelihood[step])
            np.copyto(action[step], preferred[step], where=decides[step])
            taken = self._guarded(self._lanes.step, action[step])
            reward[step], terminated[step] = taken.reward, taken.terminated
            np.logical_or(taken.terminated, taken.truncated, ended[step])
            # Copied into the frames, since the lanes may write their next observation into the same array.
            self._frames.push(taken.observation)
            if taken.faults:
                faults += taken.faults
                valid[step, [fault.lane for fault in taken.faults if fault.steps]] = False
            if np.count_nonzero(ended[step]):
                over = np.flatnonzero(ended[step])
                last = taken.after[over]
                if taken.faults:  # they led nowhere: the episode's last observation is the one that was acted on
                    last[~valid[step, over]] = observation[step, over][~valid[step, over]]
                final.append(last)
                self._frames.begin(taken.observation[over], over)
        segment = lay_out(
            name=(self._actor, self._incarnation, self._sequence),
            observation=observation,
            action=action,
            reward=reward,
            terminated=terminated,
            ended=ended,
            final=np.concatenate(final) if final else np.empty((0, *observation.shape[2:]), observation.dtype),
            following=taken.after,
            before=before,
            known=known,
            gamma=self._gamma,
            policy=np.where(taught, 0, self._plan.policy),
            version=self._policies.version,
            probability=epsilon / self._spec.actions + (1.0 - epsilon) * likelihood * (action == preferred),
            valid=valid,
        )
        over = self._episodes.over(reward, ended)
        whole = valid[np.nonzero(ended)]  # one that was cut off says nothing of how well its policy plays
        lane, episode_return, episode_length = (column[whole] for column in over)
        stats = EpisodeStats(
            self._actor,
            self._incarnation,
            self._sequence,
            segment.steps,
            self._policies.version,
            time.perf_counter() - began,
            self._plan.policy[lane],
            episode_return,
            episode_length,
            started,
            tuple(faults),
        )
        self._sequence += 1
        return segment, stats

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

    def _decide(
        self,
        observation: NDArray,
        taught: NDArray[np.bool_],
        action: NDArray[np.int64],
        probability: NDArray[np.float64],
    ) -> None:
        """Write what each lane does where it does not explore, and with which probability it decides so, which was 1."""
        outputs = self._act(observation)
        outputs.argmax(1, action)
        for name, lanes in self._groups if self._sampled else ():
            if name in self._sampled:
                action[lanes], probability[lanes] = sample_softmax(outputs[lanes], self._random)
        if np.count_nonzero(taught):
            action[taught] = self._policies.greedy("teacher", observation[taught])
            probability[taught] = 1.0

    def _guarded(self, call: Callable, *arguments: object):
        begin()
        try:
            return call(*arguments)
        except Exception as error:  # whatever the user's environment raises ends the run with its traceback
            where = f"rollout {self._actor} in segment {self._sequence}"
            raise EnvironmentFault(
                f"the environment failed (env.id={self._spec.id}): {where}: {told(error)}. Mend it"
            ) from error

    def state(self) -> State:
        """All that decides what this rollout collects next, but for the weights it is given."""
        return {
            "lanes": self._lanes.state(),
            "frames": self._frames.state(),
            "random": self._random.bit_generator.state,
            **self._episodes.state(),
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
        self._episodes.restore(state)
        self._sequence = state["sequence"]

    def renew(self, incarnation: int) -> None:
        """Go on as another incarnation, with weights that may have the numbers of earlier ones."""
        self._incarnation, self._sequence = incarnation, 0
        self._policies.version = -1

    @property
    def sequence(self) -> int:
        """Segments collected so far, by this incarnation."""
        return self._sequence

    def close(self) -> None:
        self._lanes.close()


def _groups(policy: NDArray[np.int16], names: list[str]) -> list[tuple[str, slice]]:
    """The lanes of each policy that drives any, as one slice."""
    numbers, first, count = np.unique(policy, return_index=True, return_counts=True)
    return [(names[n], slice(f, f + c)) for n, f, c in zip(numbers, first.tolist(), count.tolist(), strict=True)]
