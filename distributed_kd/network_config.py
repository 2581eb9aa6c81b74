"""The table of a run file that describes a network: one by name with its widths, and what a teacher's network ends in."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from distributed_kd.checks import above_zero, at_least
from distributed_kd.errors import Problem

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*\Z")
"""A network of the user's own: the module and the function in it that makes one"""

TREE = "tree"
KINDS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "mlp": ((), (256, 256)),
    "minatar": ((16,), (128,)),
    "nature": ((32, 64, 64), (512,)),
    "impala": ((16, 32, 32), (256,)),
    TREE: ((), ()),
}
"""The networks by name: usual channels of their convolutions, and units of the linear layers behind them"""
DEEPEST = 10
"""Decisions, one behind the other, of a tree: it has 1,023 then, and nobody reads more"""


@dataclass(frozen=True)
class NetworkConfig:
    """A network by name, with its widths."""

    kind: str = "mlp"
    """mlp: fully connected; minatar: one convolution of 3x3; nature: Mnih et al. 2015, for 84x84; impala: residual, Espeholt
    et al. 2018; tree: a student of rules, Bastani et al. 2018; or "module:factory", your own, only with
    --allow-env-import"""
    hidden: tuple[int, ...] | Literal["auto"] = "auto"
    """units of each hidden linear layer; auto: the kind's usual ones times width"""
    channels: tuple[int, ...] | Literal["auto"] = "auto"
    """channels of each convolution, or of each residual stack; auto: the kind's usual ones times width"""
    width: float = 1.0
    """share of the usual widths that auto takes"""
    layer_norm: bool = False
    """layer normalisation before each ReLU of the linear layers"""
    depth: int = 6
    """tree: decisions, one behind the other, at most"""

    @property
    def units(self) -> tuple[int, ...]:
        """Of each hidden linear layer, `auto` worked out."""
        return self._usual(1) if self.hidden == "auto" else self.hidden

    @property
    def filters(self) -> tuple[int, ...]:
        """Channels of each convolution or residual stack, `auto` worked out; none for an mlp."""
        return self._usual(0) if self.channels == "auto" else self.channels

    @property
    def is_convolutional(self) -> bool:
        return bool(KINDS.get(self.kind, ((), ()))[0])

    @property
    def is_tree(self) -> bool:
        return self.kind == TREE

    @property
    def is_foreign(self) -> bool:
        """It is made by a factory of the user's own."""
        return self.kind not in KINDS

    @property
    def label(self) -> str:
        """In a few letters, such as `mlp 64 64` or `nature 16 32 32, 256`."""
        if self.is_foreign:
            return self.kind
        if self.is_tree:
            return f"tree of depth {self.depth}"
        parts = (" ".join(map(str, widths)) for widths in (self.filters, self.units) if widths)
        return f"{self.kind} {', '.join(parts)}".strip()

    def _usual(self, part: int) -> tuple[int, ...]:
        return tuple(max(1, round(width * self.width)) for width in KINDS.get(self.kind, ((), ()))[part])

    def problems(self, key: str) -> Iterator[Problem]:
        what = "bad layer width"
        if self.is_tree:
            yield from self._tree_problems(key)
        elif self.depth != NetworkConfig.depth:
            yield Problem("option without effect", f"{key}.depth", self.depth, f"{self.kind} is no tree", "Remove it")
        yield from above_zero(f"{key}.width", self.width, what)
        for name in ("hidden", "channels"):
            widths = getattr(self, name)
            for width in () if widths == "auto" else widths:
                yield from at_least(f"{key}.{name}", width, 1, what)
        if self.is_foreign and not FACTORY.fullmatch(self.kind):
            why, close = "there is no such network", difflib.get_close_matches(self.kind, KINDS, n=1)
            fix = f"Did you mean {close[0]}?" if close else f'Choose {", ".join(KINDS)}, or "module:factory"'
            yield Problem("unknown network", f"{key}.kind", repr(self.kind)[:80], why, fix)
        elif self.is_foreign and (self.hidden, self.layer_norm) != ("auto", False):
            why, fix = "the factory alone decides its layers", f"Set --{key}.hidden auto and --{key}.layer_norm false"
            widths = self.hidden if self.hidden == "auto" else list(self.hidden)
            yield Problem("option without effect", f"{key}.hidden", widths, why, fix)
        if not self.is_convolutional and self.channels not in ("auto", ()):
            why, fix = (
                f"{self.kind} has no convolutions that could be set here",
                "Remove it, or choose minatar, nature or impala",
            )
            yield Problem("option without effect", f"{key}.channels", list(self.channels), why, fix)
        usual = len(KINDS.get(self.kind, ((), ()))[0])
        if self.is_convolutional and self.kind != "impala" and len(self.filters) != usual:
            why, fix = (
                f"{self.kind} has {usual} convolution{'' if usual == 1 else 's'}",
                f"Give {usual} width{'' if usual == 1 else 's'}",
            )
            yield Problem(what, f"{key}.channels", list(self.filters), why, fix)

    def _tree_problems(self, key: str) -> Iterator[Problem]:
        if isinstance(self.depth, bool) or not 1 <= self.depth <= DEEPEST:
            why, fix = f"a tree that can be read has 1 to {DEEPEST}", f"Set --{key}.depth 6"
            yield Problem("bad depth", f"{key}.depth", self.depth, why, fix)
        default = NetworkConfig()
        for name in ("hidden", "layer_norm"):  # a student has a width without being given one
            if (value := getattr(self, name)) != getattr(default, name):
                why = "a tree has no layers, only a depth"
                yield Problem("option without effect", f"{key}.{name}", value, why, "Remove it")


@dataclass(frozen=True)
class HeadConfig:
    """What a teacher's network ends in."""

    dueling: bool = False
    noisy: bool = False
    distribution: Literal["none", "c51", "quantile"] = "none"
    atoms: int = 51
    v_min: float = -10.0
    v_max: float = 10.0

    @property
    def outputs(self) -> int:
        """Numbers for each action."""
        return 1 if self.distribution == "none" else self.atoms
