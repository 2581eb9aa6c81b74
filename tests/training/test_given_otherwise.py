"""What a run is given, of other kinds of networks and of normalised observations; the rest is in `test_given.py`."""

import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from journals import CONFIG, SPEC
from test_given import refused, started_with, taught_by, write

from distributed_kd import networks, run_file
from distributed_kd.errors import CheckpointError
from distributed_kd.network_config import HeadConfig, NetworkConfig
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.storage.sources import Source, save_sources
from distributed_kd.training.given import keep_teachers, parts_of, read_given, with_teachers_network
from distributed_kd.training.parts import Parts


def write_ours(path, network=NetworkConfig(hidden=(4,)), head=HeadConfig(), normal=None, seed=0):  # noqa: B008
    """A policy as a run keeps it, with what it sees observations by; gives its path as text."""
    made = networks.build(network, SPEC, seed, head)
    parameters = {name: value.numpy() for name, value in made.state_dict().items()}
    save_sources(path.parent / f"of {path.name}", [Source("x", network, head, parameters, normal)])
    (path.parent / f"of {path.name}" / "0.safetensors").rename(path)
    return str(path)


def own_network(input_shape, actions):
    """A factory of the user's own."""
    return torch.nn.Linear(input_shape[0], actions)


OWN = NetworkConfig(f"{__name__}:own_network")
IMPORTED = "a module would be imported"


def test_a_network_of_ones_own_is_imported_where_the_run_file_names_it(tmp_path):
    config = taught_by(write_ours(tmp_path / "own.safetensors", OWN))
    (line,) = refused(config)
    assert line.startswith(f"{IMPORTED} (teacher.source={config.teacher.source}): its network is {OWN.kind}, and importing ")
    named = replace(config, teacher=replace(config.teacher, network=OWN))
    found = read_given(named, SPEC)
    # So it is where the run goes on: its folder cannot name more than the run file, which somebody allowed.
    with RunFolder.create(tmp_path / "run", run_file.encode(named)) as folder:
        keep_teachers(folder, found)
        assert parts_of(folder, named, SPEC).networks()["teacher"].network.out_features == 2
        with pytest.raises(CheckpointError, match=IMPORTED):
            parts_of(folder, config, SPEC)


def test_a_start_of_ones_own_network_fits_a_student_of_it(tmp_path):
    start = write_ours(tmp_path / "own.safetensors", OWN, seed=3)
    config = started_with(big=start)
    config.students["big"] = replace(config.students["big"], network=OWN)
    parts = Parts(config, SPEC, (), read_given(config, SPEC).starts)
    expected = networks.build(OWN, SPEC, 3).network.weight
    assert torch.equal(parts.networks()["big"].network.weight, expected)


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (NetworkConfig(hidden=(4,), layer_norm=True), "it is a mlp 4, the student a mlp 4 with layer_norm"),
        (NetworkConfig("minatar", (4,), (2,)), "it is a mlp 4, the student a minatar 2, 4"),
    ],
)
def test_a_start_of_another_kind_does_not_fit(network, why, tmp_path):
    config = started_with(big=write_ours(tmp_path / "a.safetensors"))
    config.students["big"] = replace(config.students["big"], network=network)
    assert refused(config) == [
        f"the start does not fit (students.big.start={config.students['big'].start}): {why}. "
        "Set --students.big.network as in the run that it comes from"
    ]


NORMAL = np.stack([np.arange(4), np.arange(1, 5)]).astype(np.float32)
OTHERWISE = "observations seen otherwise"


@pytest.mark.parametrize("normalise", [False, True])
def test_a_policy_must_see_observations_as_it_learned_to(normalise, tmp_path):
    raw = write_ours(tmp_path / "raw.safetensors")
    by_mean = write_ours(tmp_path / "by_mean.safetensors", normal=NORMAL)
    wrong, right = (raw, by_mean) if normalise else (by_mean, raw)
    env = replace(CONFIG.env, normalise=normalise)
    learned = "as they are" if normalise else "that were normalised"
    here, there = str(normalise).lower(), str(not normalise).lower()
    line = f"{OTHERWISE} (env.normalise={here}): {wrong} learned on observations {learned}. Set --env.normalise {there}"
    assert refused(replace(taught_by(wrong), env=env)) == [line]
    assert refused(replace(started_with(big=wrong), env=env)) == [line]
    assert refused(replace(taught_by(right, wrong), env=env)) == [line, *([
        f"{OTHERWISE} (teacher.source=2): each teacher knows another mean and deviation of them. Use one teacher"
    ] if normalise else [])]  # fmt: skip
    found = read_given(replace(taught_by(right), students=started_with(big=right).students, env=env), SPEC)
    assert [one.normal is not None for one in (*found.teachers, *found.starts.values())] == [normalise] * 2


def test_several_teachers_speak_together_where_they_see_the_same(tmp_path):
    normals = {"a": NORMAL, "same": NORMAL, "other": NORMAL + 1}
    names = {key: write_ours(tmp_path / f"{key}.safetensors", normal=normal) for key, normal in normals.items()}
    env = replace(CONFIG.env, normalise=True)
    found = read_given(replace(taught_by(names["a"], names["same"]), env=env), SPEC)
    assert Parts(CONFIG, SPEC, found.teachers).normal.tobytes() == NORMAL.tobytes()
    apart = replace(taught_by(names["a"], names["other"]), env=env)
    assert refused(apart) == [
        f"{OTHERWISE} (teacher.source=2): each teacher knows another mean and deviation of them. Use one teacher"
    ]
    # The best of them teaches alone, and plays by its own.
    (best,) = read_given(replace(apart, teacher=replace(apart.teacher, combine="best")), SPEC).teachers
    assert best.normal.tobytes() in (NORMAL.tobytes(), (NORMAL + 1).tobytes())


def test_the_best_of_several_plays_by_its_own_mean_and_deviation(tmp_path):
    # The pole is held by angle and speed around 0. Seen from a mean far off, the same weights push one way alone.
    good = read_given(taught_by(write(tmp_path / "good.safetensors")), SPEC).teachers[0]
    far = np.stack([np.full(4, 100.0), np.ones(4)]).astype(np.float32)
    plain = np.stack([np.zeros(4), np.ones(4)]).astype(np.float32)
    save_sources(tmp_path / "both", [replace(good, normal=normal) for normal in (far, plain)])
    config = taught_by(*(str(tmp_path / "both" / f"{number}.safetensors") for number in range(2)), combine="best")
    (best,) = read_given(replace(config, env=replace(CONFIG.env, normalise=True)), SPEC).teachers
    assert best.origin.endswith("1.safetensors")


def test_the_run_file_takes_over_the_head_of_one_teacher_too(tmp_path):
    head = HeadConfig(True, True, "c51", 7, -2.0, 3.0)
    config = taught_by(write_ours(tmp_path / "a.safetensors", head=head))
    told = with_teachers_network(config, read_given(config, SPEC))
    assert (told.teacher.head, told.teacher.network) == (head, NetworkConfig(hidden=(4,)))
    assert run_file.decode(tomllib.loads(run_file.encode(told))).teacher == told.teacher
