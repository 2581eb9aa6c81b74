"""A policy that distributed_kd exported, run without distributed_kd: a copy of this file lies beside each.

It needs Python, NumPy and, for .onnx files, onnxruntime; nothing else.

    python policy.py FILE < observation.json      one observation, or a list of them, as JSON
    python policy.py FILE observations.npy        the same as a NumPy array

prints as JSON the action that the environment is to be given: one number for one observation, a list for several. In a
program:

    from policy import Policy
    policy = Policy("tiny.onnx")
    actions = policy.act(observations)            # [N, *policy.shape] -> [N]

`policy.about` is what is known of the policy: the environment, what an observation is, what an output means.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ABOUT = "distributed_kd.policy"
"""Name, in the file's own metadata, of the JSON that says what the policy is"""


class Policy:
    """A policy out of a file: from observations as the environment gives them to its actions."""

    def __init__(self, path: str | Path, threads: int = 1):
        """`threads` are those of ONNX Runtime; small networks are fastest on one.

        Raises ValueError where the file is none that distributed_kd exported for this.
        """
        path = Path(path)
        self.about, self._outputs = _onnx(path, threads) if path.suffix == ".onnx" else _safetensors(path)
        seen, actions = self.about["observation"], self.about["actions"]
        self.shape, self.dtype = tuple(seen["shape"]), np.dtype(seen["dtype"])
        self._start = actions["start"]

    def outputs(self, observations: NDArray) -> NDArray[np.float32]:
        """[N, *shape] -> [N, A]: one number for each action, the highest for the best."""
        return self._outputs(self._checked(observations))

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        """[N, *shape] -> the best actions [N], numbered as the environment numbers them."""
        return self.outputs(observations).argmax(1) + self._start

    def _checked(self, observations: NDArray) -> NDArray:
        """As the network takes them. Raises ValueError where they are no observations of this environment."""
        given = np.asarray(observations)
        if given.shape[1:] != self.shape or given.dtype.kind not in "biuf":
            raise ValueError(f"{given.dtype} of shape {list(given.shape)} is not [N, {', '.join(map(str, self.shape))}]")
        if given.dtype == self.dtype:
            return np.ascontiguousarray(given)
        if self.dtype == np.uint8 and ((given < 0) | (given > 255) | (given % 1 != 0)).any():
            raise ValueError("observations must be whole numbers from 0 to 255")
        return np.ascontiguousarray(given, self.dtype)


Opened = tuple[dict, Callable[[NDArray], NDArray[np.float32]]]


def _onnx(path: Path, threads: int) -> Opened:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"an .onnx file needs ONNX Runtime ({error}): pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever ONNX Runtime finds wrong with the file
        raise ValueError(f"it is no ONNX file: {error}") from error
    about = _about(session.get_modelmeta().custom_metadata_map)
    (given,) = session.get_inputs()
    return about, lambda observations: session.run(None, {given.name: observations})[0]


def _safetensors(path: Path) -> Opened:
    """8 bytes that say how long the header is, the header as JSON, and the numbers of all arrays in a row."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    about = _about(header.pop("__metadata__", {}))
    parameters = {
        name: np.frombuffer(data[end:], "<f4", int(np.prod(one["shape"])), one["data_offsets"][0]).reshape(one["shape"])
        for name, one in header.items()
    }
    return about, _perceptron(parameters, about)


def _about(metadata: Mapping[str, str]) -> dict:
    if ABOUT not in metadata:
        raise ValueError("it is no policy that distributed_kd exported")
    return json.loads(metadata[ABOUT])


def _perceptron(parameters: Mapping[str, NDArray], about: dict) -> Callable[[NDArray], NDArray[np.float32]]:
    """Linear layers with ReLU between them, then the advantage of each action and, where there is one, the state's value."""
    network = about["network"]
    if not network["is_plain"]:
        raise ValueError(f"NumPy alone runs linear layers, and this is a {network['label']}: export it as onnx")
    numbers = sorted({int(name.split(".")[1]) for name in parameters if name.startswith("body.")})
    layers = [(parameters[f"body.{n}.weight"].T, parameters[f"body.{n}.bias"]) for n in numbers]
    heads = {
        name: (parameters[f"{name}.weight"].T, parameters[f"{name}.bias"])
        for name in ("advantage", "value")
        if f"{name}.weight" in parameters
    }

    def outputs(observations: NDArray) -> NDArray[np.float32]:
        features = observations.astype(np.float32)
        if normal := network["normalised"]:
            mean, deviation = parameters[normal["by"]]
            deviation = np.maximum(deviation, np.float32(normal["least_deviation"]))
            features = np.clip((features - mean) / deviation, -normal["largest"], normal["largest"])
        else:
            features = features * np.float32(network["scale"])
        features = features.reshape(len(features), -1)
        for weight, bias in layers:
            features = np.maximum(features @ weight + bias, 0)
        advantage, *value = (features @ weight + bias for weight, bias in heads.values())
        return value[0] + advantage - advantage.mean(1, keepdims=True) if value else advantage

    return outputs


def main(words: list[str]) -> int:
    if not 1 <= len(words) <= 2 or words[0].startswith("-"):
        print(__doc__)
        return 0 if words[:1] in (["-h"], ["--help"]) else 2
    try:
        policy = Policy(words[0])
        given = np.load(words[1], allow_pickle=False) if len(words) == 2 else np.asarray(json.load(sys.stdin))
        alone = given.shape == policy.shape
        actions = policy.act(given[None] if alone else given).tolist()
    except (OSError, ValueError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(actions[0] if alone else actions))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
