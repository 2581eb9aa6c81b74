"""The tables of a run file that describe a student: what is mapped from the teacher to it, and how it learns.

What a loss computes is in `maths/`; here is what it is called, what it can be given, and what it cannot be used for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from distributed_kd.checks import above_zero, at_least, share
from distributed_kd.errors import Problem
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import target_update_problems

OutputLossName = Literal[
    "kl", "kl_q", "kl_hinton", "kl_reverse", "jsd", "cross_entropy", "nll", "mse", "huber", "dkd", "margin"
]
LossName = Literal[
    "kl", "kl_q", "kl_hinton", "kl_reverse", "jsd", "cross_entropy", "nll", "mse", "huber", "dkd", "margin",
    "hard_soft", "hint", "attention", "relational", "similarity", "value", "policy_gradient",
]  # fmt: skip

LAYER_LOSSES = ("hint", "attention", "relational", "similarity")
"""Losses between hidden layers"""
BETWEEN_STATES = ("relational", "similarity")
"""Losses that compare the states of a batch with each other"""
TEACH_NO_ACTION = (*LAYER_LOSSES, "value")
"""Losses that leave the student's outputs untouched, so that another one must stand beside them"""
ON_THE_SCALE_OF_Q = ("kl_q", "kl_hinton", "mse", "huber", "margin", "dkd")
"""Output losses whose optimum are Q-values (up to a constant a row), so that a TD error can be minimised beside them"""
VALUES_NEEDED = ("mse", "huber", "value")
"""Losses that read the teacher's outputs as returns, not only as preferences"""
OPTIONS: dict[str, tuple[str, ...]] = {
    "layer": LAYER_LOSSES, "teacher_layer": LAYER_LOSSES, "soft": ("hard_soft",), "hard": ("hard_soft",),
    "soft_weight": ("hard_soft",), "hard_weight": ("hard_soft",), "switch": ("hard_soft",), "alpha": ("dkd",),
    "beta": ("dkd",), "target": ("mse", "huber"), "margin": ("margin",), "kl_weight": ("policy_gradient",),
}  # fmt: skip
"""Which losses read an option of `LossConfig`"""

VIPER = "viper"
"""How a tree is taught, as summaries name it: Bastani, Pu and Solar-Lezama 2018, 1805.08328"""
READ_BY_TREES = ("network", "warmup", "drives")
"""The keys of a student's table that hold for a tree"""


@dataclass(frozen=True)
class LossConfig:
    """One mapping from the teacher to a student; several can stand side by side."""

    name: LossName = "kl"
    """what is mapped, and how"""
    weight: float = 1.0
    """factor before this loss in the sum"""
    since: float = 0.0
    """share of the run from which it counts"""
    until: float = 1.0
    """share of the run up to which it counts"""
    temperature: float | Literal["auto"] = 0.0
    """in place of the student's own; 0 = the student's own"""
    layer: int = -1
    """hint, attention, relational, similarity: the student's hidden layer, -1 the last"""
    teacher_layer: int = -1
    """hint, attention, relational, similarity: the teacher's hidden layer"""
    soft: OutputLossName = "kl"
    """hard_soft: the loss on soft targets"""
    hard: OutputLossName = "nll"
    """hard_soft: the loss on hard targets"""
    soft_weight: float = 0.5
    """hard_soft: factor before the soft loss"""
    hard_weight: float = 0.5
    """hard_soft: factor before the hard loss"""
    switch: float = 0.0
    """hard_soft: share of the run at which the soft loss gives way to the hard one; 0 = both all the time"""
    alpha: float = 1.0
    """dkd: factor before the divergence of the best action against all others"""
    beta: float = 8.0
    """dkd: factor before the divergence among the others"""
    target: Literal["q", "advantage", "scaled"] = "q"
    """mse, huber: the Q-values; less their mean over the actions; or less their mean and divided by their spread"""
    margin: float = 0.8
    """margin: by how much the teacher's action is to be valued above all others, in the unit of returns"""
    kl_weight: float = 1.0
    """policy_gradient: factor before KL(teacher || student) on the student's own states"""

    @property
    def output_losses(self) -> tuple[str, ...]:
        """The output losses in it; none for one between layers or values."""
        if self.name == "hard_soft":
            return self.soft, self.hard
        return (self.name,) if self.name in get_args(OutputLossName) else ()

    @property
    def options(self) -> dict[str, object]:
        """What this loss is given beside outputs, targets and temperature, by name."""
        return {name: getattr(self, name) for name, readers in OPTIONS.items() if self.name in readers}

    def counts_at(self, progress: float) -> bool:
        """It is in its phase at this progress of the student's schedules."""
        return self.since <= progress and (progress < self.until or self.until == 1)

    def problems(self, key: str) -> Iterator[Problem]:
        what = "bad loss"
        for name in ("weight", "soft_weight", "hard_weight", "alpha", "beta", "margin", "kl_weight"):
            yield from at_least(f"{key}.{name}", getattr(self, name), 0, what)
        for name in ("since", "until", "switch"):
            yield from share(f"{key}.{name}", getattr(self, name), what)
        if self.since >= self.until:
            why, fix = f"it would never count, until being {self.until}", "Lower it, or raise until"
            yield Problem(what, f"{key}.since", self.since, why, fix)
        if self.temperature != "auto":
            yield from at_least(f"{key}.temperature", self.temperature, 0, "bad temperature")
        for option in fields(self):
            readers = OPTIONS.get(option.name)
            if readers and self.name not in readers and getattr(self, option.name) != option.default:
                why, value = f"{self.name} does not read it, only {', '.join(readers)}", getattr(self, option.name)
                yield Problem("option without effect", f"{key}.{option.name}", value, why, "Remove it")


@dataclass(frozen=True)
class StudentConfig:
    """One student: its network and how it is taught."""

    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(width=0.25))
    loss: LossName = "kl"
    """how the student is drawn to the teacher; beside one that teaches no actions (hint, value, ...) stands kl"""
    losses: tuple[LossConfig, ...] = ()
    """several mappings at once, in place of loss: [{ name = "kl" }, { name = "hint", weight = 0.1, layer = -2 }]; as a flag,
    names alone will do: kl hint"""
    temperature: float | Literal["auto"] = 0.01
    """divides the teacher's Q-values before the softmax; auto: follows the spread of its action gaps"""
    temperature_end: float = 1.0
    """share of the temperature left at the end of the run, reached linearly; 1 = constant"""
    importance: Literal["none", "entropy", "action_gap"] = "none"
    """weight of each state: 1 / entropy of the teacher's targets, or the teacher's action gap; the mean is 1"""
    smoothing: float = 0.0
    """share of the teacher's probabilities, or of its hard label, spread evenly over all actions"""
    observation_noise: float = 0.0
    """Gaussian noise on what the student sees, in standard deviations of each number over the batch"""
    target_noise: float = 0.0
    """Gaussian noise on the teacher's Q-values, in standard deviations of them over the batch"""
    distillation: Literal["constant", "linear", "performance"] = "constant"
    """factor before all that comes from the teacher: 1; falling to 0 over the run; or 1 - normalised score"""
    td_weight: float = 0.0
    """factor before the student's own temporal-difference error, as of a DQN; 0 = it learns from the teacher alone"""
    target_update: float = 500.0
    """as the teacher's, for the target network of the student's own temporal-difference error"""
    warmup: int = 0
    """updates of the teacher before the student begins, so that it does not imitate noise"""
    trainable: str = "all"
    """all; head: the output layer only; or a pattern of parameter names, such as body.2.*"""
    start: str = ""
    """begin with another policy, RUN, RUN:NAME or FILE.safetensors; layers that do not fit this environment are new"""
    drives: bool = True
    """it has lanes of its own; one that is added to a run by resume has none"""
    learning_rate: float = 1e-3
    """Adam's step size at the start"""
    learning_rate_end: float = 1.0
    """share of learning_rate left at the end of the run, reached linearly; 1 = constant"""
    max_grad_norm: float = 10.0
    """gradient norm above which this student's gradient is scaled down"""

    @property
    def terms(self) -> tuple[LossConfig, ...]:
        """What is mapped, the short form written out; none of these for a tree, which is fitted to the teacher's actions."""
        if self.network.is_tree:
            return ()
        if self.losses:
            return self.losses
        beside = (LossConfig(),) if self.loss in TEACH_NO_ACTION else ()
        return (*beside, LossConfig(self.loss))

    @property
    def label(self) -> str:
        """The losses in one word, as summaries name them."""
        if self.network.is_tree:
            return VIPER
        return "+".join([*(term.name for term in self.terms), *(["td"] if self.td_weight else [])])

    @property
    def loss_key(self) -> str:
        """The key that its losses stand under."""
        return "losses" if self.losses else "loss"

    @property
    def reads_values(self) -> bool:
        """It takes the teacher's outputs for returns, not only for preferences."""
        return any({t.name, *t.output_losses} & {*VALUES_NEEDED} and t.target != "advantage" for t in self.terms)

    @property
    def learns_from_own_lanes(self) -> bool:
        return any(term.name == "policy_gradient" for term in self.terms)

    def problems(self, key: str) -> Iterator[Problem]:
        yield from self.network.problems(f"{key}.network")
        if self.network.is_tree:
            yield from self._tree_problems(key)
            return
        for place, term in enumerate(self.losses):
            yield from term.problems(f"{key}.losses[{place}]")
        if self.temperature != "auto":
            yield from above_zero(f"{key}.temperature", self.temperature, "bad temperature")
        yield from share(f"{key}.temperature_end", self.temperature_end, "bad temperature")
        if self.temperature_end == 0:
            yield from above_zero(f"{key}.temperature_end", self.temperature_end, "bad temperature")
        yield from share(f"{key}.smoothing", self.smoothing, "bad smoothing")
        for name in ("observation_noise", "target_noise"):
            yield from at_least(f"{key}.{name}", getattr(self, name), 0, "bad noise")
        yield from at_least(f"{key}.td_weight", self.td_weight, 0, "bad weight")
        yield from target_update_problems(f"{key}.target_update", self.target_update)
        yield from at_least(f"{key}.warmup", self.warmup, 0, "bad warm-up")
        yield from above_zero(f"{key}.learning_rate", self.learning_rate, "bad learning rate")
        yield from share(f"{key}.learning_rate_end", self.learning_rate_end, "bad learning rate")
        yield from above_zero(f"{key}.max_grad_norm", self.max_grad_norm, "bad gradient clip")
        yield from self._loss_problems(key)

    def _tree_problems(self, key: str) -> Iterator[Problem]:
        yield from at_least(f"{key}.warmup", self.warmup, 0, "bad warm-up")
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name not in READ_BY_TREES and value != option.default:
                why = f"a tree is fitted to the teacher's actions ({VIPER}), and reads {', '.join(READ_BY_TREES)} alone"
                told = option.name if option.name == "losses" else value
                yield Problem("option without effect", f"{key}.{option.name}", told, why, "Remove it")

    def _loss_problems(self, key: str) -> Iterator[Problem]:
        """Losses that cannot stand alone, or not beside each other."""
        names, where = [term.name for term in self.terms], f"{key}.{self.loss_key}"
        outputs = [name for term in self.terms for name in term.output_losses]
        if not (outputs or self.td_weight or self.learns_from_own_lanes):
            fix = f'Add one that does: losses = [{{ name = "kl" }}, {{ name = "{names[0]}" }}]'
            yield Problem("no loss on the outputs", where, ", ".join(names), "what is listed teaches no actions", fix)
        logits = sorted({*outputs, *(["policy_gradient"] if self.learns_from_own_lanes else [])} - {*ON_THE_SCALE_OF_Q})
        if self.td_weight > 0 and logits:
            why = f"{logits[0]} makes the outputs logits, and a TD error needs Q-values"
            fix = f"Use {', '.join(ON_THE_SCALE_OF_Q[:-1])} or {ON_THE_SCALE_OF_Q[-1]}, or set --{key}.td_weight 0"
            yield Problem("two meanings of one output", where, ", ".join(names), why, fix)
        if self.td_weight > 0 and any(term.target == "scaled" for term in self.terms):
            why, fix = "a TD error needs Q-values on their own scale", 'Use target = "q" or "advantage"'
            yield Problem("two meanings of one output", where, ", ".join(names), why, fix)
        if self.smoothing and not ({*outputs} - {*VALUES_NEEDED, "margin"} or self.learns_from_own_lanes):
            why, fix = f"{' and '.join(names)} learns no probabilities", f"Remove it, or add a loss such as kl to {where}"
            yield Problem("option without effect", f"{key}.smoothing", self.smoothing, why, fix)
        if self.distillation != "constant" and not (self.td_weight or self.learns_from_own_lanes):
            why, fix = "nothing would be left to learn from", f"Set --{key}.td_weight 1, or --{key}.distillation constant"
            yield Problem("a teacher that fades", f"{key}.distillation", self.distillation, why, fix)
        if self.learns_from_own_lanes and not self.drives:
            why, fix = "policy_gradient learns from the student's own lanes", f"Set --{key}.drives true"
            yield Problem("no lanes of its own", f"{key}.drives", "false", why, fix)
