"""distributed_kd/storage/sources.py and foreign.py: what is read acts as it did, and comes back as it was kept.

What is refused is in test_sources_refused.py.
"""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from source_samples import (
    SPEC,
    as_ours,
    assert_acts_as,
    forward,
    layers,
    named,
    q_values,
    sb3_data,
    sb3_state,
    write_run,
    write_sb3,
)

from distributed_kd.errors import CheckpointError, StorageError
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.records import EnvSpec
from distributed_kd.storage import checkpoints
from distributed_kd.storage.foreign import matched
from distributed_kd.storage.sources import check_source, load_sources, policy_parameters, read_source, save_sources

CHAIN = layers(4, 16, 8, 2)


def dueling_state() -> dict[str, torch.Tensor]:
    """A body 4 -> 16 -> 8 with an advantage of 2 and a value stream."""
    weight, bias = layers(8, 1, seed=5)[0]
    return as_ours(CHAIN) | {"value.weight": torch.tensor(weight), "value.bias": torch.tensor(bias)}


def dueling_q(observation: np.ndarray) -> np.ndarray:
    """v + a - mean(a), where a bare chain ends in a, and another of the same body in v."""
    advantage = forward(CHAIN, observation)
    value = forward([*CHAIN[:2], layers(8, 1, seed=5)[0]], observation)
    return value + advantage - advantage.mean(1, keepdims=True)


def test_the_teacher_and_a_student_of_a_run(tmp_path: Path):
    tiny = layers(4, 8, 2, seed=3)
    teacher = TeacherConfig(network=NetworkConfig(hidden=(16, 8)))
    path = write_run(tmp_path / "run", teacher, {"teacher": as_ours(CHAIN), "tiny": as_ours(tiny)})
    source = read_source(str(path))
    assert (source.origin, source.network, source.head.dueling) == (str(path), NetworkConfig(hidden=(16, 8)), False)
    assert check_source(source, SPEC, "teacher.source") == []
    assert source.parameters.keys() == as_ours(CHAIN).keys()
    assert {value.dtype for value in source.parameters.values()} == {np.dtype(np.float32)}
    assert_acts_as(source, CHAIN)
    student = read_source(f"{path}:tiny")
    assert (student.origin, student.network) == (f"{path}:tiny", NetworkConfig(hidden=(8,)))
    assert_acts_as(student, tiny)
    assert_acts_as(read_source(f"{path}:teacher"), CHAIN)


def test_a_dueling_teacher_of_a_run(tmp_path: Path):
    teacher = TeacherConfig(network=NetworkConfig(hidden=(16, 8)), dueling=True)
    path = write_run(tmp_path / "run", teacher, {"teacher": dueling_state()})
    source = read_source(str(path))
    assert source.head.dueling
    observation = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    np.testing.assert_allclose(q_values(source, observation), dueling_q(observation), rtol=1e-5, atol=1e-5)


def test_a_run_file_that_tells_of_another_network_than_the_checkpoint_is_told(tmp_path: Path):
    # it says hidden = [256, 256] and dueling = false, which held for no network of that run
    path = write_run(tmp_path / "run", TeacherConfig(source="old.safetensors"), {"teacher": dueling_state()})
    lines = [str(problem) for problem in check_source(read_source(str(path)), SPEC, "teacher.source")]
    begin, fix = f"the policy does not fit (teacher.source={path}): its", "Give one trained on CartPole-v1"
    assert lines == [
        f"{begin} body.0.weight is (16, 4), and (256, 4) is needed. {fix}",
        f"{begin} body.0.bias is (16,), and (256,) is needed. {fix}",
        f"{begin} body.2.weight is (8, 16), and (256, 256) is needed. {fix}",
    ]


def test_text_that_is_a_path_is_that_path(tmp_path: Path):
    here, there = layers(4, 8, 2, seed=1), layers(4, 8, 2, seed=2)
    teacher = TeacherConfig(network=NetworkConfig(hidden=(8,)))
    write_run(tmp_path / "run", teacher, {"teacher": as_ours(layers(4, 8, 2)), "tiny": as_ours(here)})
    path = write_run(tmp_path / "run:tiny", teacher, {"teacher": as_ours(there), "tiny": as_ours(here)})
    assert_acts_as(read_source(str(path)), there)
    assert_acts_as(read_source(f"{path}:tiny"), here)


def test_a_damaged_newest_checkpoint_is_said_aloud_and_the_one_before_used(tmp_path: Path, caplog):
    path = write_run(tmp_path / "run", TeacherConfig(network=NetworkConfig(hidden=(16, 8))), {"teacher": as_ours(CHAIN)})
    checkpoints.save(path / "checkpoints", 200, {"learner": {"teacher": {}, "students": {}}}, {}, 3)
    (path / "checkpoints" / "step-200" / "learner.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        assert_acts_as(read_source(str(path)), CHAIN)
    assert f"(path={path / 'checkpoints'}): step-200: learner.json: " in caplog.text


@pytest.mark.parametrize("widths", [(4, 2), (4, 16, 2), (4, 64, 64, 2)])
def test_a_dqn_of_stable_baselines(tmp_path: Path, widths: tuple[int, ...]):
    chain = layers(*widths)
    source = read_source(str(write_sb3(tmp_path / "dqn.zip", sb3_state(chain))))
    assert (source.network, source.head.dueling) == (NetworkConfig(hidden=widths[1:-1]), False)
    assert_acts_as(source, chain)


def test_a_dqn_of_stable_baselines_that_names_its_defaults(tmp_path: Path):
    kwargs = {
        ":type:": "<class 'dict'>", ":serialized:": "gAWV", "net_arch": [16, 8],
        "activation_fn": "<class 'torch.nn.modules.activation.ReLU'>",
        "features_extractor_class": "<class 'stable_baselines3.common.torch_layers.FlattenExtractor'>",
    }  # fmt: skip
    assert_acts_as(read_source(str(write_sb3(tmp_path / "dqn.ZIP", sb3_state(CHAIN), sb3_data(kwargs)))), CHAIN)


@pytest.mark.parametrize(
    ("prefix", "step"), [("", 2), ("network.", 2), ("q_net.q_net.", 2), ("model.layers.", 1), ("net.", 6)]
)
def test_a_plain_chain_of_linear_layers(tmp_path: Path, prefix: str, step: int):
    # with a step of 6 the numbers are 0, 6, 12: in the order of letters 12 would stand before 6
    save_file(named(CHAIN, prefix, step), tmp_path / "a.safetensors", {"format": "pt"})
    source = read_source(str(tmp_path / "a.safetensors"))
    assert (source.network, source.head.dueling) == (NetworkConfig(hidden=(16, 8)), False)
    assert_acts_as(source, CHAIN)


def test_a_target_network_beside_it_is_left_out(tmp_path: Path):
    save_file(sb3_state(CHAIN), tmp_path / "a.safetensors")
    assert_acts_as(read_source(str(tmp_path / "a.safetensors")), CHAIN)
    save_file(named(CHAIN, "target_network."), tmp_path / "target.safetensors")
    assert_acts_as(read_source(str(tmp_path / "target.safetensors")), CHAIN)


def test_a_state_dict_of_ours(tmp_path: Path):
    save_file(dueling_state(), tmp_path / "ours.safetensors")
    source = read_source(str(tmp_path / "ours.safetensors"))
    assert source.network == NetworkConfig(hidden=(16, 8)) and source.head.dueling
    observation = np.random.default_rng(2).normal(size=(50, 4)).astype(np.float32)
    np.testing.assert_allclose(q_values(source, observation), dueling_q(observation), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 0), (torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
def test_other_floats_become_float32(tmp_path: Path, dtype: torch.dtype, rtol: float):
    # float16 keeps 11 significant bits (1e-3), bfloat16 8 (1e-2); float64 holds every float32
    state = {name: value.to(dtype) for name, value in named(CHAIN, "net.").items()}
    save_file(state, tmp_path / "a.safetensors")
    source = read_source(str(tmp_path / "a.safetensors"))
    for found, wanted in zip(source.parameters.values(), as_ours(CHAIN).values(), strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted.numpy(), rtol=rtol, atol=rtol / 100)


def test_weights_that_do_not_lie_row_by_row_are_read_right(tmp_path: Path):
    state = sb3_state(CHAIN)
    state["q_net.q_net.2.weight"] = torch.tensor(CHAIN[1][0].T.copy()).T  # the same numbers, laid column by column
    source = read_source(str(write_sb3(tmp_path / "dqn.zip", state)))
    assert_acts_as(source, CHAIN)
    save_sources(tmp_path / "teachers", [source])
    assert_acts_as(load_sources(tmp_path / "teachers")[0], CHAIN)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(1, 7), st.sampled_from(["", "q.", "a.b.c."]))
def test_any_chain_is_matched_in_its_order(widths: list[int], step: int, prefix: str):
    state = named(layers(*widths), prefix, step)
    names = matched({name: tuple(state[name].shape) for name in sorted(state, reverse=True)})
    assert list(names.values()) == list(state)
    assert list(names) == list(as_ours(layers(*widths)))


def test_what_is_kept_comes_back_to_the_bit(tmp_path: Path):
    save_file(dueling_state(), tmp_path / "ours.safetensors")
    write_sb3(tmp_path / "é.zip", sb3_state(layers(4, 2)))
    sources = [read_source(str(tmp_path / name)) for name in ("ours.safetensors", "é.zip")]
    save_sources(tmp_path / "run" / "teachers", sources)
    found = load_sources(tmp_path / "run" / "teachers")
    assert [(s.origin, s.network, s.head) for s in found] == [(s.origin, s.network, s.head) for s in sources]
    for before, after in zip(sources, found, strict=True):
        assert after.parameters.keys() == before.parameters.keys()
        assert all(after.parameters[name].tobytes() == value.tobytes() for name, value in before.parameters.items())
    save_sources(tmp_path / "again", found)
    for name in ("0.safetensors", "1.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "run" / "teachers" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == ["0.safetensors", "1.safetensors", "teachers"]
    one = read_source(str(tmp_path / "run" / "teachers" / "0.safetensors"))
    assert one.origin == str(tmp_path / "run" / "teachers" / "0.safetensors") and one.head.dueling


def test_more_than_ten_come_back_in_their_order(tmp_path: Path):
    write_sb3(tmp_path / "dqn.zip", sb3_state(layers(4, 2)))
    (tmp_path / "many").mkdir()
    sources = []
    for seed in range(11):
        save_file(as_ours(layers(4, 2, seed=seed)), tmp_path / "many" / f"{seed}.safetensors")
        sources.append(read_source(str(tmp_path / "many" / f"{seed}.safetensors")))
    save_sources(tmp_path / "teachers", sources)
    for seed, source in enumerate(load_sources(tmp_path / "teachers")):
        assert_acts_as(source, layers(4, 2, seed=seed))


def test_without_a_folder_there_are_none(tmp_path: Path):
    assert load_sources(tmp_path / "teachers") == ()


def test_a_folder_that_is_there_is_not_written_over(tmp_path: Path):
    save_file(as_ours(CHAIN), tmp_path / "a.safetensors")
    source = read_source(str(tmp_path / "a.safetensors"))
    save_sources(tmp_path / "teachers", [source, source])
    with pytest.raises(StorageError, match=r"the teachers could not be kept \(path=.*teachers\): Directory not empty\. "):
        save_sources(tmp_path / "teachers", [source])
    assert len(load_sources(tmp_path / "teachers")) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "teachers"]


def test_a_disk_that_refuses_leaves_none_rather_than_some(tmp_path: Path, monkeypatch):
    save_file(as_ours(CHAIN), tmp_path / "a.safetensors")
    source = read_source(str(tmp_path / "a.safetensors"))
    calls = []

    def full_at_the_second(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(StorageError, match="No space left on device"):
        save_sources(tmp_path / "teachers", [source, source])
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    assert load_sources(tmp_path / "teachers") == ()


def test_files_and_names_are_on_the_disk_when_it_returns(tmp_path: Path, monkeypatch):
    save_file(as_ours(CHAIN), tmp_path / "a.safetensors")
    source = read_source(str(tmp_path / "a.safetensors"))
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
    save_sources(tmp_path / "run" / "teachers", [source, source])
    first, second, temporary, run = synced
    assert (first.name, second.name, run) == ("0.safetensors", "1.safetensors", tmp_path / "run")
    assert first.parent == second.parent == temporary and temporary.parent == run


@pytest.mark.parametrize("gone", ["0", "1"])
def test_a_teacher_that_is_gone_or_not_of_a_run_is_named(tmp_path: Path, gone: str):
    save_file(as_ours(CHAIN), tmp_path / "a.safetensors")
    source = read_source(str(tmp_path / "a.safetensors"))
    save_sources(tmp_path / "teachers", [source, source, source])
    file = tmp_path / "teachers" / f"{gone}.safetensors"
    file.unlink()
    with pytest.raises(CheckpointError) as error:
        load_sources(tmp_path / "teachers")
    assert error.value.lines == (f"the policy cannot be read (path={file}): it is missing. Bring it back from a copy",)
    save_file(as_ours(CHAIN), file)
    with pytest.raises(CheckpointError) as error:
        load_sources(tmp_path / "teachers")
    why = "its metadata is none that a run wrote (KeyError)"
    assert error.value.lines == (f"the policy cannot be read (path={file}): {why}. Bring it back from a copy",)


def test_sizes_are_checked_against_the_environment(tmp_path: Path):
    save_file(named(CHAIN, "net."), tmp_path / "a.safetensors")
    origin = str(tmp_path / "a.safetensors")
    source = read_source(origin)
    assert check_source(source, EnvSpec("CartPole-v1", (4,), "float32", 2), "teacher.source") == []
    assert check_source(source, EnvSpec("Square-v0", (2, 2), "float32", 2), "teacher.source") == []
    wrong = check_source(source, EnvSpec("Acrobot-v1", (6,), "float32", 3), "students.tiny.start")
    begin, fix = f"the policy does not fit (students.tiny.start={origin}): it ", "Give one trained on Acrobot-v1"
    assert [str(problem) for problem in wrong] == [
        f"{begin}sees 4 numbers, and an observation of Acrobot-v1 has 6. {fix}",
        f"{begin}has 2 actions, and Acrobot-v1 has 3. {fix}",
    ]


def test_the_parameters_of_one_policy_in_a_learner():
    learner = {
        "teacher": {"trained": {"network": {"a": 1}}},
        "students": {"tiny": {"trained": {"network": {"b": 2}}}},
    }
    assert policy_parameters(learner, "teacher") == {"a": 1}
    assert policy_parameters(learner, "tiny") == {"b": 2}
    assert policy_parameters(learner, "other") is None
