"""Networks, batches and comparisons to learn with, all from seeds."""

import copy
import dataclasses
import math

import numpy as np
import torch

from distributed_kd import networks
from distributed_kd.learning.gathering import Recruit
from distributed_kd.learning.learner import Learner
from distributed_kd.learning.lesson import Lesson, Steps
from distributed_kd.learning.students import Student
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks.ensemble import Ensemble
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import RANDOM, Batch, EnvSpec, Evaluation, PolicyScore
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


def network(*hidden, seed=0, **head):
    """Of these hidden layers; `head` as in HeadConfig."""
    return networks.build(NetworkConfig(hidden=hidden), SPEC, seed, HeadConfig(**head))


def batches(count, size=16, seed=0, scale=1.0):
    """Batches as an n-step replay gives them, drawn uniformly: discounts of 0, .9, .81 and .729."""
    random = np.random.default_rng(seed)
    return [
        Batch(
            observation=random.normal(size=(size, 4)).astype(np.float32),
            action=random.integers(0, 3, size),
            n_step_return=(scale * random.normal(size=size)).astype(np.float32),
            discount=random.choice([0.0, 0.9, 0.81, 0.729], size).astype(np.float32),
            next_observation=random.normal(size=(size, 4)).astype(np.float32),
            probability=random.uniform(0.1, 1.0, size).astype(np.float32),
            row=np.arange(place * size, (place + 1) * size),
            oversampling=np.ones(size, np.float32),
        )
        for place in range(count)
    ]


def by_priority(with_batches, seed=0, apart=False):
    """The same batches as if drawn by priority; with `apart`, uniform ones for the students beside them."""
    random = np.random.default_rng(seed)
    return [
        dataclasses.replace(
            batch,
            oversampling=random.uniform(0.2, 3.0, len(batch.row)).astype(np.float32),
            students=batches(1, seed=500 + place)[0] if apart else None,
        )
        for place, batch in enumerate(with_batches)
    ]


def learner_of(students=(), teacher=None, hidden=(16,), **more):
    """A learner of the teacher and those of FIVE_STUDENTS, or with configurations of their own; or of peers.

    `more` is handed to the learner: importance, normaliser.
    """
    teacher = teacher or TeacherConfig(target_update=3)
    students = students if isinstance(students, dict) else {name: FIVE_STUDENTS[name] for name in students}
    # Each from a seed of its own name, whatever others there are.
    named = {"teacher": network(*hidden, seed=1000, **vars(teacher.head))}
    named |= {name: network(8, 8, seed=sum(name.encode())) for name in students}
    if teacher.is_peers:
        named["teacher"] = Ensemble([named[name] for name in students], teacher.combine)
    return Learner(
        networks=named,
        spec=SPEC,
        teacher=teacher,
        students=students,
        seeds={name: sum(name.encode()) for name in ("teacher", *students)},
        device=CPU,
        **more,
    )


def student_of(net, config, teacher=None, seed=0):
    """A student with a network, and the layers of a teacher's network to learn from."""
    shapes = networks.layer_shapes(net, SPEC)
    teacher_shapes = networks.layer_shapes(teacher or network(16), SPEC)
    return Student(net, config, shapes, teacher_shapes, math.prod(shapes[-1] if shapes else SPEC.observation_shape), seed)


def learn(student, observation, teacher_q, temperature, progress, measure):
    """One update of a student from Q-values alone."""
    return student.update(Lesson(observation, teacher_q), temperature, progress, measure)


def as_lesson(teacher, observation):
    """What a network says of observations, as a teacher that stands still would."""
    with torch.no_grad():
        return Lesson(observation, *teacher.trace(observation))


def at_zero(*hidden):
    """A network whose outputs are its biases, all 0: what it learns in one step can be worked by hand."""
    net = network(*hidden)
    with torch.no_grad():
        net.advantage.weight.zero_()
        net.advantage.bias.zero_()
    return net


def with_own_steps(with_batches, names):
    """The same batches with steps beside them from the lanes of some students."""
    return [
        dataclasses.replace(batch, own={name: batches(1, seed=1000 * place + sum(name.encode()))[0] for name in names})
        for place, batch in enumerate(with_batches)
    ]


def scores(teacher_parameters=None, **means):
    """An evaluation with these mean returns by policy; random scores 0."""
    played = {name: PolicyScore((mean - 1.0, mean + 1.0), (1, 1), 0) for name, mean in {RANDOM: 0.0, **means}.items()}
    return Evaluation(0, 0.0, played, np.zeros(0, np.float32) if teacher_parameters is None else teacher_parameters)


def bare_dqn(online, config, with_batches, progresses):
    """Deep Q-learning in plain PyTorch, written out: the online network's parameters after every update."""
    target = copy.deepcopy(online)
    adam = torch.optim.Adam(online.parameters(), lr=config.learning_rate)
    for number, (batch, progress) in enumerate(zip(with_batches, progresses, strict=True), start=1):
        observation, action, returns, discount, following, *_ = vars(steps(batch)).values()
        rows = torch.arange(len(action))
        with torch.no_grad():
            action_t = (online if config.double else target)(following).argmax(1)
            goal = returns + discount * target(following)[rows, action_t]
        error = (goal - online(observation)[rows, action]).abs()
        loss = torch.where(error <= 1.0, 0.5 * error**2, error - 0.5).mean()
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * (1 - progress + progress * config.learning_rate_end)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(online.parameters(), config.max_grad_norm)
        adam.step()
        if config.target_update >= 1:
            if number % config.target_update == 0:
                target = copy.deepcopy(online)
        else:
            with torch.no_grad():
                for ours, theirs in zip(target.parameters(), online.parameters(), strict=True):
                    ours.copy_((1 - config.target_update) * ours + config.target_update * theirs)
        yield networks.to_flat(online), loss.item()


def trained(learner, with_batches, progress=0.5):
    for batch in with_batches:
        learner.update(batch, progress)
    return learner


def steps(batch):
    """A batch as the teacher takes it."""
    return Steps.of(batch, CPU)


def as_stored(state):
    """A state as a checkpoint gives it back: arrays in place of tensors, nothing shared."""
    if isinstance(state, dict):
        return {key: as_stored(value) for key, value in state.items()}
    return state.detach().cpu().numpy().copy() if isinstance(state, torch.Tensor) else state


def to_bytes(learner):
    return {name: flat.tobytes() for name, flat in learner.weights().flat.items()}


def recruit_of(configs):
    """What makes students of these configurations, by name."""
    return Recruit(configs, dict.fromkeys(configs, 3), networks.layer_shapes(network(16), SPEC), SPEC)


def students_of(members):
    """Students by name, from (hidden layers, configuration) of each."""
    recruit = recruit_of({name: config for name, (_, config) in members.items()})
    return {name: recruit(name, network(*hidden, seed=sum(name.encode()))) for name, (hidden, _) in members.items()}


def lessons(count, weighted=False):
    """What one teacher says of different batches; `weighted` as if these were drawn by priority."""
    generator = torch.Generator().manual_seed(0)
    teacher = network(16, seed=99)
    for _ in range(count):
        observation = torch.randn(16, 4, generator=generator)
        weight = torch.rand(16, generator=generator) if weighted else None
        with torch.no_grad():
            q, layers = teacher.trace(observation)
        yield Lesson(observation, q, layers, None if weight is None else weight / weight.mean())
