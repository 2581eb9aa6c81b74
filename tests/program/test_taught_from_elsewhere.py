"""Teachers that come from elsewhere, and students without one, through the command line and in one process."""

import base64
import hashlib
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from launching import assert_accounts_add_up, launch, run_file, summary
from safetensors.numpy import load_file, save_file

from distributed_kd import run_file as run_files
from distributed_kd.cli import main
from distributed_kd.learning.learner import Learner
from distributed_kd.network_config import NetworkConfig
from distributed_kd.networks import build, load_flat
from distributed_kd.records import EnvSpec
from distributed_kd.storage import checkpoints

# Four times the updates, and larger steps: a student of a teacher that stands still then agrees with it.
WELL = ("--replay.samples_per_insert", "16", "--students.half.temperature", "auto", "--students.half.learning_rate", "5e-3")
INLINE = ("--runner", "inline", "--evaluation.every_seconds", "0")
CONVERT = (
    "Where you trust it, read it with torch.load(..., weights_only=True) and write it with "
    'safetensors.torch.save_file(state_dict, "FILE.safetensors")'
)
KINDS = "Give a run's folder (RUN or RUN:STUDENT), a Stable-Baselines3 DQN .zip or a .safetensors file"
# Push the cart to where the pole falls: s = x/10 + v/5 + angle + angle's speed says to the right where it is above 0.
# Of the hidden units relu(s) and relu(-s) the one speaks for the right, the other for the left.
TOWARDS = np.array([0.1, 0.2, 1.0, 1.0], np.float32)

CARTPOLE = EnvSpec("CartPole-v1", (4,), "float32", 2)

Layers = list[tuple[np.ndarray, np.ndarray]]


class Crafted:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def balancing() -> Layers:
    """A CartPole policy that holds the pole for hundreds of steps: 4 -> 2 -> 2."""
    return [
        (np.stack([TOWARDS, -TOWARDS]), np.zeros(2, np.float32)),
        (np.array([[0, 1], [1, 0]], np.float32), np.zeros(2, np.float32)),
    ]


def falling() -> Layers:
    """It always pushes to where the pole does not fall, which ends every episode within ten steps or so: 4 -> 3 -> 2."""
    (body, _), (head, bias) = balancing()
    body = np.concatenate([-body, np.zeros((1, 4), np.float32)])
    return [(body, np.zeros(3, np.float32)), (np.concatenate([head, np.zeros((2, 1), np.float32)], 1), bias)]


def ours(layers: Layers) -> dict[str, np.ndarray]:
    """The layers under the names that ours have in `state_dict()`."""
    (body, zero), (head, bias) = layers
    return {"body.0.weight": body, "body.0.bias": zero, "advantage.weight": head, "advantage.bias": bias}


def write_safetensors(path: Path, layers: Layers) -> Path:
    """A state dict of a torch.nn.Sequential, as anyone would save it."""
    names = {"0.weight": layers[0][0], "0.bias": layers[0][1], "2.weight": layers[1][0], "2.bias": layers[1][1]}
    save_file({f"net.{name}": value for name, value in names.items()}, path)
    return path


def saved(state: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def write_sb3(path: Path, state: object, mark: Path) -> Path:
    """A DQN as Stable-Baselines3's model.save lays it out; every pickle in its `data` would make the file `mark`."""
    pickled = base64.b64encode(pickle.dumps(Crafted(mark))).decode()
    data = {
        "policy_class": {":type:": "x", ":serialized:": pickled, "__module__": "stable_baselines3.dqn.policies"},
        "policy_kwargs": {"net_arch": [2]},
        "observation_space": {
            ":type:": "<class 'gymnasium.spaces.box.Box'>", ":serialized:": pickled, "dtype": "float32", "_shape": [4]
        },
    }  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("policy.pth", saved(state))
        archive.writestr("policy.optimizer.pth", saved({}))
    return path


def sb3_state(layers: Layers) -> dict[str, torch.Tensor]:
    state = {}
    for network in ("q_net", "q_net_target"):
        for place, (weight, bias) in zip((0, 2), layers, strict=True):
            state[f"{network}.q_net.{place}.weight"] = torch.tensor(weight)
            state[f"{network}.q_net.{place}.bias"] = torch.tensor(bias)
    return state


def hashes(path: Path) -> dict[str, str]:
    """Of every file in a folder, or of one file."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def learner_of(run: Path) -> dict:
    return checkpoints.load_newest(run / "checkpoints").parts["learner"]


def network_of(run: Path, name: str) -> dict[str, bytes]:
    """A policy's parameters in the newest checkpoint, each as its bytes."""
    learner = learner_of(run)
    owner = learner["teacher"] if name == "teacher" else learner["students"][name]
    return as_bytes(owner["trained"]["network"])


def as_bytes(parameters: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    return {name: np.asarray(value).tobytes() for name, value in parameters.items()}


@pytest.fixture
def published(monkeypatch) -> list[np.ndarray]:
    """The teacher's parameters in every publication of weights, as they come."""
    seen: list[np.ndarray] = []
    weights = Learner.weights

    def watched(learner):
        given = weights(learner)
        seen.append(given.flat["teacher"].copy())
        return given

    monkeypatch.setattr(Learner, "weights", watched)
    return seen


def train(place: Path, *words: object, out: str = "run", env_steps: int = 1_500) -> Path:
    """A run of two students in one process, to its end; gives its folder."""
    folder = place / out
    assert main(["train", str(run_file(place, env_steps)), *INLINE, "--out", str(folder), *map(str, words)]) == 0
    return folder


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> dict[str, Path | str]:
    """Policies of each kind by name: a run's teacher, its student, and one that balances the pole in two files."""
    place = tmp_path_factory.mktemp("elsewhere")
    run = train(place, "--stop.env_steps", 2_500)
    return {
        "run": str(run),
        "student": f"{run}:half",
        "safetensors": str(write_safetensors(place / "balances.safetensors", balancing())),
        "zip": str(write_sb3(place / "balances.zip", sb3_state(balancing()), place / "mark")),
    }


@pytest.mark.parametrize("kind", ["run", "student", "safetensors", "zip"])
def test_a_frozen_teacher_is_the_same_to_the_byte_throughout(kind, elsewhere, published, tmp_path, capsys):
    origin = elsewhere[kind]
    path = Path(origin.removesuffix(":half"))
    before = hashes(path)
    folder = train(tmp_path, "--teacher.source", origin, *WELL, env_steps=3_000)

    if kind in ("run", "student"):
        wanted = network_of(path, "teacher" if kind == "run" else "half")
    else:
        wanted = as_bytes(ours(balancing()))
    hidden = {"run": (32,), "student": (16,)}.get(kind, (2,))
    assert network_of(folder, "teacher") == wanted
    assert as_bytes(load_file(folder / "teachers" / "0.safetensors")) == wanted
    network = build(NetworkConfig(hidden=hidden), CARTPOLE)
    load_flat(network, published[0])
    assert as_bytes({name: value.numpy() for name, value in network.state_dict().items()}) == wanted
    assert len(published) > 30 and {flat.tobytes() for flat in published} == {published[0].tobytes()}
    assert hashes(path) == before
    assert not (path.parent / "mark").exists()

    told = summary(folder)
    assert told["students"]["half"]["action_agreement"] > 0.9
    assert_accounts_add_up(told, samples_per_insert=16.0, batch_size=32)
    assert told["teacher"]["parameters"] == sum(len(value) // 4 for value in wanted.values())
    teacher = run_files.decode(run_files.read_toml(folder / "config.toml")).teacher
    assert (teacher.source, teacher.network.hidden, teacher.dueling) == (origin, hidden, False)
    assert f"{origin}: mlp {hidden[0]}, frozen" in capsys.readouterr().out


def test_a_teacher_that_learns_on_begins_as_it_was(elsewhere, published, tmp_path):
    origin = elsewhere["safetensors"]
    folder = train(tmp_path, "--teacher.source", origin, "--teacher.frozen", "false", env_steps=600)
    network = build(NetworkConfig(hidden=(2,)), CARTPOLE)
    load_flat(network, published[0])
    begun = as_bytes({name: value.numpy() for name, value in network.state_dict().items()})
    assert begun == as_bytes(ours(balancing()))
    assert network_of(folder, "teacher") != begun
    assert as_bytes(load_file(folder / "teachers" / "0.safetensors")) == begun, "the copy is of what it began with"
    assert len({flat.tobytes() for flat in published}) > 5
    assert as_bytes(load_file(origin)).keys() == {"net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"}


@pytest.mark.parametrize("combine", ["mean", "logsumexp"])
def test_several_teachers_teach_as_one(combine, elsewhere, tmp_path):
    origins = elsewhere["safetensors"], elsewhere["run"]
    # All of the weight but a millionth is the first one's: what both say together is what it says.
    words = ["--teacher.source", *origins, "--teacher.combine", combine, "--teacher.weights", "1", "1e-6"]
    # Between the first one's actions lie a few hundredths: a softmax at such a temperature tells them apart.
    words += ["--teacher.combine_temperature", "0.01"] if combine == "logsumexp" else []
    folder = train(tmp_path, *words, *WELL, "--students.tiny.loss", "kl", env_steps=3_000)
    teacher = network_of(folder, "teacher")
    first, second = ours(balancing()), network_of(Path(elsewhere["run"]), "teacher")
    assert teacher == {
        "weight": np.array([1, 1e-6], np.float32).tobytes(),
        **{f"members.0.{name}": value for name, value in as_bytes(first).items()},
        **{f"members.1.{name}": value for name, value in second.items()},
    }
    assert sorted(path.name for path in (folder / "teachers").iterdir()) == ["0.safetensors", "1.safetensors"]
    told = summary(folder)
    assert told["teacher"]["return_mean"] > 200, "it plays as the first one does"
    assert told["students"]["half"]["action_agreement"] > 0.85
    assert main(["resume", str(folder), "--stop.env_steps", "3500"]) == 0
    assert network_of(folder, "teacher") == teacher


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good")])
def test_the_best_of_several_teaches_alone(order, tmp_path):
    files = {
        "good": write_safetensors(tmp_path / "good.safetensors", balancing()),
        "bad": write_safetensors(tmp_path / "bad.safetensors", falling()),
    }
    words = ["--teacher.source", *(files[name] for name in order), "--teacher.combine", "best"]
    folder = train(tmp_path, *words, env_steps=400)
    best = as_bytes(ours(balancing()))
    assert network_of(folder, "teacher") == best
    (kept,) = (folder / "teachers").iterdir()
    assert as_bytes(load_file(kept)) == best
    assert run_files.decode(run_files.read_toml(folder / "config.toml")).teacher.network.hidden == (2,)
    assert summary(folder)["teacher"]["return_mean"] > 200
    assert main(["resume", str(folder), "--stop.env_steps", "600"]) == 0
    assert network_of(folder, "teacher") == best


def test_once_begun_a_run_needs_nothing_from_elsewhere(tmp_path, monkeypatch, capsys):
    source = train(tmp_path, out="source", env_steps=400)
    file = write_safetensors(tmp_path / "balances.safetensors", balancing())
    words = {"one": [source], "both": [file, source]}
    runs = {name: train(tmp_path, "--teacher.source", *origins, out=name, env_steps=400) for name, origins in words.items()}
    shutil.rmtree(source)
    file.unlink()
    (tmp_path / "another").mkdir()
    monkeypatch.chdir(tmp_path / "another")
    for folder in runs.values():
        before = network_of(folder, "teacher")
        assert main(["resume", str(folder), "--stop.env_steps", "700"]) == 0
        assert network_of(folder, "teacher") == before
        told = summary(folder)
        assert told["env_steps"] >= 700 and told["students"]["half"]["updates"] == told["updates"]
        capsys.readouterr()
        for policy in ("teacher", "half"):
            assert main(["evaluate", str(folder), "--policy", policy, "--episodes", "2", "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["episodes"] == 2


@pytest.mark.parametrize("combine", ["mean", "logsumexp", "best"])
def test_peers_teach_each_other(combine, published, tmp_path):
    words = ["--teacher.source", "peers", "--teacher.combine", combine]
    for name in ("half", "tiny"):
        words += [f"--students.{name}.td_weight", "1", f"--students.{name}.loss", "kl_q"]
    by_scores = ["--evaluation.every_env_steps", "300"] if combine == "best" else []
    folder = train(tmp_path, *words, *by_scores, env_steps=1_000)
    told = summary(folder)
    assert_accounts_add_up(told, samples_per_insert=4.0, batch_size=32)
    assert not (folder / "teachers").exists()

    # The row of the teacher is all together: its parameters are the students' own, and none else but their weights.
    learner, students = learner_of(folder), {name: network_of(folder, name) for name in ("half", "tiny")}
    together = network_of(folder, "teacher")
    weight = np.frombuffer(together.pop("weight"), np.float32).tolist()
    assert together == {
        f"members.{place}.{name}": value
        for place, student in enumerate(students.values())
        for name, value in student.items()
    }
    assert weight == [1.0, 1.0] if combine != "best" else weight[("half", "tiny").index(learner["teacher"]["leader"])] == 1
    assert sum(weight) == (1 if combine == "best" else 2)

    # Each learned: no parameter is what it was at the beginning. The weights come first in what is published.
    first, last = published[0][2:], published[-1][2:]
    halves = [slice(0, 4 * 16 + 16 + 16 * 2 + 2), slice(4 * 16 + 16 + 16 * 2 + 2, None)]
    assert len(first) == halves[0].stop + 4 * 4 + 4 + 4 * 2 + 2
    for part in halves:
        assert np.mean(first[part] != last[part]) > 0.8


REFUSED = [
    (2, "no/such", ["there is nothing at this path. " + KINDS]),
    (4, "dqn.pt", ["a .pt may run code when it is read. " + CONVERT]),
    (4, "crafted.pt", ["a .pt may run code when it is read. " + CONVERT]),
    (
        4,
        "crafted.zip",
        [
            "its policy.pth is damaged, or holds more than tensors (UnpicklingError). "
            "Save it again with model.save, or bring it back from a copy"
        ],
    ),
    (4, "cut.safetensors", ["it is damaged, or no safetensors file (SafetensorError). Bring it back from a copy"]),
    (4, "empty", ["it is a folder without the config.toml of a run. " + CONVERT]),
]


@pytest.fixture
def bad(tmp_path, monkeypatch) -> Path:
    """A folder with files that are no teachers, where the program is started."""
    mark = tmp_path / "mark"
    (tmp_path / "dqn.pt").write_bytes(saved(sb3_state(balancing())))
    (tmp_path / "crafted.pt").write_bytes(saved({"net.0.weight": Crafted(mark)}))
    write_sb3(tmp_path / "crafted.zip", {"q_net.q_net.0.weight": Crafted(mark)}, mark)
    write_safetensors(tmp_path / "cut.safetensors", balancing())
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-5])
    (tmp_path / "empty").mkdir()
    write_safetensors(tmp_path / "balances.safetensors", balancing())
    run_file(tmp_path, 400)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("code", "origin", "whys"), REFUSED)
def test_what_is_no_teacher_is_refused_in_one_line(code, origin, whys, bad, capsys):
    before = hashes(bad)
    assert main(["train", "tiny.toml", *INLINE, "--out", "run", "--teacher.source", origin]) == code
    told = capsys.readouterr()
    assert told.err.splitlines() == [f"error: the policy cannot be read (source={origin}): {why}" for why in whys]
    assert hashes(bad) == before
    assert not (bad / "run").exists()


def test_the_crafted_files_would_have_done_harm(bad):
    """Or the tests above would see nothing."""
    with zipfile.ZipFile("crafted.zip") as archive:
        policy, data = io.BytesIO(archive.read("policy.pth")), json.loads(archive.read("data"))
    for load in (
        lambda: torch.load("crafted.pt", weights_only=False),
        lambda: torch.load(policy, weights_only=False),
        lambda: pickle.loads(base64.b64decode(data["policy_class"][":serialized:"])),
    ):
        assert not (bad / "mark").exists()
        load()
        (bad / "mark").unlink()


def test_a_teacher_of_another_environment_does_not_fit(bad, capsys):
    words = ["train", "tiny.toml", *INLINE, "--env.id", "Acrobot-v1", "--out", "run"]
    assert main([*words, "--teacher.source", "balances.safetensors"]) == 4
    begin = "error: the policy does not fit (teacher.source=balances.safetensors): it"
    assert capsys.readouterr().err.splitlines() == [
        f"{begin} sees 4 numbers, and an observation of Acrobot-v1 has 6. Give one trained on Acrobot-v1",
        f"{begin} has 2 actions, and Acrobot-v1 has 3. Give one trained on Acrobot-v1",
    ]
    assert not (bad / "run").exists()


@pytest.mark.parametrize(("code", "origin", "whys"), [REFUSED[0], REFUSED[3]])
def test_a_user_sees_the_same(code, origin, whys, bad):
    """Through the real program: the same line, no traceback, nothing done."""
    ended = launch("train", "tiny.toml", "--out", "run", "--teacher.source", origin, cwd=bad)
    assert ended.returncode == code
    assert ended.stderr.splitlines() == [f"error: the policy cannot be read (source={origin}): {why}" for why in whys]
    assert not (bad / "mark").exists()
    assert not (bad / "run").exists()
