"""A student's objective: its losses, each with its weight, phase and temperature, and what trains beside the network.

The losses themselves are in `maths/`; optimizing is the student's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distributed_kd.errors import Problem
from distributed_kd.learning.lesson import Steps
from distributed_kd.learning.replicas import ALONE, Replicas
from distributed_kd.maths import representation
from distributed_kd.maths.closed_form import GRADIENTS, distillation_gradient
from distributed_kd.maths.distillation import LOSSES
from distributed_kd.maths.policy_gradient import advantage, policy_gradient, standardised, value
from distributed_kd.maths.temporal_difference import huber
from distributed_kd.student_config import LAYER_LOSSES, LossConfig

CRITIC_WEIGHT = 0.5
"""policy_gradient: factor before the error of the state value, as usual where it shares layers with the policy"""


@dataclass(frozen=True)
class Sight:
    """What a student makes of a batch: outputs [B, A], hidden layers, and the features [B, F] that its head reads."""

    outputs: Tensor
    layers: tuple[Tensor, ...]
    features: Tensor

    @classmethod
    def through(cls, network: nn.Module, observation: Tensor) -> "Sight":
        outputs, layers = network.trace(observation)
        return cls(outputs, layers, (layers[-1] if layers else observation.to(torch.float32)).flatten(1))


@dataclass(frozen=True)
class Told:
    """What the teacher says of the same batch: Q-values [B, A], hidden layers, importance [B] of each state or None."""

    q: Tensor
    layers: tuple[Tensor, ...]
    weight: Tensor | None


class Objective(nn.Module):
    """The weighted sum of a student's losses. As a module it holds what trains beside the network: projections, a value."""

    def __init__(
        self,
        terms: Sequence[LossConfig],
        smoothing: float,
        shapes: Sequence[tuple[int, ...]],
        teacher_shapes: Sequence[tuple[int, ...]],
        features: int,
        replicas: Replicas = ALONE,
    ):
        """`shapes` of the student's hidden layers and the teacher's, for one observation; `features` that the head reads.

        Each of `replicas` takes the losses of its part of a batch.
        """
        super().__init__()
        self._terms, self._smoothing, self._replicas = tuple(terms), smoothing, replicas
        self._projections = nn.ModuleDict(
            {
                str(place): nn.Linear(_size(shapes[term.layer]), _size(teacher_shapes[term.teacher_layer]), bias=False)
                for place, term in enumerate(terms)
                if term.name == "hint"
            }
        )
        needs_value = any(term.name in ("value", "policy_gradient") for term in terms)
        self._value = nn.Linear(features, 1) if needs_value else None

    @property
    def has_closed_form(self) -> bool:
        """Its `gradient` is known: it is one loss on the outputs that counts all the time."""
        if len(self._terms) != 1:
            return False
        (term,) = self._terms
        return term.name in GRADIENTS and (term.since, term.until) == (0.0, 1.0) and term.options.get("target", "q") == "q"

    def gradient(self, outputs: Tensor, told: Told, temperature: "Temperatures") -> Tensor:
        """Of `from_teacher`, where it has a closed form, at outputs [..., B, A] of one student or of several."""
        (term,) = self._terms
        return term.weight * distillation_gradient(
            term.name, outputs, told.q, temperature.of(term), weight=told.weight, smoothing=self._smoothing
        )

    @property
    def maps_batches(self) -> bool:
        """There is a loss on the batch that all share."""
        return any(term.name != "policy_gradient" for term in self._terms)

    def from_teacher(self, sight: Sight, told: Told, temperature: "Temperatures", progress: float) -> Tensor:
        """The sum over all losses that count at this progress of the run, 0-d; `policy_gradient` is not among them."""
        losses = [
            term.weight * self._loss(place, term, sight, told, temperature.of(term), progress)
            for place, term in enumerate(self._terms)
            if term.name != "policy_gradient" and term.counts_at(progress)
        ]
        # Nothing may count between two phases, or a loss reach no layer that trains: the gradient is then 0, not missing.
        total = sum(losses[1:], start=losses[0]) if losses else sight.outputs.new_zeros(())
        return total if total.requires_grad else total + 0.0 * sight.outputs.sum()

    def _loss(
        self, place: int, term: LossConfig, sight: Sight, told: Told, temperature: float | Tensor, progress: float
    ) -> Tensor:
        if term.name in LAYER_LOSSES:
            mine, theirs = sight.layers[term.layer], told.layers[term.teacher_layer]
            if term.name == "hint":
                projected = self._projections[str(place)](mine.flatten(1))
                return representation.hint(projected, theirs.flatten(1), told.weight)
            if term.name == "attention":
                return representation.attention(mine, theirs, told.weight)
            return (representation.relational if term.name == "relational" else representation.similarity)(mine, theirs)
        if term.name == "value":
            return value(self._state_value(sight), told.q, told.weight)
        options = term.options
        if switch := options.pop("switch", 0.0):
            options["soft_weight" if progress >= switch else "hard_weight"] = 0.0
        return LOSSES[term.name](
            sight.outputs, told.q, temperature, weight=told.weight, smoothing=self._smoothing, **options
        )

    def from_own_steps(
        self,
        steps: Steps,
        sight: Sight,
        after: Sight,
        told: Told,
        temperature: "Temperatures",
        share: float | Tensor,
        progress: float,
    ) -> Tensor:
        """The policy gradient on steps [B] of the student's own lanes, 0-d: policy, state value, and KL times `share`.

        `sight` is of where the steps were taken, `after` of what they led to.
        """
        total = torch.zeros((), device=sight.outputs.device)
        for term in self._terms:
            if term.name != "policy_gradient" or not term.counts_at(progress):
                continue
            v_tm1, v_t = self._state_value(sight), self._state_value(after).detach()
            gained = self._replicas.whole(advantage(steps.n_step_return, steps.discount, v_t, v_tm1))
            gained = self._replicas.part(standardised(gained))
            policy = policy_gradient(sight.outputs, steps.action, gained, steps.probability)
            critic = huber(steps.n_step_return + steps.discount * v_t - v_tm1).mean()
            kept = LOSSES["kl"](sight.outputs, told.q, temperature.of(term), weight=told.weight, smoothing=self._smoothing)
            total = total + term.weight * (policy + CRITIC_WEIGHT * critic + share * term.kl_weight * kept)
        return total

    def _state_value(self, sight: Sight) -> Tensor:
        """[B]."""
        return self._value(sight.features).squeeze(-1)


@dataclass(frozen=True)
class Temperatures:
    """The temperature now: the student's own unless a loss has another; `auto` is the one that follows the teacher."""

    own: float | str
    auto: Tensor
    share: float | Tensor
    """what is left of it at this progress of the run"""

    def of(self, term: LossConfig | None = None) -> float | Tensor:
        asked = term.temperature if term and term.temperature else self.own
        return (self.auto if asked == "auto" else asked) * self.share


def misfits(
    key: str,
    terms: Sequence[LossConfig],
    shapes: Sequence[tuple[int, ...]],
    teacher_shapes: Sequence[tuple[int, ...]],
    actions: int,
) -> Iterator[Problem]:
    """What these losses cannot do with the layers of a student and its teacher, and with so many actions."""
    for term in terms:
        if actions < 3 and "dkd" in term.output_losses:
            why = "dkd parts the best action from the others, and with two actions there is one other"
            yield Problem("too few actions", key, "dkd", why, "Use kl or kl_hinton")
        if term.name not in LAYER_LOSSES:
            continue
        found = []
        for name, layers, whose in (("layer", shapes, "student"), ("teacher_layer", teacher_shapes, "teacher")):
            place = getattr(term, name)
            if -len(layers) <= place < len(layers):
                found.append(layers[place])
            else:
                why = f"the {whose} has {len(layers)} hidden layer{'' if len(layers) == 1 else 's'}"
                fix = f"Choose {name} from -{len(layers)} to {len(layers) - 1}" if layers else "Give it hidden layers"
                yield Problem("no such layer", key, f"{term.name}, {name} {place}", why, fix)
        if term.name == "attention" and len(found) == 2:
            flat = [whose for whose, shape in zip(("student's", "teacher's"), found, strict=True) if len(shape) != 3]
            if flat:
                many = "s are" if len(flat) > 1 else " is"
                why = f"the {' and the '.join(flat)} layer{many} not convolutional, and attention compares maps of an image"
                yield Problem("no attention", key, "attention", why, "Use hint, relational or similarity")
            elif found[0][1:] != found[1][1:]:
                why = f"the maps are {list(found[0][1:])} and {list(found[1][1:])}"
                yield Problem("no attention", key, "attention", why, "Choose layers of equal height and width")


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())
