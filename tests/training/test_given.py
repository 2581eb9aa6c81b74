"""What a run is given besides its run file: teachers and starts are read, chosen, kept in its folder and told of.

Which files can be read at all is in `storage/test_sources.py`; whole runs are in `program/test_taught_from_elsewhere.py`.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st
from journals import CONFIG, SPEC
from safetensors.numpy import save_file
from small_environments import Recorded

from distributed_kd import run_file
from distributed_kd.config import EnvConfig, EvaluationConfig
from distributed_kd.errors import CheckpointError
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.training.given import Given, keep_teachers, lines, parts_of, read_given, with_teachers_network
from distributed_kd.training.parts import Parts

RECORDED = EnvConfig("Recorded-v0", {"inner": "CartPole-v1"})


def write(path, slope=1.0, inputs=4, actions=2, hidden=2, dueling=False):
    """A policy that pushes to the right where slope * (angle + its speed) is above 0; gives its path as text.

    Hidden unit 0 is relu of that, unit 1 relu of its opposite; action 0 is worth unit 1, action 1 unit 0.
    """
    body, head = np.zeros((hidden, inputs), np.float32), np.zeros((actions, hidden), np.float32)
    body[0, 2:4], body[1, 2:4] = slope, -slope
    head[0, 1] = head[1, 0] = 1
    parameters = {
        "body.0.weight": body,
        "body.0.bias": np.zeros(hidden, np.float32),
        "advantage.weight": head,
        "advantage.bias": np.zeros(actions, np.float32),
    }
    if dueling:
        value = {"value.weight": np.zeros((1, hidden), np.float32), "value.bias": np.ones(1, np.float32)}
        parameters.update(value)
    save_file(parameters, path)
    return str(path)


def taught_by(*sources, **more):
    teacher = TeacherConfig(source=sources[0] if len(sources) == 1 else sources, **more)
    return replace(CONFIG, teacher=teacher)


def started_with(**starts):
    students = {name: replace(CONFIG.students[name], start=start) for name, start in starts.items()}
    return replace(CONFIG, students={**CONFIG.students, **students})


def refused(config):
    with pytest.raises(CheckpointError) as error:
        read_given(config, SPEC)
    return list(error.value.lines)


@pytest.mark.parametrize("source", ["learn", "peers"])
def test_nothing_is_read_where_nothing_is_named(source):
    assert read_given(taught_by(source), SPEC) == Given((), {})


def test_teachers_and_starts_are_read_in_their_order(tmp_path):
    names = [write(tmp_path / f"{number}.safetensors", hidden=hidden) for number, hidden in enumerate((3, 2, 4))]
    config = replace(taught_by(*names), students=started_with(big=names[2]).students)  # big has 4 hidden units
    found = read_given(config, SPEC)
    assert [one.origin for one in found.teachers] == names
    assert [one.network.hidden for one in found.teachers] == [(3,), (2,), (4,)]
    assert {name: one.origin for name, one in found.starts.items()} == {"big": names[2]}


def test_all_that_does_not_fit_is_told_at_once(tmp_path):
    image = write(tmp_path / "image.safetensors", inputs=9)
    many = write(tmp_path / "many.safetensors", actions=5)
    wide = write(tmp_path / "wide.safetensors", hidden=6)
    save_file({"0.weight": np.zeros((2, 4), np.float32), "0.bias": np.zeros(2, np.float32)}, tmp_path / "flat.safetensors")
    flat = str(tmp_path / "flat.safetensors")
    config = replace(taught_by(image, many), students=started_with(big=wide, small=flat).students)
    assert refused(config) == [
        f"the policy does not fit (teacher.source={image}): it sees 9 numbers, and an observation of CartPole-v1 has 4. "
        "Give one trained on CartPole-v1",
        f"the policy does not fit (teacher.source={many}): it has 5 actions, and CartPole-v1 has 2. "
        "Give one trained on CartPole-v1",
        f"the start does not fit (students.big.start={wide}): its hidden layers are [6], the student's [4]. "
        "Set --students.big.network.hidden 6",
        f"the start does not fit (students.small.start={flat}): its hidden layers are [], the student's [64, 64]. "
        "Choose one with hidden layers",
    ]


def test_a_start_of_another_environment_fits_by_its_hidden_layers(tmp_path):
    start = write(tmp_path / "other.safetensors", inputs=6, actions=3, hidden=4)
    assert read_given(started_with(big=start), SPEC).starts["big"].parameters["body.0.weight"].shape == (4, 6)


# Held in the middle the pole stays for hundreds of steps; pushed away from it falls within ten or so; with a slope of 0
# both actions are worth the same, the first is always taken, and it falls as soon.
@pytest.mark.parametrize("slopes", [(1.0, -1.0, 0.0), (0.0, 1.0, -1.0), (-1.0, 0.0, 1.0)])
def test_the_best_of_several_is_the_one_that_plays_best(slopes, tmp_path):
    names = [write(tmp_path / f"{number}.safetensors", slope) for number, slope in enumerate(slopes)]
    (best,) = read_given(taught_by(*names, combine="best"), SPEC).teachers
    assert best.origin == names[slopes.index(1.0)]


def test_of_equals_the_first_is_the_best(tmp_path):
    names = [write(tmp_path / f"{number}.safetensors", slope=2.0**number) for number in range(3)]  # the same decisions
    (best,) = read_given(taught_by(*names, combine="best"), SPEC).teachers
    assert best.origin == names[0]


def test_all_play_the_same_seeds_which_are_used_for_nothing_else(tmp_path):
    names = [write(tmp_path / f"{number}.safetensors", slope) for number, slope in enumerate((1.0, -1.0))]
    config = replace(taught_by(*names, combine="best"), env=RECORDED, evaluation=EvaluationConfig(episodes=3))
    Recorded.made.clear()
    read_given(config, SPEC)
    seeds = [env.seeds for env in Recorded.made]
    assert [len(each) for each in seeds] == [2, 2, 2] and all(each[0] == each[1] for each in seeds)
    played = {each[0] for each in seeds}
    parts = Parts(config, SPEC)
    others = [seed for part in parts.seed("evaluation").spawn(2) for seed in part.generate_state(3)]
    others += [seed for actor in range(2) for seed in parts.seed("rollout", actor, 0).generate_state(8)]
    assert len(played) == 3 and not played & {int(seed) for seed in others}


@pytest.mark.parametrize("dueling", [False, True])
def test_the_run_file_takes_over_the_network_of_one_teacher(dueling, tmp_path):
    config = taught_by(write(tmp_path / "one.safetensors", hidden=3, dueling=dueling))
    told = with_teachers_network(config, read_given(config, SPEC)).teacher
    assert (told.network, told.dueling) == (NetworkConfig(hidden=(3,)), dueling)
    assert replace(told, network=config.teacher.network, dueling=False) == config.teacher, "and nothing else"


def test_the_run_file_stays_as_it_is_for_none_and_for_several(tmp_path):
    names = [write(tmp_path / f"{number}.safetensors") for number in range(2)]
    for config in (CONFIG, taught_by(*names)):
        assert with_teachers_network(config, read_given(config, SPEC)) is config


def outputs(parts, observation):
    with torch.no_grad():
        return parts.networks()["teacher"](torch.tensor(observation)).numpy()


@settings(deadline=None, max_examples=20)
@given_any(
    slopes=st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=3),
    combine=st.sampled_from(["mean", "logsumexp"]),
    dueling=st.booleans(),
)
def test_kept_in_the_runs_folder_a_teacher_is_the_same_to_the_bit(slopes, combine, dueling, tmp_path_factory):
    place = tmp_path_factory.mktemp("kept")
    names = [write(place / f"{number}.safetensors", slope, dueling=dueling) for number, slope in enumerate(slopes)]
    config = taught_by(*names, combine=combine)
    found = read_given(config, SPEC)
    config = with_teachers_network(config, found)
    with RunFolder.create(place / "run", run_file.encode(config)) as folder:
        keep_teachers(folder, found)
        for name in names:
            (place / name).unlink()
        observation = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
        kept = outputs(parts_of(folder, config, SPEC), observation)
    assert kept.tobytes() == outputs(Parts(config, SPEC, found.teachers), observation).tobytes()


def test_without_teachers_there_is_no_folder_of_them(tmp_path):
    with RunFolder.create(tmp_path / "run", run_file.encode(CONFIG)) as folder:
        keep_teachers(folder, Given())
        assert not folder.teachers.exists()
        assert parts_of(folder, CONFIG, SPEC).networks()["teacher"].body[0].out_features == 8


def test_a_newcomer_begins_with_what_it_is_given(tmp_path):
    config = started_with(big=write(tmp_path / "start.safetensors", slope=3.0, hidden=4))
    found = read_given(config, SPEC)
    with RunFolder.create(tmp_path / "run", run_file.encode(config)) as folder:
        body = parts_of(folder, config, SPEC, found).networks()["big"].body[0].weight.detach().numpy()
        assert body[0].tolist() == [0, 0, 3, 3] and body[1].tolist() == [0, 0, -3, -3]
        without = parts_of(folder, config, SPEC).networks()["big"].body[0].weight.detach().numpy()
        assert without[0].tolist() != [0, 0, 3, 3]


@pytest.mark.parametrize(("frozen", "said"), [(True, "frozen"), (False, "learns on")])
def test_what_was_read_is_told(frozen, said, tmp_path):
    teacher, start = write(tmp_path / "t.safetensors", hidden=3), write(tmp_path / "s.safetensors", hidden=4)
    config = replace(taught_by(teacher, frozen=frozen), students=started_with(big=start).students)
    assert lines(read_given(config, SPEC), config) == [
        f"teacher     {teacher}: mlp 3, {said}",
        f"start       big begins with {start}",
    ]
    assert lines(Given(), CONFIG) == []
