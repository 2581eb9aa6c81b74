"""What the networks of a run are made of and what they cost: parameters, arithmetic of one decision, bytes."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn

from distributed_kd.networks import parameter_count
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.networks.tree import TreeNetwork
from distributed_kd.records import EnvSpec
from distributed_kd.reports.shown import DASH

KNOWN = (nn.Linear, nn.Conv2d, nn.LayerNorm, Ensemble, TreeNetwork)
"""The modules with parameters of their own whose arithmetic is known; NoisyLinear is a Linear"""
OTHER = "other"
"""Name of what lies in no such module: layers of a factory that are counted only"""
BYTES = 4
"""of a float32"""
WIDTH = 100
"""Letters of a line"""
GAP = "  "


@dataclass(frozen=True)
class Layer:
    """A layer with parameters."""

    name: str
    output: tuple[int, ...]
    """shape for one observation; () where it is not known"""
    parameters: int
    multiply_adds: int | None
    """of one observation, without noise; None where they are not known"""


@torch.no_grad()
def layers_of(network: nn.Module, spec: EnvSpec) -> list[Layer]:
    """The layers that have parameters, in the order in which one observation passes them; what is shared counts once."""
    rows: dict[str, Layer] = {}
    counted: set[int] = set()

    def look(name: str, module: nn.Module, given: Tensor, output: Tensor) -> None:
        own = [one for one in module.parameters(recurse=False) if id(one) not in counted]
        counted.update(map(id, own))
        new = Layer(name, tuple(output.shape[1:]), sum(one.numel() for one in own), _multiply_adds(module, output))
        before = rows.get(name)  # a layer may be passed more than once
        if before:
            new = replace(new, parameters=before.parameters, multiply_adds=before.multiply_adds + new.multiply_adds)
        rows[name] = new

    hooks = [
        module.register_forward_hook(
            lambda module, given, output, name=name: look(name or _whole(module), module, given[0], output)
        )
        for name, module in network.named_modules()
        if isinstance(module, KNOWN)
    ]
    try:
        network(torch.zeros((1, *spec.input_shape), device=next(network.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    left = parameter_count(network) - sum(layer.parameters for layer in rows.values())
    return [*rows.values(), *([Layer(OTHER, (), left, None)] if left else [])]


def _whole(network: nn.Module) -> str:
    """What a network is called whose parameters, or arithmetic, lie in no layer."""
    return "decisions" if isinstance(network, TreeNetwork) else "mixture"


def _multiply_adds(module: nn.Module, output: Tensor) -> int:
    if isinstance(module, (nn.LayerNorm, TreeNetwork)):  # a tree compares, and that is all
        return 0
    if isinstance(module, Ensemble):
        return output.numel() * len(module.members)
    # Each number that a linear layer or a convolution gives is one row of its weight times as many inputs.
    return output.numel() * module.weight[0].numel()


def as_json(networks: Mapping[str, nn.Module], labels: Mapping[str, str], spec: EnvSpec) -> dict:
    """What `describe` tells, as plain data; null where multiply-adds are not known or there is no teacher."""
    whole = parameter_count(networks["teacher"]) if "teacher" in networks else None
    told = {}
    for name, network in networks.items():
        layers, parameters = layers_of(network, spec), parameter_count(network)
        costs = [layer.multiply_adds for layer in layers]
        told[name] = {
            "network": labels[name],
            "parameters": parameters,
            "parameter_share": parameters / whole if whole else None,
            "multiply_adds": None if None in costs else sum(costs),
            "bytes": BYTES * parameters,
            "layers": [{**asdict(layer), "output": list(layer.output)} for layer in layers],
        }
    return {"env": spec.id, "input": list(spec.input_shape), "actions": spec.actions, "networks": told}


def describe(networks: Mapping[str, nn.Module], labels: Mapping[str, str], spec: EnvSpec) -> str:
    """A block of layers for each network and a table over all, as plain text of at most WIDTH letters a line."""
    told = as_json(networks, labels, spec)["networks"]
    blocks = [_block(name, one) for name, one in told.items()]
    headings = ("network", "kind and widths", "parameters", "of teacher", "multiply-adds", "bytes")
    rows = [
        (name, one["network"], _count(one["parameters"]), _share(one["parameter_share"]), _count(one["multiply_adds"]),
         _count(one["bytes"]))
        for name, one in told.items()
    ]  # fmt: skip
    return "\n\n".join([*blocks, aligned(headings, rows, words=2)]) + "\n"


def _block(name: str, told: Mapping) -> str:
    rows = [
        (layer["name"], " x ".join(map(str, layer["output"])) or DASH, _count(layer["parameters"]),
         _count(layer["multiply_adds"]))
        for layer in told["layers"]
    ]  # fmt: skip
    table = aligned(("layer", "output", "parameters", "multiply-adds"), rows, words=1)
    return f"{_clipped(name + ': ' + told['network'], WIDTH)}\n{table}"


def aligned(headings: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> str:
    """A table as plain text: the first columns are words and stand left, the others figures and stand right.

    Where a line would be longer than WIDTH, the longest words are clipped; figures never are.
    """
    table = [list(headings), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    over = sum(widths) + len(GAP) * (len(widths) - 1) - WIDTH
    while over > 0 and max(widths[:words]) > len(DASH):
        longest = widths.index(max(widths[:words]))
        widths[longest] -= 1
        over -= 1
    lines = []
    for row in table:
        cells = [_clipped(cell, width) for cell, width in zip(row[:words], widths, strict=False)]
        cells = [cell.ljust(width) for cell, width in zip(cells, widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(row[words:], widths[words:], strict=True)]
        lines.append(GAP.join(cells).rstrip())
    return "\n".join(lines)


def _clipped(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _count(number: int | None) -> str:
    return DASH if number is None else f"{number:,}"


def _share(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.1f} %"


def print_sizes(networks: Mapping[str, nn.Module], labels: Mapping[str, str], spec: EnvSpec, as_one_object: bool) -> None:
    """Print what `describe` tells, or `as_json` as one line."""
    print(json.dumps(as_json(networks, labels, spec)) if as_one_object else describe(networks, labels, spec))
