"""Policies as ONNX files, of floats or of 8-bit integers; what of ONNX is needed is imported here alone."""

import importlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from numpy.typing import NDArray
from torch.export import ExportedProgram

from distributed_kd.errors import ConfigurationError, Problem
from distributed_kd.exports import policy
from distributed_kd.exports.states import BATCH, States

NEEDED = ("onnx", "onnxscript", "onnxruntime")
LAYERS = ("Gemm", "MatMul", "Conv")
QUANTISED = (*LAYERS, "Relu", "MaxPool")
"""What is computed in 8 bits; sums of residual blocks, softmax and normalisation are not"""


def check_installed(format: str) -> None:
    """Raise ConfigurationError where a package that ONNX files need is not installed."""
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            why = f"it needs {name}, which {'is not installed' if error.name == name else f'cannot be imported ({error})'}"
            fix = 'Install it: pip install "distributed-kd[onnx]"'
            raise ConfigurationError(Problem("missing package", "format", format, why, fix)) from error


def to_onnx(program: ExportedProgram, about: Mapping[str, object]) -> bytes:
    """The program as an ONNX file with its weights in it: `observation` [batch, ...] to `outputs` [batch, A]."""
    import onnx
    import torch

    with quiet():
        model = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=["observation"], output_names=["outputs"]
        ).model_proto
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    # Where in the sources each node came from is nobody's business on a device, and larger than a small network.
    del graph.value_info[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return _with_about(model, about)


def quantised(model: bytes, about: Mapping[str, object], states: States, aside: Path) -> bytes:
    """The ONNX file `model` with its layers in 8-bit integers; `aside` is a path that may be written.

    Weights have a scale for each row, and activations the range that they have over states that the run has seen. The first
    and the last layer stay as they are, for there most is lost: numbers of an observation differ in their ranges, and
    outputs of the best two actions by little. Of two layers the first one stays.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static

    read = onnx.load_from_string(model)
    with quiet():
        quantize_static(
            read,
            aside,
            _calibration(states.observations[: states.seen]),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=kept_as_floats(read.graph),
        )
    return _with_about(onnx.load(aside), about)


def kept_as_floats(graph) -> list[str]:
    """The names of the nodes of an ONNX graph with weights that see the observation, and of those that give outputs."""
    depth: dict[str, int] = {}
    layers: dict[str, int] = {}
    for node in graph.node:  # in the order in which they are computed
        here = max((depth.get(name, 0) for name in node.input), default=0)
        if node.op_type in LAYERS:
            here += 1
            layers[node.name] = here
        depth.update(dict.fromkeys(node.output, here))
    deepest = max(layers.values(), default=0)
    kept = {1, deepest} if deepest > 2 else {1} if deepest == 2 else set()
    return [name for name, place in layers.items() if place in kept]


@contextmanager
def quiet() -> Iterator[None]:
    """Both libraries tell of what they leave out and of each other's versions, which nobody who exports can change."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _calibration(observations: NDArray):
    """What the quantiser reads them from."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self):
            starts = range(0, len(observations), BATCH)
            self._batches = iter([{"observation": observations[start : start + BATCH]} for start in starts])

        def get_next(self) -> dict[str, NDArray] | None:
            return next(self._batches, None)

    return Reader()


def _with_about(model, about: Mapping[str, object]) -> bytes:
    import onnx

    onnx.helper.set_model_props(model, {policy.ABOUT: json.dumps(about)})
    return model.SerializeToString()
