"""Policies of every kind as a checkpoint would give them, with states that they see; no test is in here."""

from pathlib import Path

import numpy as np
import torch

from distributed_kd.config import EnvConfig, RunConfig
from distributed_kd.exports.saved import Saved
from distributed_kd.exports.states import States, perturbed
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import build
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import EnvSpec
from distributed_kd.storage.checkpoints import Checkpoint
from distributed_kd.student_config import StudentConfig
from distributed_kd.training.parts import Parts

NUMBERS = EnvSpec("Numbers-v0", (4,), "float32", 3, action_start=2)
STACKED = EnvSpec("Stacked-v0", (2,), "float32", 3, frame_stack=3)
IMAGES = EnvSpec("Images-v0", (10, 12, 3), "uint8", 3, channels="last", scale=1 / 255)
FRAMES = EnvSpec("Frames-v0", (40, 44), "uint8", 3, frame_stack=2, scale=1 / 255)
COLOURS = EnvSpec("Colours-v0", (16, 12, 3), "uint8", 3, frame_stack=2, channels="last", scale=1 / 255)
C51 = {"distribution": "c51", "atoms": 7, "v_min": -3.0, "v_max": 5.0}


def own_network(input_shape, actions):
    """A factory of the user's own."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(input_shape)), actions), torch.nn.Tanh())


OWN = f"{__name__}:own_network"
KINDS = {
    "mlp": (NUMBERS, NetworkConfig(hidden=(16, 8)), {}, False),
    "mlp, dueling, stacked, normalised": (STACKED, NetworkConfig(hidden=(16, 8)), {"dueling": True}, True),
    "mlp, layer norm, noisy c51": (NUMBERS, NetworkConfig(hidden=(6,), layer_norm=True), {"noisy": True, **C51}, False),
    "mlp of bytes": (IMAGES, NetworkConfig(hidden=(6,)), {}, False),
    "linear": (NUMBERS, NetworkConfig(hidden=()), {}, True),
    "minatar, quantile": (IMAGES, NetworkConfig("minatar", (8,), (3,)), {"distribution": "quantile", "atoms": 4}, False),
    "nature, dueling, normalised": (FRAMES, NetworkConfig("nature", (8,), (2, 3, 4)), {"dueling": True}, True),
    "of one's own": (NUMBERS, NetworkConfig(OWN), {}, False),
    "impala, colours, c51": (COLOURS, NetworkConfig("impala", (8,), (2, 3)), C51, False),
}


def seen_by(spec: EnvSpec, count: int = 200) -> np.ndarray:
    random = np.random.default_rng(3)
    if spec.observation_dtype == "uint8":
        return random.integers(0, 256, (count, *spec.input_shape)).astype(np.uint8)
    return random.normal(size=(count, *spec.input_shape)).astype(np.float32)


def states_of(spec: EnvSpec) -> States:
    seen = seen_by(spec)
    return States(np.concatenate([seen, perturbed(seen, 100, np.random.default_rng(4))]), len(seen))


def saved_of(spec: EnvSpec, network: NetworkConfig, head: dict, normalise: bool, policy: str = "teacher") -> Saved:
    """A policy with weights large enough that its outputs differ from state to state."""
    config = RunConfig(
        env=EnvConfig("CartPole-v1", normalise=normalise),
        teacher=TeacherConfig(network=network, **head),
        students={"tiny": StudentConfig(network=network)},
    )
    made = build(network, spec, 5, HeadConfig(**head)).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.mul_(2.0)
    seen = seen_by(spec).reshape(-1, *spec.observation_shape)
    normal = np.stack([seen.mean(0), seen.std(0)]).astype(np.float32) if normalise else None
    if normalise:
        normal[1].flat[0] = 1e-4  # less than is divided by
    weights = {"trained": {"network": {name: value.numpy() for name, value in made.state_dict().items()}}}
    learner = {"teacher": weights, "students": {"tiny": weights}}
    if normalise:
        learner["normaliser"] = {"normal": normal}
    checkpoint = Checkpoint(5, "step-5", Path("step-5"), {"learner": learner}, {"env_steps": 80})
    return Saved("a-run", policy, config, spec, Parts(config, spec), checkpoint, made, normal)


def torch_outputs(saved: Saved, observations: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return saved.deployed()(torch.from_numpy(observations)).numpy()
