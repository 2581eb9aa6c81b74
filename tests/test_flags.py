"""Flags of the run file: each key settable, every fault told in one line, all at once, and the help page."""

from dataclasses import replace

import pytest

from distributed_kd import presets
from distributed_kd.config import RunConfig
from distributed_kd.data_config import ElasticConfig
from distributed_kd.errors import ConfigurationError
from distributed_kd.flags import help_text, leaves, parse_run
from distributed_kd.run_file import changed, decode, read
from distributed_kd.student_config import StudentConfig

TABLES = {"students": {"tiny": {"network": {"hidden": [16, 16]}}, "half-wit": {}}}
PROG = "launch.py train"


def run(args, tables=TABLES):
    return parse_run(args.split(), tables, PROG)


def lines(args, tables=TABLES):
    with pytest.raises(ConfigurationError) as raised:
        run(args, tables)
    assert not any("\n" in line for line in raised.value.lines)
    return list(raised.value.lines)


def differs(args):
    """The keys that `args` change, with their new values."""
    return {key: new for key, (_, new) in changed(decode(TABLES), run(args)).items()}


@pytest.mark.parametrize(
    ("args", "new"),
    [
        ("", {}),
        ("--replay.capacity 50000", {"replay.capacity": 50_000}),
        ("--replay.capacity=50_000", {"replay.capacity": 50_000}),
        ("--students.tiny.loss mse", {"students.tiny.loss": "mse"}),
        ("--students.tiny.losses kl hint", {"students.tiny.losses": '[{ name = "kl" }, { name = "hint" }]'}),
        ("--students.half-wit.losses=mse", {"students.half-wit.losses": '[{ name = "mse" }]'}),
        ("--students.tiny.start runs/a:tiny", {"students.tiny.start": "runs/a:tiny"}),
        ("--students.tiny.drives false", {"students.tiny.drives": False}),
        ("--teacher.source learn --teacher.frozen false", {"teacher.frozen": False}),
        ("--teacher.source runs/a", {"teacher.source": "runs/a"}),
        ("--teacher.source runs/a runs/b", {"teacher.source": ("runs/a", "runs/b")}),
        ("--teacher.source -a [b", {"teacher.source": ("-a", "[b")}),
        (
            "--teacher.source a b --teacher.weights 0.7 1e-3",
            {"teacher.source": ("a", "b"), "teacher.weights": (0.7, 0.001)},
        ),
        ("--students.tiny.temperature auto", {"students.tiny.temperature": "auto"}),
        ("--students.tiny.temperature 1", {"students.tiny.temperature": 1.0}),
        ("--replay.batch_size 32", {"replay.batch_size": 32}),
        ("--replay.batch-size 32", {"replay.batch_size": 32}),
        ("--students.half-wit.learning-rate 1e-4", {"students.half-wit.learning_rate": 1e-4}),
        ("--students.half_wit.learning_rate 1e-4", {"students.half-wit.learning_rate": 1e-4}),
        ("--teacher.network.hidden 8 9 10", {"teacher.network.hidden": (8, 9, 10)}),
        ("--teacher.network.hidden=8", {"teacher.network.hidden": (8,)}),
        ("--teacher.double false", {"teacher.double": False}),
        ("--teacher.double=False --teacher.dueling true", {"teacher.double": False, "teacher.dueling": True}),
        ("--replay.prioritized false --replay.shards 1", {}),
        ("--replay.shards 3", {"replay.shards": 3}),
        ("--replay.prioritized true --replay.importance 0.6", {"replay.prioritized": True, "replay.importance": 0.6}),
        ("--teacher.noisy true --teacher.distribution c51", {"teacher.noisy": True, "teacher.distribution": "c51"}),
        ("--teacher.network.kind minatar", {"teacher.network.kind": "minatar"}),
        ("--students.tiny.network.hidden auto", {"students.tiny.network.hidden": "auto"}),
        ("--env.normalise true --env.frame-stack 4", {"env.normalise": True, "env.frame_stack": 4}),
        ("--rollouts.actors 3", {"rollouts.actors": 3}),
        (
            "--rollouts.actors.min 3 --rollouts.actors.max 1e2",
            {"rollouts.actors": None, "rollouts.actors.min": 3, "rollouts.actors.max": 100},
        ),
        ("--stop.env_steps 1e6", {"stop.env_steps": 1_000_000}),
        ("--env.id=module:Id-v0", {"env.id": "module:Id-v0"}),
        ("--env.id 1e5", {"env.id": "1e5"}),
        ("--learner.device cpu --seed 5", {"learner.device": "cpu", "seed": 5}),
    ],
)
def test_a_flag_sets_its_key(args, new):
    assert differs(args) == new


def test_every_key_takes_its_own_default_back():
    config = decode(TABLES)
    for key, leaf in (leaves(config) | leaves(StudentConfig(), "students.new.")).items():
        value = leaf.default
        words = [str(word) for word in value] or ["[]"] if isinstance(value, tuple) else [str(value)]
        found = parse_run([f"--{key}", *words], TABLES, PROG)
        if key.startswith("students."):
            found, config = found.students["new"], StudentConfig()
        wanted = config
        if key.startswith("rollouts.actors."):  # a key of the table that may stand in the number's place
            wanted = replace(config, rollouts=replace(config.rollouts, actors=ElasticConfig()))
        assert found == wanted


def test_a_new_name_adds_a_student_with_the_defaults():
    config = run("--students.NEW.network.hidden 8 8 --students.NEW.loss mse")
    assert list(config.students) == ["tiny", "half-wit", "NEW"]
    assert config.students["NEW"].network.hidden == (8, 8)
    assert config.students["NEW"].loss == "mse"
    assert config.students["NEW"].learning_rate == StudentConfig().learning_rate


def test_a_name_may_hold_dots_and_dashes():
    config = run("--students.v1.2-b.loss mse --students.v1.2_b.network.hidden 8 --students.v1.2-b.learning-rate 1")
    assert list(config.students) == ["tiny", "half-wit", "v1.2-b"]
    assert config.students["v1.2-b"].network.hidden == (8,)


def test_of_two_names_alike_the_one_as_written_is_meant():
    tables = {"students": {"a-b": {}, "a_b": {}}}
    for name in ("a-b", "a_b"):
        config = run(f"--students.{name}.loss mse", tables)
        assert [n for n, s in config.students.items() if s.loss == "mse"] == [name]


def test_a_student_is_dropped():
    assert list(run("--students.tiny none").students) == ["half-wit"]
    assert list(run("--students.half_wit=none").students) == ["tiny"]
    assert lines("--students.tiny none --students.half-wit none")[0].startswith("no students (students=none)")


def test_keyword_arguments_are_read_as_toml_where_they_are():
    args = ["--env.kwargs.size", "4", "--env.kwargs.render-mode", "rgb_array", "--env.kwargs.deep.on", "true"]
    args += ["--env.kwargs.sizes", "1", "2.5", "--env.kwargs.list=[1, 2]", "--env.kwargs.old", "1.5"]
    args += ["--env.kwargs.two", "1\nb = 2", "--env.kwargs.quoted", '"7"']
    tables = TABLES | {"env": {"kwargs": {"old": 1, "kept": 1}}}
    assert parse_run(args, tables, PROG).env.kwargs == {
        "old": 1.5,
        "kept": 1,
        "size": 4,
        "render_mode": "rgb_array",
        "deep": {"on": True},
        "sizes": [1, 2.5],
        "list": [1, 2],
        "two": "1\nb = 2",
        "quoted": "7",
    }


def test_the_arguments_of_evaluation_are_flags_too():
    env = run("--env.kwargs.split train --env.evaluation_kwargs.split test --env.evaluation-kwargs.size 4").env
    assert env.kwargs == {"split": "train"}
    assert env.evaluation_kwargs == {"split": "test", "size": 4}


def test_tables_are_left_as_they_are():
    tables = {"students": {"tiny": {"loss": "kl"}, "x": {}}, "env": {"kwargs": {}}}
    run("--students.tiny.loss mse --students.x none --env.kwargs.a 1", tables)
    assert tables == {"students": {"tiny": {"loss": "kl"}, "x": {}}, "env": {"kwargs": {}}}


NO_KEY = "the run file has no key of this name"


@pytest.mark.parametrize(
    ("args", "line"),
    [
        ("--replay.capcity 5", f"unknown flag (replay.capcity=5): {NO_KEY}. Did you mean --replay.capacity?"),
        ("--capacity 5", f"unknown flag (capacity=5): {NO_KEY}. Did you mean --replay.capacity?"),
        (
            "--students.tiny.los kl",
            f"unknown flag (students.tiny.los=kl): {NO_KEY}. Did you mean --students.tiny.loss?",
        ),
        ("--students.new.los kl", f"unknown flag (students.new.los=kl): {NO_KEY}. Did you mean --students.new.loss?"),
        ("--exploration.zz 5", f"unknown flag (exploration.zz=5): {NO_KEY}. Did you mean --teacher.exploration.end?"),
        (
            "--learner.q 5",
            f"unknown flag (learner.q=5): {NO_KEY}. "
            "The keys of learner are device, updates_per_call, students, precision, threads, cuda_graph, compile, "
            "skips, replicas",
        ),
        ("--xyz", f"unknown flag (xyz=): {NO_KEY}. launch.py train --help lists them all"),
        ("--env.kwargs. 5", f"unknown flag (env.kwargs.=5): {NO_KEY}. launch.py train --help lists them all"),
        (
            "--teacher.network 8",
            "not a flag (teacher.network=8): it is a table, only its keys are flags."
            " Set --teacher.network.kind or --teacher.network.hidden",
        ),
        (
            "--students.tiny mse",
            "not a flag (students.tiny=mse): it is a table, only its keys are flags."
            " Set --students.tiny.network.kind or --students.tiny.network.hidden",
        ),
        (
            "--students.tny none",
            "unknown student (students.tny=none): there is none of this name. Did you mean --students.tiny none?",
        ),
        (
            "--students.zz none",
            "unknown student (students.zz=none): there is none of this name. The students are tiny, half-wit",
        ),
        ("--seed", "no value (seed=): a flag needs a value. Give one behind --seed"),
        (
            "--teacher.network.hidden",
            "no value (teacher.network.hidden=): a flag needs a value. Give one behind --teacher.network.hidden",
        ),
        (
            "--env.evaluation_kwargs 5",
            "not a flag (env.evaluation_kwargs=5): it is a table, only its keys are flags. Set --env.evaluation_kwargs.NAME",
        ),
        ("--env.kwargs.a", "no value (env.kwargs.a=): a flag needs a value. Give one behind --env.kwargs.a"),
        (
            "foo --seed 1",
            'stray argument (argument="foo"): it belongs to no flag. Remove it, or put its flag before it',
        ),
        (
            "--seed 1 foo",
            'stray argument (argument="foo"): --seed takes one value. Remove it, or put its flag before it',
        ),
        ("--seed 1 --seed 2", "conflicting flags (seed=2): --seed 1 is given too. Keep one of the two"),
        (
            "--replay.batch-size 4 --replay.batch_size 4",
            "conflicting flags (replay.batch_size=4): --replay.batch_size 4 is given too. Keep one of the two",
        ),
        (
            "--students.tiny none --students.tiny.loss mse",
            "conflicting flags (students.tiny.loss=mse): --students.tiny none is given too. Keep one of the two",
        ),
        (
            "--rollouts.actors 2 --rollouts.actors.max 4",
            "conflicting flags (rollouts.actors.max=4): --rollouts.actors 2 is given too. Keep one of the two",
        ),
        (
            "--rollouts.actors many",
            'wrong type (rollouts.actors="many"): it must be a whole number or a table. Write for example actors = 2',
        ),
        (
            "--rollouts.actors.min 5 --rollouts.actors.max 4",
            "bad number of rollouts (rollouts.actors.max=4): it must not lie below rollouts.actors.min, 5. "
            "Set --rollouts.actors.max 5 or more",
        ),
        (
            "--env.kwargs.a 1 --env.kwargs.a.b 2",
            "conflicting flags (env.kwargs.a.b=2): --env.kwargs.a 1 is given too. Keep one of the two",
        ),
        ("--seed -1", "bad seed (seed=-1): it must be a finite number of at least 0. Set --seed 0 or more"),
    ],
)
def test_each_fault_has_its_line_and_nothing_else_is_printed(args, line, capfd):
    assert lines(args) == [line]
    assert capfd.readouterr() == ("", "")


def test_all_faults_at_once_of_file_flags_and_values():
    tables = TABLES | {"sead": 3, "learner": {"devise": "cpu"}, "checkpoint": {"keep": 0}}
    args = "stray --seed x --replay.capcity 4 --learner.updates_per_call 8 --stop.env_steps 0 --rollouts.actors 1 2"
    assert [line.split(":")[0] for line in lines(args, tables)] == [
        "unknown key (sead=3)",
        'unknown key (learner.devise="cpu")',
        'stray argument (argument="stray")',
        "bad value (seed=x)",
        "unknown flag (replay.capcity=4)",
        'stray argument (argument="2")',
        "no end (stop.env_steps=0)",
        "bad number of checkpoints (checkpoint.keep=0)",
    ]


def test_a_fault_of_the_file_is_told_even_where_a_flag_covers_it():
    assert lines("--seed 1", TABLES | {"seed": "x"}) == [
        'wrong type (seed="x"): it must be a whole number. Write for example seed = 0'
    ]
    assert lines("--students.a.loss kl --students.b none", {"students": 3})[0].startswith("wrong type (students=3)")


def test_a_table_with_a_bad_flag_is_not_checked_further():
    assert len(lines("--replay.warmup 200000 --replay.capcity 300000")) == 1


def test_what_a_terminal_would_act_upon_is_spelt_out():
    with pytest.raises(ConfigurationError) as raised:
        parse_run(["--se\x1b[2J\ned", "a\nb", "--seed", "\x1b[0m"], TABLES, PROG)
    assert all(line.isprintable() for line in raised.value.lines)


def test_help_tells_every_key_in_100_columns():
    tables = presets.read("cartpole")
    page = help_text(tables, PROG, "  --out DIR   the folder\n")
    assert page.startswith("usage: launch.py train [--KEY VALUE ...]\n\n  --out DIR   the folder\n\n")
    assert max(map(len, page.splitlines())) <= 100
    assert page.isascii()
    # What stands in the column on the right never touches what stands on the left.
    rows = page.partition("Keys of the run file")[2].splitlines()
    about = [line for line in rows if line.startswith("  --") and "NEW" not in line and " " in line[42:]]
    assert about and all(line[41] == " " for line in about)
    for key in leaves(RunConfig()) | leaves(StudentConfig(), "students.NAME."):
        assert f"  --{key} " in page
    for part in (
        f"environment steps over all lanes (default: {tables['stop']['env_steps']})",
        "--teacher.double true|false ",
        "--learner.device auto|cpu|cuda ",
        "--students.NAME.temperature FLOAT|auto ",
        "kl, kl_q, kl_hinton,",
        "--teacher.network.hidden INT ...        units of each hidden linear layer; auto: the kind's usual\n"
        f"{' ' * 42}ones times width (default: 256 256)",
        "Here: quarter (mlp 128 128), fifteenth (mlp 64 64), fiftieth (mlp 32 32), smallest (mlp 16 16)",
        "--students.NAME none drops one",
        "--env.kwargs.KEY VALUE                  keyword arguments for gymnasium.make (default: none)",
    ):
        assert part in page


def test_help_of_lists_and_of_what_is_empty():
    page = help_text(TABLES, PROG)
    column = " " * 42
    for part in (
        "--teacher.source TEXT ...               learn: trained in this run; a run's folder (RUN or\n"
        f"{column}RUN:STUDENT), a Stable-Baselines3 DQN .zip or a\n{column}.safetensors file; several of them",
        "--teacher.weights FLOAT ...  ",
        "none = all alike (default: none)",
        # The example keeps its tables whole.
        f'--students.NAME.losses LIST             several mappings at once, in place of loss:\n{column}[{{ name = "kl" }},\n'
        f'{column}{{ name = "hint", weight = 0.1, layer = -2 }}]; as a flag,\n{column}names alone will do: kl hint',
        "empty = from the replay (default: none)",
        # A flag that fills its column stands alone on its line.
        f"--rollouts.behaviour.beta_fraction FLOAT\n{column}share of the run",
    ):
        assert part in page


def test_help_shows_the_sources_of_the_run_at_hand():
    teacher = {"source": ["runs/a", "runs/b\x1b"], "weights": [0.7, 1]}
    page = help_text(TABLES | {"teacher": teacher}, PROG)
    assert "(default: runs/a runs/b\\x1b)" in page
    assert "(default: 0.7 1)" in page


def test_help_is_there_for_a_file_with_faults_too():
    assert "--seed INT" in help_text({"seed": "x", "nonsense": 3}, PROG)


def test_every_key_has_a_line_of_help():
    page = help_text(TABLES, PROG)
    assert "  (default" not in page.replace("\n" + " " * 42 + "(default", "")
    assert read(TABLES)[1] == []
