"""Sets of states: drawn from a run, written, read back, and whose teacher they bring."""

import io
import os
import pickle
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from journals import CONFIG, SPEC

from distributed_kd import run_file
from distributed_kd.config import DataConfig, EvaluationConfig
from distributed_kd.errors import CheckpointError, ConfigurationError, StorageError
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.replay.ring import Ring
from distributed_kd.replay.shards import in_one
from distributed_kd.storage import checkpoints
from distributed_kd.storage.run_folder import RunFolder
from distributed_kd.training.data_set import DataSet, draw, read, spread, taught_by_its_run, write
from distributed_kd.training.parts import Parts

ANEW = "Draw it anew with: python launch.py dataset"


class Crafted:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def states(count=20, width=4, dtype=np.float32):
    """Observations whose first number is their place."""
    return (np.arange(count)[:, None] * np.ones(width)).astype(dtype)


def replay_rows(observation, is_step=None, **columns) -> dict:
    """What a replay's state holds of so many rows, all of one episode and steps unless it is said otherwise."""
    count = len(observation)
    columns = {"is_step": np.ones(count, bool) if is_step is None else is_step, "begins": np.arange(count) == 0} | columns
    empty = Ring(SPEC, count).rows
    return {**empty, "observation": observation, **columns}


def a_run(path, rows=None, is_step=None, config=CONFIG) -> RunFolder:
    """A run's folder with one checkpoint: its beginning networks, and `rows` in the replay, if any."""
    folder = RunFolder.create(path, run_file.encode(config))
    networks = {
        name: {key: value.numpy() for key, value in network.state_dict().items()}
        for name, network in Parts(config, SPEC).networks().items()
    }
    learner = {"teacher": {"trained": {"network": networks["teacher"]}}, "students": {}}
    parts = {"learner": learner}
    if rows is not None:
        parts["replay"] = {"rows": replay_rows(rows, is_step), "written": len(rows)}
    checkpoints.save(folder.checkpoints, 1, parts, {"policies": list(config.policies)}, 1)
    return folder


def drawn(folder, count, seed=0, origin="replay") -> DataSet:
    return draw(folder, CONFIG, SPEC, count, seed, origin)


def test_from_the_replay_come_steps_each_once(tmp_path):
    # Every third row is an episode's last observation, on which nobody acted: 20 of 30 are steps.
    is_step = np.arange(30) % 3 != 2
    folder = a_run(tmp_path / "run", states(30), is_step)
    places = drawn(folder, 15).observation[:, 0]
    assert len(set(places)) == 15 and all(is_step[int(place)] for place in places)
    assert drawn(folder, 20).observation[:, 0].tolist() == np.flatnonzero(is_step).tolist(), "all of them, in their order"
    with pytest.raises(ConfigurationError, match=r"^too few states \(states=21\): 20 are there\. Ask for 20 or fewer$"):
        drawn(folder, 21)


def test_from_several_shards_too(tmp_path):
    """Of stacked observations, each shard's ring ends for itself; the last shard was still empty."""
    spec, folder = replace(SPEC, frame_stack=2), a_run(tmp_path / "run")
    learner = checkpoints.load_newest(folder.checkpoints).parts["learner"]
    rows = [states(6), 10 + states(4), states(0)]
    shards = [{"rows": replay_rows(one, np.arange(len(one)) % 2 == 0), "written": len(one)} for one in rows]
    checkpoints.save(folder.checkpoints, 2, {"learner": learner, "replay": in_one(shards)}, {}, 1)
    found = draw(folder, CONFIG, spec, 5, 0, "replay").observation
    assert found[:, :, 0].tolist() == [[0, 0], [1, 2], [3, 4], [10, 10], [11, 12]]
    assert len(draw(folder, CONFIG, spec, 3, 0, "replay").observation) == 3
    with pytest.raises(ConfigurationError, match="5 are there"):
        draw(folder, CONFIG, spec, 6, 0, "replay")


def test_a_seed_decides_which(tmp_path):
    folder = a_run(tmp_path / "run", states(500))
    one, again, other = (drawn(folder, 50, seed).observation for seed in (0, 0, 1))
    assert one.tobytes() == again.tobytes()
    # Two sets of 50 out of 500 have 5 in common on average, and hardly ever more than 20.
    assert len({*one[:, 0]} & {*other[:, 0]}) < 20


def test_it_is_told_where_they_come_from(tmp_path, monkeypatch):
    a_run(tmp_path / "run", states())
    monkeypatch.chdir(tmp_path)
    data = drawn(RunFolder.open(Path("run")), 10)
    assert (data.env, data.run) == ("CartPole-v1", str(tmp_path / "run")), "as a path that holds from anywhere"
    assert data.observation.dtype == np.float32


def test_of_stacked_observations_each_state_is_a_stack(tmp_path):
    # Two episodes of five rows, the last of each no step; every state is its row and the one before it of its episode.
    rows, place = states(10), np.arange(10)
    spec, config = replace(SPEC, frame_stack=2), replace(CONFIG, replay=replace(CONFIG.replay, capacity=10))
    folder = a_run(tmp_path / "run")
    made = replay_rows(rows, place % 5 != 4, begins=place % 5 == 0)
    learner = checkpoints.load_newest(folder.checkpoints).parts["learner"]
    checkpoints.save(folder.checkpoints, 2, {"learner": learner, "replay": {"rows": made, "written": 10}}, {}, 1)
    found = draw(folder, config, spec, 8, 0, "replay").observation
    assert found.shape == (8, 2, 4)
    assert found[:, :, 0].tolist() == [[0, 0], [0, 1], [1, 2], [2, 3], [5, 5], [5, 6], [6, 7], [7, 8]]


def test_a_teacher_that_sees_normalised_observations_plays_by_them(tmp_path):
    config = replace(CONFIG, env=replace(CONFIG.env, normalise=True))
    folder = a_run(tmp_path / "run", config=config)
    learner = checkpoints.load_newest(folder.checkpoints).parts["learner"]
    found = []
    # Angles and speeds of either sign are seen as they are, or as if all were far below the mean.
    for mean in (0.0, 100.0):
        learner["normaliser"] = {"normal": np.stack([np.full(4, mean), np.ones(4)]).astype(np.float32)}
        checkpoints.save(folder.checkpoints, 2, {"learner": learner}, {"policies": list(config.policies)}, 1)
        found.append(draw(folder, config, SPEC, 40, 0, "teacher").observation)
    assert found[0].tobytes() != found[1].tobytes()
    assert np.abs(found[1]).max() < 5, "what is kept is as the environment gave it"


def test_a_run_without_a_replay(tmp_path):
    folder = a_run(tmp_path / "run")
    with pytest.raises(ConfigurationError) as error:
        drawn(folder, 10)
    assert error.value.lines == ("no replay (from=replay): the run learned from a set of states itself. Use --from teacher",)


def test_from_the_teacher_come_the_states_of_its_greedy_episodes(tmp_path):
    folder = a_run(tmp_path / "run")
    data = drawn(folder, 60, origin="teacher")
    assert len(np.unique(data.observation, axis=0)) == 60
    # CartPole's step by hand: cart and pole move by 0.02 of their speeds, whatever is done. The two episodes last 60 steps
    # or so together, so that for most states the next one is there too.
    x, speed, angle, turning = data.observation.astype(np.float64).T
    follows = np.isclose(x, (x + 0.02 * speed)[:, None], atol=1e-6) & np.isclose(
        angle, (angle + 0.02 * turning)[:, None], atol=1e-6
    )
    now, then = np.nonzero(follows)
    assert len(now) > 20
    # And the push is the teacher's: to the right the cart's speed rises, to the left it falls.
    network = Parts(CONFIG, SPEC).networks()["teacher"]
    with torch.no_grad():
        to_the_right = network(torch.tensor(data.observation)).argmax(1).numpy() == 1
    assert ((speed[then] > speed[now]) == to_the_right[now]).all()
    again, other = (drawn(folder, 60, seed, "teacher").observation for seed in (0, 1))
    assert again.tobytes() == data.observation.tobytes() != other.tobytes()


def test_more_states_than_one_round_of_episodes(tmp_path):
    config = replace(CONFIG, evaluation=EvaluationConfig(episodes=2))
    folder = a_run(tmp_path / "run", config=config)
    # A pole that nobody balances falls within 120 steps by far: two episodes have no 300 states.
    data = draw(folder, config, SPEC, 300, 0, "teacher")
    assert len(np.unique(data.observation, axis=0)) == 300


@settings(deadline=None, max_examples=30)
@given(
    count=st.integers(10, 40),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    dtype=st.sampled_from(["float32", "float64", "uint8", "int64", "bool"]),
    texts=st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), min_size=2, max_size=2
    ),
)
def test_what_is_written_comes_back(count, shape, dtype, texts, tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "a" / "b.npz"
    data = DataSet((np.random.default_rng(0).random((count, *shape)) * 2).astype(dtype), texts[0], f"/{texts[1]}")
    write(data, path)
    found = read(path)
    assert (found.env, found.run) == (data.env, data.run)
    assert (found.observation.dtype, found.observation.shape) == (data.observation.dtype, data.observation.shape)
    assert found.observation.tobytes() == data.observation.tobytes()
    assert [file.name for file in path.parent.iterdir()] == ["b.npz"]


def test_no_file_is_written_over(tmp_path):
    path = tmp_path / "states.npz"
    write(DataSet(states(), "CartPole-v1", "/run"), path)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError) as error:
        write(DataSet(states(30), "CartPole-v1", "/run"), path)
    assert error.value.lines == (f"the file is there already (out={path}): it would be lost. Give another --out",)
    assert path.read_bytes() == before


def test_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    data = DataSet(states(), "CartPole-v1", "/run")
    with pytest.raises(
        StorageError,
        match=r"could not be written \(path=.*x\.npz\): a file is in the place of a folder\. ",
    ):
        write(data, tmp_path / "file" / "x.npz")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write(data, tmp_path / "x.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "nor is half of one left, which a second try would find"


# ---- files that are no sets of states


def npz(path, **arrays) -> Path:
    arrays = {"observation": states(), "env": np.array("CartPole-v1"), "run": np.array("/run"), **arrays}
    np.savez_compressed(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def member(path, name: str, content: bytes) -> Path:
    """A set of states whose member `name` is replaced by these bytes."""
    npz(path, **{name.removesuffix(".npy"): None})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content)
    return path


def refused(path) -> str:
    with pytest.raises(CheckpointError) as error:
        read(path)
    (line,) = error.value.lines
    assert line.endswith(f". {ANEW}")
    return line.removesuffix(f". {ANEW}")


UNREADABLE = "the set of states cannot be read (data.file={path}): "
UNUSABLE = "the set of states cannot be used (data.file={path}): "
FEW = "observations of shape {} must be at least 10, and finite"
ODD = [
    ("no zip", lambda path: path.write_bytes(b"numbers"), UNREADABLE + "File is not a zip file"),
    ("empty", lambda path: path.touch(), UNREADABLE + "File is not a zip file"),
    ("no states", lambda path: npz(path, observation=None), UNREADABLE + "'observation is not a file in the archive'"),
    ("no run", lambda path: npz(path, run=None), UNREADABLE + "'run is not a file in the archive'"),
    (
        "objects",
        lambda path: npz(path, observation=np.array([[None, "x"]] * 20)),
        UNREADABLE + "Object arrays cannot be loaded when allow_pickle=False",
    ),
    ("texts", lambda path: npz(path, observation=np.full((20, 4), "a")), UNUSABLE + "its observations are <U1, no numbers"),
    (
        "complex",
        lambda path: npz(path, observation=np.ones((20, 4), np.complex64)),
        UNUSABLE + "its observations are complex64, no numbers",
    ),
    ("bytes", lambda path: member(path, "observation", b"\0" * 99), UNUSABLE + "its observations are |S99, no numbers"),
    ("few", lambda path: npz(path, observation=states(9)), UNUSABLE + FEW.format([9, 4])),
    ("none", lambda path: npz(path, observation=states(0)), UNUSABLE + FEW.format([0, 4])),
    ("one number", lambda path: npz(path, observation=np.ones(20)), UNUSABLE + FEW.format([20])),
    ("NaN", lambda path: npz(path, observation=states() * np.nan), UNUSABLE + FEW.format([20, 4])),
    ("infinity", lambda path: npz(path, observation=states() / 0), UNUSABLE + FEW.format([20, 4])),
    ("too large", lambda path: npz(path, observation=np.full((20, 4), 1e300)), UNUSABLE + FEW.format([20, 4])),
    *[
        (
            f"the run {run!r}",
            lambda path, run=run: npz(path, run=np.array(run)),
            UNUSABLE + "it does not name the folder of the run that it came from",
        )
        for run in ("", "learn", "peers", "runs/here")
    ],
]


@pytest.mark.parametrize(("make", "line"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
@pytest.mark.filterwarnings("ignore:(invalid|divide):RuntimeWarning")
def test_what_is_no_set_of_states_is_told_in_one_line(make, line, tmp_path):
    path = tmp_path / "a.npz"
    make(path)
    assert refused(path) == line.format(path=path)


def test_no_pickle_is_ever_read(tmp_path):
    mark, path = tmp_path / "mark", tmp_path / "a.npz"
    crafted = np.empty((20, 4), object)
    crafted[:] = Crafted(mark)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (20, 4)})
    made = {
        "an array of objects": lambda: npz(path, observation=crafted),
        "a member that says so": lambda: member(path, "observation.npy", header.getvalue() + pickle.dumps(Crafted(mark))),
        "a member that is a pickle": lambda: member(path, "observation.npy", pickle.dumps(Crafted(mark))),
        "a pickle alone": lambda: path.write_bytes(pickle.dumps(Crafted(mark))),
        "an env": lambda: npz(path, env=crafted),
    }
    for make in made.values():
        make()
        assert refused(path).startswith("the set of states cannot be ")
        assert not mark.exists()
    pickle.loads(pickle.dumps(Crafted(mark)))
    assert mark.exists(), "or this test would see nothing"


@pytest.mark.parametrize("shape", [(2**40, 2**10), (2**62, 4), (20, 2**31)])
def test_a_member_that_lies_about_its_size(shape, tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_2_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    path = member(tmp_path / "a.npz", "observation.npy", header.getvalue() + bytes(64))
    assert refused(path).startswith(UNREADABLE.format(path=path))


def test_one_that_would_fill_the_memory(tmp_path, monkeypatch):
    from distributed_kd.training import data_set

    # 20 * 4 float32 with the header of .npy and two texts: more than 400 bytes.
    path = npz(tmp_path / "a.npz")
    monkeypatch.setattr(data_set, "LARGEST", 400)
    assert refused(path) == f"{UNREADABLE.format(path=path)}it unpacks to more than 400 bytes"


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_what_it_was(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("damaged") / "a.npz"
    whole = npz(path, observation=np.random.default_rng(0).random((20, 4))).read_bytes()
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))]) if data.draw(st.booleans()) else bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(CheckpointError):
        assert read(path).observation.tobytes() == np.random.default_rng(0).random((20, 4)).tobytes()


@pytest.mark.parametrize("name", ["nothing.npz", "folder", "x" * 5_000])
def test_where_no_file_is(name, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError) as error:
        read(tmp_path / name)
    assert error.value.lines == (
        f"no set of states (data.file={tmp_path / name}): there is no such file. "
        "Draw one: python launch.py dataset RUN --states 500 --out FILE.npz",
    )


# ---- their teacher


def on(path, **teacher):
    return replace(CONFIG, data=DataConfig(str(path)), teacher=replace(CONFIG.teacher, **teacher))


def test_without_a_teacher_of_its_own_the_run_of_the_states_teaches(tmp_path):
    path = npz(tmp_path / "a.npz")
    config = on(path, teaches="target", frozen=False)
    told = taught_by_its_run(config, SPEC)
    assert (told.teacher.source, told.teacher.frozen, told.teacher.teaches) == ("/run", True, "now")
    assert not told.teacher.learns and list(told.problems()) == []
    assert replace(told, teacher=config.teacher) == config


def test_a_run_file_that_draws_by_priority_may_learn_from_states_too(tmp_path):
    config = replace(on(npz(tmp_path / "a.npz")), replay=replace(CONFIG.replay, prioritized=True))
    told = taught_by_its_run(config, SPEC)
    assert list(told.problems()) == [], "or such a run could be neither resumed nor played"


@pytest.mark.parametrize("source", ["/another", ("/another", "/third")])
def test_a_teacher_that_is_named_teaches(source, tmp_path):
    config = on(npz(tmp_path / "a.npz"), source=source)
    assert taught_by_its_run(config, SPEC) == config


def test_a_teacher_that_would_learn_is_refused(tmp_path):
    with pytest.raises(ConfigurationError) as error:
        taught_by_its_run(on(npz(tmp_path / "a.npz"), source="/another", frozen=False), SPEC)
    assert error.value.lines == (
        "the teacher cannot learn (teacher.frozen=false): a set of states holds no rewards to learn from. "
        "Set --teacher.frozen true",
    )


def test_states_of_another_environment(tmp_path):
    path = npz(tmp_path / "a.npz", observation=states(width=6), env=np.array("Acrobot-v1"))
    with pytest.raises(CheckpointError) as error:
        taught_by_its_run(on(path), SPEC)
    assert error.value.lines == (
        f"the set of states does not fit (data.file={path}): its states are [6] of Acrobot-v1, CartPole-v1 has [4]. "
        "Set --env.id Acrobot-v1",
    )


def test_the_default_teacher_learns_in_its_run():
    assert TeacherConfig().learns, "or the states' own run would never be asked"


def test_how_far_observations_spread_is_measured_where_there_are_states(tmp_path):
    """First numbers 0, 1, 3 and 4 of the steps: a mean of 2 and a deviation of sqrt(10 / 4); the row 100 is no step."""
    rows = np.array([[0.0, 7], [1, 7], [100, 7], [3, 7], [4, 7]], np.float32).repeat(2, axis=1)
    shards = {"shards": {str(n): {"rows": replay_rows(part, is_step)} for n, (part, is_step) in enumerate(
        ((rows[:3], np.array([True, True, False])), (rows[3:], np.array([True, True]))))}}  # fmt: skip
    expected = pytest.approx([np.sqrt(2.5)] * 2 + [0.0] * 2)
    assert spread(CONFIG, SPEC, {"learner": {}, "replay": shards}).tolist() == expected

    normal = np.stack([np.zeros(4), [1.0, 2, 3, 4]]).astype(np.float32)
    saved = {"learner": {"normaliser": {"normal": torch.from_numpy(normal)}}, "replay": shards}
    assert spread(CONFIG, SPEC, saved).tolist() == [1, 2, 3, 4]

    write(DataSet(states(10), "CartPole-v1", "/run"), tmp_path / "states.npz")
    taught = replace(CONFIG, data=DataConfig(file=str(tmp_path / "states.npz")))
    assert spread(taught, SPEC, {"learner": {}}).tolist() == pytest.approx([np.sqrt(8.25)] * 4)
    write(DataSet(np.stack([100 * states(10), states(10)], axis=1), "CartPole-v1", "/run"), tmp_path / "stacked.npz")
    taught = replace(CONFIG, data=DataConfig(file=str(tmp_path / "stacked.npz")))
    assert spread(taught, replace(SPEC, frame_stack=2), {"learner": {}}).tolist() == pytest.approx([np.sqrt(8.25)] * 4)


def test_no_states_no_spread():
    none = {"rows": replay_rows(states(3), np.zeros(3, bool))}
    with pytest.raises(ConfigurationError, match="the run has seen no states yet"):
        spread(CONFIG, SPEC, {"learner": {}, "replay": none})
