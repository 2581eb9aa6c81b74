"""The learner on a GPU: the same course as on the CPU, and states that move between the two."""

import numpy as np
import pytest
import torch

from distributed_kd.learning.learner import Learner
from distributed_kd.learning.lesson import Taken
from distributed_kd.learning.normaliser import Normaliser
from distributed_kd.learning.recorded import CudaGraphs
from distributed_kd.learning.teacher import Importance
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import build
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import Batch, EnvSpec
from distributed_kd.student_config import StudentConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

SPEC = EnvSpec("none", (4,), "float32", 3)


def _learner(device: str, recorder: CudaGraphs | None = None, **more: object) -> Learner:
    networks = {
        "teacher": build(NetworkConfig(hidden=(64, 64)), SPEC, seed=1),
        "tiny": build(NetworkConfig(hidden=(16,)), SPEC, seed=2),
    }
    students = {"tiny": StudentConfig(NetworkConfig(hidden=(16,)), temperature="auto")}
    teacher = TeacherConfig(network=NetworkConfig(hidden=(64, 64)), target_update=0.01, **more)
    return Learner(
        networks=networks,
        spec=SPEC,
        teacher=teacher,
        students=students,
        seeds={"teacher": 4, "tiny": 3},
        device=torch.device(device),
        importance=Importance(0.4, 1.0),
        normaliser=Normaliser(SPEC, torch.device(device)),
        recorder=recorder,
    )


def _batch(random: np.random.Generator) -> Batch:
    observation, following = random.normal(size=(2, 32, 4)).astype(np.float32)
    reward, ones = random.normal(size=32).astype(np.float32), np.ones(32, np.float32)
    action = random.integers(0, 3, 32)
    return Batch(observation, action, reward, 0.99 * ones, following, ones, np.arange(32), ones)


def test_gpu_and_cpu_learn_the_same():
    learners = _learner("cpu"), _learner("cuda")
    for learner in learners:
        random = np.random.default_rng(0)
        for update in range(100):
            learner.update(_batch(random), update / 100)
    cpu, gpu = (learner.weights() for learner in learners)
    for name in cpu.flat:
        np.testing.assert_allclose(cpu.flat[name], gpu.flat[name], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(cpu.normal, gpu.normal, rtol=1e-5, atol=1e-6)
    cpu, gpu = (learner.priorities() for learner in learners)
    assert cpu.row.tolist() == gpu.row.tolist()
    np.testing.assert_allclose(cpu.priority, gpu.priority, rtol=1e-2, atol=1e-2)


def test_a_state_from_the_gpu_goes_on_on_the_cpu():
    gpu, cpu = _learner("cuda"), _learner("cpu")
    random = np.random.default_rng(0)
    for update in range(10):
        gpu.update(_batch(random), update / 10)
    cpu.restore(gpu.state())
    assert cpu.updates == 10
    np.testing.assert_array_equal(cpu.weights().flat["tiny"], gpu.weights().flat["tiny"])
    np.testing.assert_array_equal(cpu.weights().normal, gpu.weights().normal)
    np.testing.assert_array_equal(cpu.priorities().priority, gpu.priorities().priority)


@pytest.mark.parametrize("more", [{}, {"learning_rate_end": 0.1}, {"teaches": "target"}])
def test_as_a_cuda_graph_the_same_is_learned(more):
    learners = _learner("cuda", **more), _learner("cuda", CudaGraphs(), **more)
    for learner in learners:
        random = np.random.default_rng(0)
        for update in range(60):
            learner.update(_batch(random), update / 60)
    eager, graph = (learner.weights() for learner in learners)
    for name in eager.flat:
        np.testing.assert_allclose(graph.flat[name], eager.flat[name], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(graph.normal, eager.normal, rtol=1e-5, atol=1e-6)
    eager, graph = (learner.priorities() for learner in learners)
    assert graph.row.tolist() == eager.row.tolist()
    np.testing.assert_allclose(graph.priority, eager.priority, rtol=1e-3, atol=1e-3)
    eager, graph = (learner.losses() for learner in learners)
    for name, values in eager.items():
        assert graph[name] == pytest.approx(values, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("recorder", [None, CudaGraphs()])
def test_no_update_waits_for_the_gpu(recorder):
    learner, random = _learner("cuda", recorder), np.random.default_rng(0)
    for _ in range(40):  # by then both kinds of updates are recorded
        learner.update(_batch(random), 0.5)
    batches = [Taken.of(_batch(random), torch.device("cuda")) for _ in range(9)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            learner.learn(batch, 0.5)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert learner.updates == 49
