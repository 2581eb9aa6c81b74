"""Run files: read, written back the same, and every fault told in one line, all at once."""

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
from distributed_kd.errors import ConfigurationError
from distributed_kd.policy_config import NetworkConfig, TeacherConfig
from distributed_kd.run_file import changed, decode, encode, merge, nearest, read, read_toml, shown
from distributed_kd.student_config import StudentConfig

STUDENT = {"students": {"tiny": {}}}


def lines(tables):
    """What is wrong with `tables`, one student given."""
    with pytest.raises(ConfigurationError) as raised:
        decode(merge(STUDENT, tables))
    return list(raised.value.lines)


def test_left_out_keys_take_their_defaults():
    assert decode(STUDENT) == RunConfig(students={"tiny": StudentConfig()})


def test_a_part_of_a_table_keeps_the_defaults_of_its_owner():
    # A student's network is (64, 64) by default, a network's own default is another.
    config = decode({"students": {"a": {"network": {"kind": "mlp"}}, "b": {"network": {"hidden": [8, 8]}}}})
    assert config.students["a"].network == NetworkConfig(hidden=(64, 64))
    assert config.students["b"] == StudentConfig(network=NetworkConfig(hidden=(8, 8)))


@pytest.mark.parametrize(
    ("toml", "key", "value"),
    [
        ("[replay]\ncapacity = 50_000", "replay.capacity", 50_000),
        ("[stop]\nenv_steps = 1e6", "stop.env_steps", 1_000_000),
        ("[teacher]\ntarget_update = 100", "teacher.target_update", 100.0),
        ("[students.tiny]\ntemperature = 1", "students.tiny.temperature", 1.0),
        ('[students.tiny]\ntemperature = "auto"', "students.tiny.temperature", "auto"),
        ("[replay]\nprioritized = false", "replay.prioritized", False),
        ("[teacher.network]\nhidden = []", "teacher.network.hidden", ()),
        ("[env.kwargs]\ndeep = { a = [1, 2] }", "env.kwargs.deep", {"a": [1, 2]}),
    ],
)
def test_values_become_what_the_key_holds(toml, key, value):
    found = decode(merge(STUDENT, tomllib.loads(toml)))
    for part in key.split("."):
        found = found[part] if isinstance(found, dict) else getattr(found, part)
    assert (found, type(found)) == (value, type(value))


WHOLE = "it must be a whole number. Write for example seed = 0"
TABLE = "it must be a table. Write its keys under"
WIDTHS = "it must be a list of whole numbers. Write for example hidden = [256, 256]"
LOSSES = "it must be one of kl, kl_q, kl_hinton, cross_entropy, nll, mse, huber"
UNIFORM = "it must be false. Write for example prioritized = false"
WRONG = [
    ("sead = 5", "unknown key (sead=5): the run file has no key of this name. Did you mean seed?"),
    ("replay.capcity = 5", "unknown key (replay.capcity=5): [replay] has no key of this name. Did you mean capacity?"),
    (
        "student.x = {}",
        "unknown table (student=a table): the run file has no table of this name. Did you mean students?",
    ),
    (
        "students.x.netwrk = {}",
        "unknown table (students.x.netwrk=a table): [students.x] has no table of this name. Did you mean network?",
    ),
    (
        "teacher.network.qqq = 1",
        "unknown key (teacher.network.qqq=1): [teacher.network] has no key of this name. It knows kind, hidden",
    ),
    ("seed = true", f"wrong type (seed=true): {WHOLE}"),
    ("seed = '1'", f'wrong type (seed="1"): {WHOLE}'),
    ("seed = 1.5", f"wrong type (seed=1.5): {WHOLE}"),
    ("seed = nan", f"wrong type (seed=nan): {WHOLE}"),
    ("seed = inf", f"wrong type (seed=inf): {WHOLE}"),
    ("seed = 2024-01-01", f"wrong type (seed=2024-01-01): {WHOLE}"),
    (
        f"seed = {2**63}",
        "wrong type (seed=0x8000000000000000): it must be a whole number of at most 64 bits. Write for example seed = 0",
    ),
    ("seed = {}", "wrong type (seed=a table): it must be a whole number. Write seed = 0, not a table"),
    ("teacher.gamma = 'x'", 'wrong type (teacher.gamma="x"): it must be a number. Write for example gamma = 0.99'),
    ("teacher.gamma = true", "wrong type (teacher.gamma=true): it must be a number. Write for example gamma = 0.99"),
    ("teacher.double = 1", "wrong type (teacher.double=1): it must be true or false. Write for example double = true"),
    ("env.id = 3", 'wrong type (env.id=3): it must be a string. Write for example id = "CartPole-v1"'),
    ("env.kwargs = 3", f"wrong type (env.kwargs=3): {TABLE} [env.kwargs]"),
    ("replay = 5", f"wrong type (replay=5): {TABLE} [replay]"),
    ("replay = [{}]", f"wrong type (replay=[a table]): {TABLE} [replay]"),
    ("students = 5", f"wrong type (students=5): {TABLE} [students]"),
    ("students.big = 'kl'", f'wrong type (students.big="kl"): {TABLE} [students.big]'),
    ("teacher.network.hidden = 64", f"wrong type (teacher.network.hidden=64): {WIDTHS}"),
    ("teacher.network.hidden = [64, true]", f"wrong type (teacher.network.hidden=[64, true]): {WIDTHS}"),
    ("students.x.loss = 'mze'", f'unknown choice (students.x.loss="mze"): {LOSSES}. Did you mean "mse"?'),
    ("students.x.loss = 3", f'wrong type (students.x.loss=3): {LOSSES}. Write for example loss = "kl"'),
    (
        "students.x.temperature = 'warm'",
        'unknown choice (students.x.temperature="warm"): it must be a number or auto. Write for example temperature = 0.01',
    ),
    ("replay.prioritized = true", f"unknown choice (replay.prioritized=true): {UNIFORM}"),
    ("replay.prioritized = 0", f"wrong type (replay.prioritized=0): {UNIFORM}"),
    ("replay.shards = 2", "unknown choice (replay.shards=2): it must be 1. Write for example shards = 1"),
    ("replay.shards = true", "wrong type (replay.shards=true): it must be 1. Write for example shards = 1"),
]


@pytest.mark.parametrize(("toml", "line"), WRONG)
def test_each_fault_of_form_has_its_line(toml, line):
    assert lines(tomllib.loads(toml)) == [line]


def test_names_and_values_stay_on_one_line():
    assert lines({"a\nb": "c\nd\u2028e"})[0].startswith('unknown key (a\\nb="c\\nd\\u2028e"): ')
    assert shown("x" * 200) == '"' + "x" * 76 + "..."
    assert shown([1, True, {}]) == "[1, true, a table]"


def test_all_faults_at_once_those_of_form_first():
    tables = {"sead": 1, "stop": {"env_steps": 0}, "replay": {"capacity": "x"}, "checkpoint": {"keep": 0}}
    assert [line.split(":")[0] for line in lines(tables)] == [
        "unknown key (sead=1)",
        'wrong type (replay.capacity="x")',
        "no end (stop.env_steps=0)",
        "bad number of checkpoints (checkpoint.keep=0)",
    ]


def test_a_misread_table_is_not_checked_further():
    # warmup 200_000 is above the default capacity, but fits the one that was meant.
    assert len(lines({"replay": {"capcity": 300_000, "warmup": 200_000}})) == 1
    with pytest.raises(ConfigurationError) as raised:
        decode({"student": {"tiny": {}}})
    assert len(raised.value.lines) == 1


def test_no_students():
    with pytest.raises(ConfigurationError, match="no students"):
        decode({})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_numbers_that_are_none_are_told_once(value):
    assert len(lines({"teacher": {"learning_rate": value}})) == 1


def test_read_gives_what_can_be_understood():
    config, problems = read({"seed": 4, "replay": {"capacity": "x", "warmup": 7}})
    assert (config.seed, config.replay) == (4, ReplayConfig(warmup=7))
    assert [p.key for p in problems] == ["replay.capacity"]


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
students = st.builds(
    StudentConfig,
    network=st.builds(NetworkConfig, hidden=st.lists(st.integers(1, 512), max_size=3).map(tuple)),
    loss=st.sampled_from(["kl", "mse", "nll"]),
    temperature=st.just("auto") | positive,
    learning_rate=positive,
    learning_rate_end=share,
)
runs = st.builds(
    RunConfig,
    seed=st.integers(0, 2**63 - 1),
    env=st.builds(EnvConfig, id=texts.filter(str.strip), kwargs=st.dictionaries(texts, toml_values, max_size=3)),
    teacher=st.builds(TeacherConfig, gamma=share, double=st.booleans(), n_step=st.integers(1, 9)),
    students=st.dictionaries(names, students, min_size=1, max_size=3).filter(
        lambda them: len({name.lower() for name in them}) == len(them)
    ),
)


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
    assert tables["students"]["tiny"]["network"] == {"kind": "mlp", "hidden": [64, 64]}
    assert set(tables) == {f for f in RunConfig.__dataclass_fields__}


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
    assert found["students.x.network.hidden"] == ((64, 64), None)
    assert found["students.z.network.hidden"] == (None, (1,))
    assert not any(key.startswith("students.y") for key in found)
    assert changed(old, old) == {}


def test_nearest():
    assert nearest("Quater", ["tiny", "Quarter"]) == "Quarter"
    assert nearest("zzz", ["tiny"]) is None


def test_reading_a_run_file_does_not_need_the_flags():
    code = "import sys, distributed_kd.run_file, distributed_kd.presets; sys.exit('tyro' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
