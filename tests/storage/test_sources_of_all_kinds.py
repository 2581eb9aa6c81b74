"""Policies of runs, of every kind of network and head, normalised or not: they come back as they were."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from source_samples import q_values, write_run
from torch import nn

from distributed_kd.errors import CheckpointError
from distributed_kd.learning.normaliser import Normaliser
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.networks import build
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import EnvSpec
from distributed_kd.storage.sources import check_source, load_sources, read_source, save_sources, saved_normal

NUMBERS = EnvSpec("Numbers-v0", (4,), "float32", 3)
IMAGES = EnvSpec("Images-v0", (10, 12, 3), "uint8", 3, channels="last", scale=1 / 255)
STACKED = EnvSpec("Stacked-v0", (40, 44), "uint8", 3, frame_stack=2, scale=1 / 255)
C51 = {"distribution": "c51", "atoms": 7, "v_min": -3.0, "v_max": 5.0}


def own_network(input_shape, actions):
    """A factory of the user's own."""
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(input_shape)), actions))


OWN = f"{__name__}:own_network"
KINDS = {
    "plain": (NUMBERS, NetworkConfig(hidden=(6,)), {}),
    "no hidden layer": (NUMBERS, NetworkConfig(hidden=()), {"dueling": True}),
    "by width, normed": (NUMBERS, NetworkConfig(width=0.05, layer_norm=True), {}),
    "dueling": (NUMBERS, NetworkConfig(hidden=(6, 5)), {"dueling": True}),
    "noisy dueling c51": (NUMBERS, NetworkConfig(hidden=(6,)), {"dueling": True, "noisy": True, **C51}),
    "quantile": (NUMBERS, NetworkConfig(hidden=(6,)), {"distribution": "quantile", "atoms": 4}),
    "minatar c51": (IMAGES, NetworkConfig("minatar", (8,), (3,)), C51),
    "nature": (STACKED, NetworkConfig("nature", (8,), (2, 3, 4)), {"dueling": True}),
    "impala": (IMAGES, NetworkConfig("impala", (8,), (2, 3)), {"noisy": True}),
    "of one's own": (NUMBERS, NetworkConfig(OWN), {}),
}


def seen_by(spec: EnvSpec) -> np.ndarray:
    random = np.random.default_rng(3)
    if spec.observation_dtype == "uint8":
        return random.integers(0, 256, (5, *spec.input_shape)).astype(np.uint8)
    return random.normal(size=(5, *spec.input_shape)).astype(np.float32)


def normal_of(spec: EnvSpec) -> Normaliser:
    normaliser = Normaliser(spec, torch.device("cpu"))
    normaliser.follow(torch.tensor(seen_by(spec)))
    return normaliser


@pytest.mark.parametrize("normalise", [False, True], ids=["as they are", "normalised"])
@pytest.mark.parametrize(("spec", "network", "head"), KINDS.values(), ids=KINDS)
def test_the_teacher_of_a_run_comes_back_to_the_bit(tmp_path: Path, spec, network, head, normalise):
    trained = build(network, spec, 5, HeadConfig(**head))
    normaliser = normal_of(spec) if normalise else None
    state = normaliser.state() if normaliser else None
    path = write_run(
        tmp_path / "run", TeacherConfig(network=network, **head), {"teacher": trained.state_dict()}, normaliser=state
    )
    read = read_source(str(path))
    assert (read.network, read.head) == (network, HeadConfig(**head))
    save_sources(tmp_path / "teachers", [read, read])
    kept = load_sources(tmp_path / "teachers")
    assert len(kept) == 2
    again = read_source(str(tmp_path / "teachers" / "1.safetensors"))
    for source in (read, *kept, again):
        assert check_source(source, spec, "teacher.source", allowed=[OWN]) == []
        assert (source.network, source.head) == (network, HeadConfig(**head))
        assert source.parameters.keys() == trained.state_dict().keys()
        for name, value in trained.state_dict().items():
            assert source.parameters[name].tobytes() == value.numpy().tobytes()
        assert (source.normal is None) == (not normalise)
        if normaliser:
            assert source.normal.tobytes() == normaliser.normal.tobytes()
            assert source.normal.shape == (2, *spec.observation_shape)
    observation = seen_by(spec)
    with torch.no_grad():
        expected = trained(torch.tensor(observation)).numpy()
    assert q_values(kept[0], observation, spec).tobytes() == expected.tobytes()


def test_a_student_has_no_head_of_its_own_and_sees_as_the_teacher(tmp_path: Path):
    teacher = TeacherConfig(network=NetworkConfig(hidden=(6,)), noisy=True, dueling=True, **C51)
    policies = {
        "teacher": build(teacher.network, NUMBERS, 0, teacher.head).state_dict(),
        "tiny": build(NetworkConfig(hidden=(8,)), NUMBERS, 1).state_dict(),
    }
    normaliser = normal_of(NUMBERS)
    path = write_run(tmp_path / "run", teacher, policies, normaliser=normaliser.state())
    student = read_source(f"{path}:tiny")
    assert (student.network, student.head) == (NetworkConfig(hidden=(8,)), HeadConfig())
    assert student.normal.tobytes() == normaliser.normal.tobytes()
    assert check_source(student, NUMBERS, "teacher.source") == []


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (dataclasses.replace(NUMBERS, actions=2), "it has 3 actions, and Numbers-v0 has 2"),
        (dataclasses.replace(NUMBERS, observation_shape=(5,)), "it sees 4 numbers, and an observation of Numbers-v0 has 5"),
    ],
)
def test_of_a_distribution_actions_are_told_and_not_atoms(tmp_path: Path, spec, why):
    teacher = TeacherConfig(network=NetworkConfig(hidden=(6,)), dueling=True, **C51)
    parameters = build(teacher.network, NUMBERS, 0, teacher.head).state_dict()
    source = read_source(str(write_run(tmp_path / "run", teacher, {"teacher": parameters})))
    (problem,) = check_source(source, spec, "teacher.source")
    assert why in str(problem)


def test_images_of_another_size_are_told(tmp_path: Path):
    network = NetworkConfig("minatar", (8,), (3,))
    parameters = build(network, IMAGES).state_dict()
    source = read_source(str(write_run(tmp_path / "run", TeacherConfig(network=network), {"teacher": parameters})))
    for shape, why in (((10, 12, 4), "its body.0.weight is (3, 3, 3, 3), and (3, 4, 3, 3) is needed"),
                       ((10, 13, 3), "its body.3.weight is (8, 240), and (8, 264) is needed")):  # fmt: skip
        (problem,) = check_source(source, dataclasses.replace(IMAGES, observation_shape=shape), "teacher.source")
        assert why in str(problem)


def test_a_mean_of_other_observations_is_told(tmp_path: Path):
    network = NetworkConfig(hidden=(6,))
    parameters, square = build(network, NUMBERS).state_dict(), dataclasses.replace(NUMBERS, observation_shape=(2, 2))
    state = normal_of(NUMBERS).state()
    path = write_run(tmp_path / "run", TeacherConfig(network=network), {"teacher": parameters}, normaliser=state)
    (problem,) = check_source(read_source(str(path)), square, "teacher.source")
    assert "it knows mean and deviation of observations of [4], they are [2, 2]" in str(problem)


def test_a_mean_that_is_not_finite_is_refused_where_it_is_kept(tmp_path: Path):
    parameters = build(NetworkConfig(hidden=(6,)), NUMBERS).state_dict()
    path = write_run(tmp_path / "run", TeacherConfig(network=NetworkConfig(hidden=(6,))), {"teacher": parameters})
    bad = dataclasses.replace(read_source(str(path)), normal=np.full((2, 4), np.nan, np.float32))
    save_sources(tmp_path / "teachers", [bad])
    with pytest.raises(CheckpointError, match=r"observation\.normal is not finite"):
        load_sources(tmp_path / "teachers")


def test_without_a_normaliser_a_learner_has_no_mean():
    assert saved_normal({"normaliser": None}) is saved_normal({}) is None
