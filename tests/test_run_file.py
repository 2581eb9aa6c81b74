"""Run files: read, written back the same, and what differs between two of them; faults are in test_run_file_faults.py."""

import subprocess
import sys
import tomllib
from dataclasses import replace
from datetime import time, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.config import EnvConfig, ReplayConfig, RunConfig
from distributed_kd.data_config import ElasticConfig, RolloutsConfig
from distributed_kd.errors import ConfigurationError
from distributed_kd.network_config import NetworkConfig
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.run_file import changed, decode, encode, merge, read_toml
from distributed_kd.student_config import LossConfig, StudentConfig

STUDENT = {"students": {"tiny": {}}}


def test_left_out_keys_take_their_defaults():
    assert decode(STUDENT) == RunConfig(students={"tiny": StudentConfig()})


def test_a_part_of_a_table_keeps_the_defaults_of_its_owner():
    # A student's network is a quarter as wide as usual by default, a network's own default is another.
    config = decode({"students": {"a": {"network": {"kind": "minatar"}}, "b": {"network": {"width": 0.5}}}})
    assert config.students["a"].network == NetworkConfig(kind="minatar", width=0.25)
    assert config.students["b"] == StudentConfig(network=NetworkConfig(width=0.5))
    assert (config.teacher.network.width, StudentConfig().network.units) == (1.0, (64, 64))


@pytest.mark.parametrize(
    ("toml", "key", "value"),
    [
        ("[replay]\ncapacity = 50_000", "replay.capacity", 50_000),
        ("[stop]\nenv_steps = 1e6", "stop.env_steps", 1_000_000),
        ("[teacher]\ntarget_update = 100", "teacher.target_update", 100.0),
        ("[students.tiny]\ntemperature = 1", "students.tiny.temperature", 1.0),
        ('[students.tiny]\ntemperature = "auto"', "students.tiny.temperature", "auto"),
        ("[replay]\nprioritized = true", "replay.prioritized", True),
        ('[teacher.network]\nhidden = "auto"', "teacher.network.hidden", "auto"),
        ('[teacher.network]\nkind = "nature"\nchannels = [4, 8, 8]', "teacher.network.channels", (4, 8, 8)),
        ("[teacher]\nv_min = -3", "teacher.v_min", -3.0),
        ('[env.evaluation_kwargs]\nsplit = "test"', "env.evaluation_kwargs.split", "test"),
        ("[teacher.network]\nhidden = []", "teacher.network.hidden", ()),
        ('teacher.source = "runs/a"', "teacher.source", "runs/a"),
        ('teacher.source = ["runs/a", "runs/b"]', "teacher.source", ("runs/a", "runs/b")),
        ('[teacher]\nsource = ["a", "b"]\nweights = [1, 0.5]', "teacher.weights", (1.0, 0.5)),
        ("[students.tiny]\nlosses = []", "students.tiny.losses", ()),
        ('[students.tiny]\nlosses = [{ name = "mse" }]', "students.tiny.losses", (LossConfig("mse"),)),
        ("[students.tiny]\ndrives = false", "students.tiny.drives", False),
        ('[students.tiny]\nstart = ""', "students.tiny.start", ""),
        ('[data]\nfile = ""', "data.file", ""),
        ("[rollouts]\nactors = 3", "rollouts.actors", 3),
        ("[rollouts]\nactors = { min = 2 }", "rollouts.actors", ElasticConfig(min=2, max=64)),
        ("rollouts.actors.max = 4", "rollouts.actors.min", 1),
        ("[env.kwargs]\ndeep = { a = [1, 2] }", "env.kwargs.deep", {"a": [1, 2]}),
    ],
)
def test_values_become_what_the_key_holds(toml, key, value):
    found = decode(merge(STUDENT, tomllib.loads(toml)))
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert (found, type(found)) == (value, type(value))


def test_losses_are_read_inline_and_as_tables_alike():
    inline = 'losses = [{ name = "kl", temperature = "auto" }, { name = "hint", weight = 1, layer = -2 }]'
    tables = '[[students.tiny.losses]]\nname = "kl"\ntemperature = "auto"\n'
    tables += '[[students.tiny.losses]]\nname = "hint"\nweight = 1.0\nlayer = -2'
    (a, b), again = (decode(tomllib.loads(text)).students["tiny"].losses for text in (f"[students.tiny]\n{inline}", tables))
    assert (a, b) == again == (LossConfig("kl", temperature="auto"), LossConfig("hint", weight=1.0, layer=-2))
    assert type(b.weight) is float


def test_losses_win_over_loss():
    student = {"loss": "mse", "losses": [{"name": "kl"}, {"name": "value"}]}
    assert [term.name for term in decode({"students": {"tiny": student}}).students["tiny"].terms] == ["kl", "value"]


def test_merge_lays_tables_over_each_other_and_changes_neither():
    base, over = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4, "e": {"f": 5}}, "d": {"g": 6}}
    assert merge(base, over) == {"a": {"b": 1, "c": 4, "e": {"f": 5}}, "d": {"g": 6}}
    assert (base, over) == ({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4, "e": {"f": 5}}, "d": {"g": 6}})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"seed = 1\nreplay = {\n", "line 2"),
        (b"seed = 1\nstop = [1,\n2,\n", "line 3, the end"),
        (b"seed = = 1", "line 1"),
        (b"a = 1\na = 2\n", "line 2"),
        (b"a = " + b"9" * 5_000, "4300 digits"),
        (b"a = " + b"[" * 50_000, "nested too deeply"),
        (b"\xff\xfe", "it is not UTF-8 text"),
    ],
)
def test_a_broken_file_is_told_with_its_line(tmp_path, content, why):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        read_toml(path)
    (line,) = raised.value.lines
    assert line.startswith(f"cannot read the run file (file={path}): ")
    assert why in line
    assert "\n" not in line


def test_a_missing_file_and_a_folder(tmp_path):
    for path, why in ((tmp_path / "no.toml", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(ConfigurationError) as raised:
            read_toml(path)
        assert raised.value.lines == (f"cannot read the run file (file={path}): {why}. Give the path of a TOML file",)


def test_a_file_is_read(tmp_path):
    (tmp_path / "run.toml").write_bytes(b"\xef\xbb\xbfseed = 3\n[students.tiny]\n")
    assert decode(read_toml(tmp_path / "run.toml")) == RunConfig(seed=3, students={"tiny": StudentConfig()})


positive = st.floats(min_value=1e-6, max_value=1e6)
share = st.floats(min_value=0, max_value=1)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True).filter(
    lambda name: name.lower() not in ("teacher", "random", "none")
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts
toml_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
output_losses = st.builds(
    LossConfig, name=st.sampled_from(["kl", "mse", "nll"]), weight=positive, temperature=st.just("auto") | positive
)
layer_losses = st.builds(LossConfig, name=st.just("hint"), since=st.floats(0, 0.5), layer=st.integers(-3, 3))
students = st.builds(
    StudentConfig,
    network=st.builds(NetworkConfig, hidden=st.lists(st.integers(1, 512), max_size=3).map(tuple)),
    loss=st.sampled_from(["kl", "mse", "nll"]),
    # What teaches no action cannot stand alone, so an output loss comes first.
    losses=st.just(()) | st.tuples(output_losses) | st.tuples(output_losses, output_losses | layer_losses),
    start=texts,
    drives=st.booleans(),
    temperature=st.just("auto") | positive,
    learning_rate=positive,
    learning_rate_end=share,
)
teachers = st.builds(
    TeacherConfig,
    gamma=share,
    double=st.booleans(),
    n_step=st.integers(1, 9),
    network=st.builds(
        NetworkConfig, st.sampled_from(["mlp", "minatar", "impala"]), width=positive, layer_norm=st.booleans()
    ),
    noisy=st.booleans(),
    distribution=st.sampled_from(["none", "c51", "quantile"]),
    atoms=st.integers(2, 99),
    v_min=st.floats(-1e6, 0),
    v_max=positive,
    reward_clip=share,
)
paths = texts.map("runs/{}".format)
teachers |= st.builds(TeacherConfig, source=paths, frozen=st.booleans())
# As many weights as sources. Several sources have no layers in common, so what is drawn with hint is sorted out below.
teachers |= st.lists(st.tuples(paths, positive), min_size=1, max_size=3).map(
    lambda pairs: TeacherConfig(source=tuple(path for path, _ in pairs), weights=tuple(weight for _, weight in pairs))
)
runs = st.builds(
    RunConfig,
    seed=st.integers(0, 2**63 - 1),
    env=st.builds(
        EnvConfig,
        id=texts.filter(str.strip),
        kwargs=st.dictionaries(texts, toml_values, max_size=3),
        evaluation_kwargs=st.dictionaries(texts, toml_values, max_size=2),
        frame_stack=st.integers(1, 4),
        channels=st.sampled_from(["auto", "first", "last"]),
    ),
    teacher=teachers,
    students=st.dictionaries(names, students, min_size=1, max_size=3).filter(
        lambda them: len({name.lower() for name in them}) == len(them)
    ),
).filter(lambda run: len(run.teacher.sources) < 2 or not any("hint" in one.label for one in run.students.values()))


@settings(max_examples=80, deadline=None)
@given(runs)
def test_what_is_written_is_read_back_the_same(config):
    text = encode(config)
    again = decode(tomllib.loads(text))
    assert again == config
    assert list(again.students) == list(config.students)  # a policy's number is its place
    assert encode(again) == encode(decode(tomllib.loads(encode(again))))


def test_every_key_is_written():
    tables = tomllib.loads(encode(decode(STUDENT)))
    assert tables["students"]["tiny"]["losses"] == tables["teacher"]["weights"] == []
    assert tables["students"]["tiny"]["start"] == tables["data"]["file"] == ""
    assert tables["students"]["tiny"]["network"] == {
        "kind": "mlp", "hidden": "auto", "channels": "auto", "width": 0.25, "layer_norm": False, "depth": 6,
    }  # fmt: skip
    assert tables["teacher"]["network"]["width"] == 1.0
    assert tables["env"]["evaluation_kwargs"] == {}
    assert set(tables) == {f for f in RunConfig.__dataclass_fields__}


def test_every_key_of_a_loss_is_written():
    loss = {"name": "hint", "weight": 0.1}
    written = tomllib.loads(encode(decode({"students": {"tiny": {"td_weight": 1, "losses": [loss]}}})))
    (found,) = written["students"]["tiny"]["losses"]
    assert list(found) == list(LossConfig.__dataclass_fields__)
    assert found == found | loss


@pytest.mark.parametrize(
    ("kwargs", "line"),
    [
        ({"a": None}, "(env.kwargs.a=None): TOML cannot hold this NoneType"),
        ({"a": {"b": [1, object]}}, "(env.kwargs.a.b=<class 'object'>): TOML cannot hold this type"),
        ({"size": (1, 2)}, "(env.kwargs.size=[1, 2]): TOML cannot hold this tuple. Use a list"),
        ({1: 2}, "(env.kwargs=1): TOML cannot hold this int"),
        ({"a": "\ud800"}, '(env.kwargs.a="\\ud800"): TOML cannot hold this str'),
        ({"a": np.float64(1)}, "(env.kwargs.a=1.0): TOML cannot hold this float64"),
        ({"a": 2**70}, "(env.kwargs.a=0x400000000000000000): TOML cannot hold this int"),
        ({"a": time(1, tzinfo=timezone.utc)}, "(env.kwargs.a=01:00:00+00:00): TOML cannot hold this time"),  # noqa: UP017
    ],
)
def test_what_toml_cannot_hold_is_told(kwargs, line):
    with pytest.raises(ConfigurationError) as raised:
        encode(RunConfig(env=EnvConfig(kwargs=kwargs)))
    assert len(raised.value.lines) == 1
    assert raised.value.lines[0].startswith(f"not for a run file {line}")


def test_changed_names_every_leaf_that_differs():
    old = RunConfig(env=EnvConfig(kwargs={"a": 1, "b": {}}), students={"x": StudentConfig(), "y": StudentConfig()})
    new = replace(
        old,
        seed=3,
        env=EnvConfig(kwargs={"a": 2}),
        replay=ReplayConfig(capacity=7),
        students={"y": StudentConfig(), "z": StudentConfig(network=NetworkConfig(hidden=(1,)))},
    )
    found = changed(old, new)
    assert {key: pair for key, pair in found.items() if not key.startswith("students")} == {
        "seed": (0, 3),
        "env.kwargs.a": (1, 2),
        "env.kwargs.b": ({}, None),
        "replay.capacity": (100_000, 7),
    }
    assert found["students.x.network.hidden"] == ("auto", None)
    assert found["students.z.network.hidden"] == (None, (1,))
    assert not any(key.startswith("students.y") for key in found)
    assert changed(old, old) == {}


def test_changed_losses_are_one_key_as_a_run_file_has_them():
    def config(*losses):
        return RunConfig(students={"x": StudentConfig(losses=losses)})

    old, new = config(LossConfig("kl"), LossConfig("hint", weight=0.1)), config(LossConfig("hint", layer=-2, soft="mse"))
    assert changed(old, new) == {
        "students.x.losses": (
            '[{ name = "kl" }, { name = "hint", weight = 0.1 }]',
            '[{ name = "hint", layer = -2, soft = "mse" }]',
        )
    }
    assert changed(config(), config(LossConfig())) == {"students.x.losses": ((), '[{ name = "kl" }]')}
    assert changed(old, config(*old.students["x"].losses)) == {}


def test_reading_a_run_file_does_not_need_the_flags():
    code = "import sys, distributed_kd.run_file, distributed_kd.presets; sys.exit('tyro' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_number_may_stand_where_a_table_stood_and_the_other_way_round():
    fixed, elastic = decode(STUDENT), decode(STUDENT | {"rollouts": {"actors": {"min": 2, "max": 8}}})
    assert elastic.rollouts == RolloutsConfig(actors=ElasticConfig(2, 8))
    assert (elastic.rollouts.least, elastic.rollouts.most, fixed.rollouts.least, fixed.rollouts.most) == (2, 8, 2, 2)
    for config in (fixed, elastic):
        assert decode(tomllib.loads(encode(config))) == config
    assert changed(fixed, elastic) == {
        "rollouts.actors": (2, None),
        "rollouts.actors.min": (None, 2),
        "rollouts.actors.max": (None, 8),
    }
    tables = tomllib.loads(encode(elastic))
    assert decode(merge(tables, {"rollouts": {"actors": 5}})).rollouts.actors == 5
    assert decode(merge(tables, {"rollouts": {"actors": {"max": 9}}})).rollouts.actors == ElasticConfig(2, 9)
