"""Policies from elsewhere, written as their programs write them, and their Q-values in NumPy; no test is in here."""

import base64
import json
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from distributed_kd import run_file
from distributed_kd.config import RunConfig
from distributed_kd.errors import CheckpointError
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import build
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import EnvSpec
from distributed_kd.storage import checkpoints
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import Source, read_source
from distributed_kd.student_config import StudentConfig

Layers = list[tuple[np.ndarray, np.ndarray]]

OURS = {"origin": "x", "network": {"kind": "mlp", "hidden": [16]}, "head": {"dueling": False}}
"""Our metadata of a network 4 -> 16 -> 2"""
SPEC = EnvSpec("CartPole-v1", (4,), "float32", 2)


class Crafted:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def layers(*widths: int, seed: int = 0) -> Layers:
    """A weight [out, in] and a bias [out] for each layer."""
    rng = np.random.default_rng(seed)
    sizes = zip(widths[1:], widths[:-1], strict=True)
    return [(rng.normal(size=size).astype(np.float32), rng.normal(size=size[0]).astype(np.float32)) for size in sizes]


def forward(chain: Layers, observation: np.ndarray) -> np.ndarray:
    """[B, inputs] -> [B, outputs]: x @ W.T + b, and max(x, 0) between the layers."""
    for weight, bias in chain[:-1]:
        observation = np.maximum(observation @ weight.T + bias, 0)
    weight, bias = chain[-1]
    return observation @ weight.T + bias


def assert_acts_as(source: Source, chain: Layers, rtol: float = 1e-5) -> None:
    """Our network with the parameters of `source` gives the Q-values of `chain`."""
    spec = EnvSpec("Numbers", (chain[0][0].shape[1],), "float32", len(chain[-1][1]))
    observation = np.random.default_rng(1).normal(size=(50, *spec.observation_shape)).astype(np.float32)
    np.testing.assert_allclose(q_values(source, observation, spec), forward(chain, observation), rtol=rtol, atol=1e-5)


def q_values(source: Source, observation: np.ndarray, spec: EnvSpec = SPEC) -> np.ndarray:
    network = build(source.network, spec, head=source.head)
    network.load_state_dict({name: torch.tensor(value) for name, value in source.parameters.items()})
    with torch.no_grad():
        return network(torch.tensor(observation)).numpy()


def named(chain: Layers, prefix: str, step: int = 2) -> dict[str, torch.Tensor]:
    """The state dict of a torch.nn.Sequential of these layers, every `step`-th of it linear."""
    state = {}
    for place, (weight, bias) in enumerate(chain):
        state[f"{prefix}{step * place}.weight"] = torch.tensor(weight)
        state[f"{prefix}{step * place}.bias"] = torch.tensor(bias)
    return state


def as_ours(chain: Layers) -> dict[str, torch.Tensor]:
    state = named(chain[:-1], "body.")
    state["advantage.weight"], state["advantage.bias"] = map(torch.tensor, chain[-1])
    return state


def sb3_state(chain: Layers) -> dict[str, torch.Tensor]:
    return named(chain, "q_net.q_net.") | named(layers(*_widths(chain), seed=9), "q_net_target.q_net.")


def sb3_data(
    policy_kwargs: dict | None = None, observations: dict | None = None, pickled: bytes = b"", **more: object
) -> dict:
    """What `data` holds of a DQN on CartPole, as Stable-Baselines3 2.9 writes it, without what nobody needs here."""
    serialized = base64.b64encode(pickled).decode()
    box = {
        ":type:": "<class 'gymnasium.spaces.box.Box'>", ":serialized:": serialized, "dtype": "float32", "_shape": [4],
        "low": "[-4.8               -inf -0.41887903        -inf]", "low_repr": None, "_np_random": None,
    }  # fmt: skip
    policy = {
        ":type:": "<class 'abc.ABCMeta'>", ":serialized:": serialized, "__module__": "stable_baselines3.dqn.policies",
        "__init__": "<function DQNPolicy.__init__ at 0x7f9d967fc7c0>",
    }  # fmt: skip
    kwargs = {"net_arch": [16]} if policy_kwargs is None else policy_kwargs
    return {
        "policy_class": policy, "verbose": 0, "policy_kwargs": kwargs, "num_timesteps": 200,
        "observation_space": box | (observations or {}), "gamma": 0.99,
    }  # fmt: skip


def torch_saved(state: object) -> bytes:
    buffer = BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def write_sb3(path: Path, state: object, data: object = None, members: Mapping[str, bytes | None] | None = None) -> Path:
    """A .zip as model.save writes it; `members` replace what it holds, None leaves one out."""
    contents = {
        "data": json.dumps(sb3_data() if data is None else data, indent=4).encode(),
        "pytorch_variables.pth": torch_saved(None),
        "policy.pth": torch_saved(state),
        "policy.optimizer.pth": torch_saved({}),
        "_stable_baselines3_version": b"2.9.2",
        "system_info.txt": b"- OS: Linux\n",
    }
    contents |= members or {}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)
    return path


def write_run(
    path: Path,
    teacher: TeacherConfig,
    policies: dict[str, dict],
    names: tuple[str, ...] = ("tiny",),
    normaliser: dict | None = None,
) -> Path:
    """A run's folder: its run file has the students `names`, its one checkpoint the parameters in `policies`."""
    students = {name: StudentConfig(network=NetworkConfig(hidden=(8,)), td_weight=1.0, loss="mse") for name in names}
    folder = RunFolder.create(path, run_file.encode(RunConfig(teacher=teacher, students=students)))
    states = {name: {"trained": {"network": parameters}} for name, parameters in policies.items()}
    learner = {"teacher": states.pop("teacher"), "students": states, "normaliser": normaliser}
    checkpoints.save(folder.checkpoints, 100, {"learner": learner}, {"policies": list(policies)}, 3)
    return path


def refusal(origin: object, kind: type = CheckpointError) -> str:
    """Why, and the fix: the rest of the one line that refuses `origin`."""
    with pytest.raises(kind) as error:
        read_source(str(origin))
    (line,) = error.value.lines
    begin = f"the policy cannot be read (source={origin}): "
    assert line.startswith(begin)
    return line.removeprefix(begin)


def _widths(chain: Layers) -> list[int]:
    return [chain[0][0].shape[1], *(len(bias) for _, bias in chain)]
