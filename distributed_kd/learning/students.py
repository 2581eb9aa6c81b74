"""The students: each learns from what the teacher says, apart from all others."""

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from distributed_kd.learning.follower import Follower
from distributed_kd.learning.lesson import Lesson, Steps
from distributed_kd.learning.moving import Progress, mapped, number, scalar
from distributed_kd.learning.objective import Objective, Sight, Temperatures, Told
from distributed_kd.learning.replicas import ALONE, Replicas
from distributed_kd.learning.trainable import Trainable
from distributed_kd.maths.schedules import linear
from distributed_kd.maths.targets import agreement, importance, target_entropy
from distributed_kd.maths.temporal_difference import double_q_learning_target, td_loss
from distributed_kd.records import State
from distributed_kd.student_config import StudentConfig


@dataclass(frozen=True)
class Attempt:
    """The loss 0-d of an update still to be done, its progress on the student's own schedules, and what is logged."""

    loss: Tensor | None
    progress: Progress
    logged: dict[str, Tensor]


class Student:
    """One small network taught by policy distillation, by its own rewards too where it is asked for.

    It sees what a teacher says and never asks which kind of teacher that is. Its schedules run from its first update to the
    end of the run, so that one that begins later goes through all of them.
    """

    def __init__(
        self,
        network: nn.Module,
        config: StudentConfig,
        shapes: list[tuple[int, ...]],
        teacher_shapes: list[tuple[int, ...]],
        features: int,
        seed: int = 0,
        replicas: Replicas = ALONE,
    ):
        """`shapes` of the hidden layers, its own and the teacher's; `features` [F] that its head reads; on one device.

        In all `replicas` it is the same student, and its random numbers are the same.
        """
        self._replicas = replicas
        device = next(network.parameters()).device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.objective = Objective(config.terms, config.smoothing, shapes, teacher_shapes, features, replicas)
            self.objective.to(device)
        self._config, self.network, self.updates = config, network, 0
        self.trained = Trainable(
            network,
            config.learning_rate,
            config.learning_rate_end,
            config.max_grad_norm,
            config.trainable,
            extra=self.objective,
            replicas=replicas,
        )
        self._target = Follower(self.trained, config.target_update) if config.td_weight else None
        self.random = torch.Generator(device).manual_seed(seed)
        self.began, self._score = 0.0, 0.0

    def update(
        self,
        lesson: Lesson,
        auto_temperature: Tensor,
        progress: float,
        measure: bool,
        steps: Steps | None = None,
        own: tuple[Steps, Lesson] | None = None,
    ) -> dict[str, Tensor]:
        """One update from what the teacher says of a batch; `steps` is that batch, `own` what came of the student's lanes.

        Returns 0-d tensors where `measure` asks for them, else nothing. Nothing is learned, and no update counted, while a
        student that learns from its own lanes alone waits for its first steps.
        """
        if not self.can_learn(own is not None):
            return {}
        self.begin(progress)
        return self.learn(lesson, auto_temperature, progress, measure, steps, own)

    def can_learn(self, has_own: bool) -> bool:
        """There is something to learn from, with steps of its own lanes or without them."""
        return has_own or self.objective.maps_batches

    def begin(self, progress: float) -> None:
        """Count an update, which is to follow; its own schedules begin with the first."""
        if not self.updates:
            self.began = progress
        self.updates += 1

    def learn(
        self,
        lesson: Lesson,
        auto_temperature: Tensor,
        progress: Progress,
        measure: bool,
        steps: Steps | None = None,
        own: tuple[Steps, Lesson] | None = None,
    ) -> dict[str, Tensor]:
        """The update that was counted last, as `update`."""
        attempt = self.attempt(lesson, auto_temperature, progress, measure, steps, own)
        return self.done(attempt, self.trained.step(attempt.loss, attempt.progress))

    def attempt(
        self,
        lesson: Lesson,
        auto_temperature: Tensor,
        progress: Progress,
        measure: bool,
        steps: Steps | None = None,
        own: tuple[Steps, Lesson] | None = None,
    ) -> Attempt:
        """The loss of an update, of which nothing was learned yet."""
        progress = self.own_progress(progress)
        config, temperatures = self._config, self.temperatures(auto_temperature, progress)
        share = self._distillation(progress) if lesson.heard else 0.0
        sight = Sight.through(self.network, self._noisy(lesson.observation, config.observation_noise))
        told = self.told(lesson, temperatures)
        loss = share * self.objective.from_teacher(sight, told, temperatures, float(progress))
        logged = {}
        if self._target and steps is not None:
            error = self._td_error(sight.outputs, steps, lesson.weight)
            loss = loss + config.td_weight * error
            logged["td_loss"] = error.detach()
        if own is not None:
            mine, said = own
            with torch.no_grad():
                after = Sight.through(self.network, mine.next_observation)
            seen, told = Sight.through(self.network, mine.observation), self.told(said, temperatures)
            gradient = self.objective.from_own_steps(mine, seen, after, told, temperatures, share, float(progress))
            loss = loss + gradient
            logged["policy_gradient_loss"] = gradient.detach()
        if not measure:
            return Attempt(loss, progress, {})
        if config.distillation != "constant":
            logged["distillation"] = scalar(share, loss.device)
        temperature = scalar(temperatures.of(), loss.device)
        of_all = {
            "loss": loss.detach(),
            "temperature": temperature,
            "teacher_entropy": target_entropy(lesson.q, temperature),
            "agreement": agreement(sight.outputs.detach(), lesson.q),
        }
        return Attempt(loss, progress, {**of_all, **logged})

    def own_progress(self, progress: Progress) -> Progress:
        """Of its own schedules, which began with its first update, at a progress of the run."""
        return mapped(progress, self._own)

    def temperatures(self, auto: Tensor, progress: Progress) -> Temperatures:
        """At a progress of its own schedules."""
        end = self._config.temperature_end
        share = number(progress, lambda now: linear(1.0, end, 1.0, now), moves=end != 1)
        return Temperatures(self._config.temperature, auto, share)

    def done(self, attempt: Attempt, norm: Tensor) -> dict[str, Tensor]:
        """Behind the descent that `attempt` led to; gives what is logged of both, with the gradient's norm, 0-d."""
        if self._target:
            self._target.follow(lambda: self.updates, attempt.progress)
        return {**attempt.logged, "grad_norm": norm} if attempt.logged else {}

    def key(self) -> Hashable | None:
        """Equal in students of which one loss can be taken over the outputs of all; None in one that learns by itself.

        Their networks may differ, and their steps: learning rates and clips.
        """
        config, first = self._config, StudentConfig()
        by_itself = (
            config.td_weight
            or config.observation_noise
            or config.target_noise
            or config.distillation != "constant"
            or not all(term.output_losses for term in config.terms)
        )
        if by_itself:
            return None
        own = ("network", "learning_rate", "learning_rate_end", "max_grad_norm", "drives", "start", "trainable")
        return replace(config, **{name: getattr(first, name) for name in own})

    def in_its_last_phase(self, progress: float) -> bool:
        """It has begun, and all of its losses that begin later than the others have begun too."""
        return self.updates > 0 and all(self._own(progress) >= max(t.since, t.switch) for t in self._config.terms)

    def phase(self, progress: float) -> Hashable:
        """Which of its losses count at a progress of the run: equal between updates that are the same operations."""
        now = self._own(progress)
        return tuple((term.counts_at(now), now >= term.switch) for term in self._config.terms)

    @property
    def skipped(self) -> Tensor:
        """Updates left out so far, as something was not finite; 0-d."""
        return self.trained.skipped

    @property
    def networks(self) -> list[nn.Module]:
        """All that it computes with."""
        return [self.network, *([self._target.network] if self._target else [])]

    def _own(self, progress: float) -> float:
        return (progress - self.began) / (1.0 - self.began) if self.began < 1 else 1.0

    @torch.no_grad()
    def held_out_loss(self, lesson: Lesson, auto_temperature: Tensor) -> Tensor:
        """The loss, without noise and as at the end of the run, on a batch that is not learned from; 0-d."""
        temperatures = Temperatures(self._config.temperature, auto_temperature, self._config.temperature_end)
        sight, told = Sight.through(self.network, lesson.observation), self.told(lesson, temperatures, noise=0.0)
        return self.objective.from_teacher(sight, told, temperatures, progress=1.0)

    def told(self, lesson: Lesson, temperatures: Temperatures, noise: float | None = None) -> Told:
        """What the loss is taken against: the lesson with this student's importance, and its noise."""
        config = self._config
        weight = lesson.weight
        if config.importance != "none":
            whole = importance(self._replicas.whole(lesson.q), temperatures.of(), config.importance)
            theirs = self._replicas.part(whole)
            # Both together have a mean of 1 again, as the importance has over states that are drawn alike.
            weight = theirs if weight is None else weight * theirs / self._replicas.mean_((weight * theirs).mean())
        q = self._noisy(lesson.q, config.target_noise if noise is None else noise)
        return Told(q, lesson.layers, weight)

    def _noisy(self, values: Tensor, share: float) -> Tensor:
        """`values` [B, ...] with Gaussian noise of `share` times the standard deviation of each number over the batch."""
        if not share:
            return values
        values = self._replicas.whole(values.to(torch.float32))
        noise = torch.randn(values.shape, generator=self.random, device=values.device)
        return self._replicas.part(values + share * values.std(0, correction=0) * noise)

    def _td_error(self, outputs: Tensor, steps: Steps, weight: Tensor | None) -> Tensor:
        """The error of a double DQN (van Hasselt et al. 2016), 0-d."""
        with torch.no_grad():
            q_t, selector = self._target.network(steps.next_observation), self.network(steps.next_observation)
            target = double_q_learning_target(q_t, selector, steps.n_step_return, steps.discount)
        return td_loss(outputs, steps.action, target, weight)

    def _distillation(self, progress: Progress) -> float | Tensor:
        """The factor before all that comes from the teacher; `performance` is QDagger's (Agarwal et al. 2022)."""
        if self._config.distillation == "linear":
            return number(progress, lambda now: linear(1.0, 0.0, 1.0, now))
        if self._config.distillation == "performance":
            return number(progress, lambda _: min(max(1.0 - self._score, 0.0), 1.0))
        return 1.0

    def heed(self, normalised_score: float) -> None:
        """Take in how well it plays: `distillation = "performance"` goes by it."""
        if self._config.distillation == "performance" and math.isfinite(normalised_score):
            self._score = normalised_score

    def state(self) -> State:
        return {
            "trained": self.trained.state(),
            "updates": self.updates,
            "began": self.began,
            "score": self._score,
            "random": self.random.get_state(),
            "target": self._target.state() if self._target else None,
        }

    def restore(self, state: State) -> None:
        self.trained.restore(state["trained"])
        self.updates, self.began, self._score = state["updates"], state["began"], state["score"]
        self.random.set_state(torch.as_tensor(state["random"]).cpu())
        if self._target:
            self._target.restore(state["target"])
