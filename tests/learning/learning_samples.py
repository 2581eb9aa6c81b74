"""Networks, batches and comparisons to learn with, all from seeds."""

import numpy as np
import torch

from distributed_kd import networks
from distributed_kd.learning.learner import Learner
from distributed_kd.policy_config import NetworkConfig, TeacherConfig
from distributed_kd.records import Batch, EnvSpec
from distributed_kd.student_config import StudentConfig

SPEC = EnvSpec("Numbers", (4,), "float32", 3)
CPU = torch.device("cpu")

FIVE_STUDENTS = {
    "kl": StudentConfig(loss="kl", temperature=0.1),
    "auto": StudentConfig(loss="kl_q", temperature="auto"),
    "mse": StudentConfig(loss="mse", learning_rate=3e-3, max_grad_norm=0.1),
    "nll": StudentConfig(loss="nll", learning_rate_end=0.0),
    "huber": StudentConfig(loss="huber", max_grad_norm=1.0),
}


def network(*hidden, seed=0, dueling=False):
    return networks.build(NetworkConfig(hidden=hidden), SPEC, seed, dueling)


def batches(count, size=16, seed=0, scale=1.0):
    """Batches as an n-step replay gives them: discounts of 0, .9, .81 and .729."""
    random = np.random.default_rng(seed)
    return [
        Batch(
            observation=random.normal(size=(size, 4)).astype(np.float32),
            action=random.integers(0, 3, size),
            n_step_return=(scale * random.normal(size=size)).astype(np.float32),
            discount=random.choice([0.0, 0.9, 0.81, 0.729], size).astype(np.float32),
            next_observation=random.normal(size=(size, 4)).astype(np.float32),
        )
        for _ in range(count)
    ]


def learner_of(students=(), teacher=None, hidden=(16,)):
    """A learner of the teacher and those of FIVE_STUDENTS, or with configurations of their own."""
    students = students if isinstance(students, dict) else {name: FIVE_STUDENTS[name] for name in students}
    # Each from a seed of its own name, whatever others there are.
    named = {"teacher": network(*hidden, seed=1000)}
    named |= {name: network(8, 8, seed=sum(name.encode())) for name in students}
    return Learner(networks=named, teacher=teacher or TeacherConfig(target_update=3), students=students, device=CPU)


def trained(learner, with_batches, progress=0.5):
    for batch in with_batches:
        learner.update(batch, progress)
    return learner


def tensors(batch):
    """The arguments of Teacher.update, but for the progress."""
    columns = (batch.observation, batch.action, batch.n_step_return, batch.discount, batch.next_observation)
    return [torch.tensor(column) for column in columns]


def as_stored(state):
    """A state as a checkpoint gives it back: arrays in place of tensors, nothing shared."""
    if isinstance(state, dict):
        return {key: as_stored(value) for key, value in state.items()}
    return state.detach().cpu().numpy().copy() if isinstance(state, torch.Tensor) else state


def to_bytes(learner):
    return {name: flat.tobytes() for name, flat in learner.weights().flat.items()}
