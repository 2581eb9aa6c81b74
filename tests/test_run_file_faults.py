"""What is wrong with a run file: each fault told in one line, all at once, and nothing but told."""

import tomllib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.config import ReplayConfig, RunConfig
from distributed_kd.errors import ConfigurationError
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.run_file import decode, encode, merge, read
from distributed_kd.run_file_faults import nearest, shown
from distributed_kd.student_config import LossConfig, StudentConfig

STUDENT = {"students": {"tiny": {}}}


def lines(tables):
    """What is wrong with `tables`, one student given."""
    with pytest.raises(ConfigurationError) as raised:
        decode(merge(STUDENT, tables))
    return list(raised.value.lines)


WHOLE = "it must be a whole number. Write for example seed = 0"
TABLE = "it must be a table. Write its keys under"
WIDTHS = 'it must be a list of whole numbers or auto. Write for example hidden = "auto"'
LOSSES = (
    "it must be one of kl, kl_q, kl_hinton, kl_reverse, jsd, cross_entropy, nll, mse, huber, dkd, margin, hard_soft, hint,"
    " attention, relational, similarity, value, policy_gradient"
)
LIST = 'losses = [{ name = "kl" }, { name = "hint", weight = 0.1 }]'
SOURCE = 'it must be a string or a list of strings. Write for example source = "learn"'
WEIGHTS = "it must be a list of numbers. Write for example weights = [0.7, 0.3]"
SWITCH = "it must be true or false. Write for example prioritized = false"
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
        "unknown key (teacher.network.qqq=1): [teacher.network] has no key of this name. It knows kind, hidden,"
        " channels, width, layer_norm, depth",
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
    ("replay.prioritized = 1", f"wrong type (replay.prioritized=1): {SWITCH}"),
    ("replay.prioritized = 0", f"wrong type (replay.prioritized=0): {SWITCH}"),
    ("teacher.source = 3", f"wrong type (teacher.source=3): {SOURCE}"),
    ("teacher.source = ['a', 3]", f'wrong type (teacher.source=["a", 3]): {SOURCE}'),
    (
        "teacher.source = {}",
        'wrong type (teacher.source=a table): it must be a string or a list of strings. Write source = "learn", not a table',
    ),
    ("teacher.weights = 1", f"wrong type (teacher.weights=1): {WEIGHTS}"),
    ("teacher.weights = [1, '2']", f'wrong type (teacher.weights=[1, "2"]): {WEIGHTS}'),
    ("teacher.weights = [[1]]", f"wrong type (teacher.weights=[[1]]): {WEIGHTS}"),
    (
        "students.x.losses = [{ name = 'kl' }, { name = 'hint', wieght = 0.1 }]",
        "unknown key (students.x.losses[1].wieght=0.1): students.x.losses[1] has no key of this name. Did you mean weight?",
    ),
    (
        "[[students.x.losses]]\nname = 'kll'",
        f'unknown choice (students.x.losses[0].name="kll"): {LOSSES}. Did you mean "kl"?',
    ),
    (
        "students.x.losses = [{ weight = '1' }]",
        'wrong type (students.x.losses[0].weight="1"): it must be a number. Write for example weight = 1.0',
    ),
    (
        "students.x.losses = [{ layer = 1.5 }]",
        "wrong type (students.x.losses[0].layer=1.5): it must be a whole number. Write for example layer = -1",
    ),
    (
        "students.x.losses = [{ temperature = 'warm' }]",
        'unknown choice (students.x.losses[0].temperature="warm"): it must be a number or auto.'
        " Write for example temperature = 0.0",
    ),
    (
        "students.x.losses = 'kl'",
        f'wrong type (students.x.losses="kl"): it must be a list of tables. Write for example {LIST}',
    ),
    (
        "students.x.losses = [{}, 'kl']",
        f'wrong type (students.x.losses=[a table, "kl"]): it must be a list of tables. Write for example {LIST}',
    ),
    (
        "[students.x.losses]\nname = 'kl'",
        f"wrong type (students.x.losses=a table): it must be a list of tables. Write {LIST}, not a table",
    ),
    ("students.x.start = false", 'wrong type (students.x.start=false): it must be a string. Write for example start = ""'),
    (
        "students.x.drives = ''",
        'wrong type (students.x.drives=""): it must be true or false. Write for example drives = true',
    ),
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


def test_a_student_with_a_misread_loss_is_not_checked_further():
    # With kl, which stands for the misread name, a TD error would be refused; mse, which was meant, goes with it.
    tables = {"students": {"tiny": {"td_weight": 1.0, "losses": [{"name": "msee"}]}}, "checkpoint": {"keep": 0}}
    assert [line.split(":")[0] for line in lines(tables)] == [
        'unknown choice (students.tiny.losses[0].name="msee")',
        "bad number of checkpoints (checkpoint.keep=0)",
    ]


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


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
scalars = st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | texts | st.dates()
key_names = st.sampled_from(
    [*RunConfig.__dataclass_fields__, *StudentConfig.__dataclass_fields__, *TeacherConfig.__annotations__]
)
anything = st.recursive(
    scalars | st.sampled_from(["kl", "learn", "auto", "", 0.0, -1, 2**63]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(key_names | texts, inner, max_size=4),
    max_leaves=9,
)
odd_losses = st.lists(
    st.dictionaries(st.sampled_from([*LossConfig.__dataclass_fields__]) | texts, anything) | anything, max_size=3
)
odd_students = st.dictionaries(texts, st.fixed_dictionaries({}, optional={"losses": odd_losses, "td_weight": anything}))
odd_teachers = st.fixed_dictionaries({}, optional={name: anything for name in ("source", "weights", "frozen", "network")})
odd_tables = st.fixed_dictionaries({}, optional={"students": odd_students | anything, "teacher": odd_teachers | anything})


@settings(max_examples=300, deadline=None)
@given(odd_tables | st.dictionaries(key_names | texts, anything, max_size=4))
def test_tables_are_read_or_told_to_be_wrong_whatever_they_hold(tables):
    with suppress(ConfigurationError):
        config = decode(merge(STUDENT, tables))
        assert decode(tomllib.loads(encode(config))) == config


def test_nearest():
    assert nearest("Quater", ["tiny", "Quarter"]) == "Quarter"
    assert nearest("zzz", ["tiny"]) is None
