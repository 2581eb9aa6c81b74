"""What the words behind a flag mean: lists in words and in TOML, and every fault told in one line."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distributed_kd.config import RunConfig
from distributed_kd.errors import ConfigurationError
from distributed_kd.flag_values import leaves, toml_value
from distributed_kd.flags import parse_run
from distributed_kd.run_file import decode, merge
from distributed_kd.student_config import LossConfig, StudentConfig

TABLES = {"students": {"tiny": {"losses": [{"name": "mse"}], "start": "runs/a"}}}
KEY = "--students.tiny.losses"


def run(*args):
    return parse_run(args, TABLES, "launch.py train")


def line(*args):
    with pytest.raises(ConfigurationError) as raised:
        run(*args)
    (told,) = raised.value.lines
    return told


@pytest.mark.parametrize(
    ("words", "losses"),
    [
        (['[{ name = "kl" }, { name = "hint", weight = 1 }]'], (LossConfig("kl"), LossConfig("hint", weight=1.0))),
        # A shell that was given no quotes around it leaves one list in several words.
        (["[{", "weight", "=", "2", "}]"], (LossConfig("kl", weight=2.0),)),
        ([' [{ name = "kl_q", temperature = "auto" }]'], (LossConfig("kl_q", temperature="auto"),)),
        (["kl", "hint"], (LossConfig("kl"), LossConfig("hint"))),
        (["[]"], ()),
    ],
)
def test_losses_are_a_list_or_names(words, losses):
    assert run(KEY, *words).students["tiny"].losses == losses


def test_losses_and_loss_may_both_be_given():
    student = run(KEY, "kl", "--students.tiny.loss", "mse").students["tiny"]
    assert (student.loss, student.losses) == ("mse", (LossConfig("kl"),))


@pytest.mark.parametrize(
    ("words", "widths"),
    [(["[8, 9]"], (8, 9)), (["[8,", "9]"], (8, 9)), (["[]"], ()), (["1e1", "2"], (10, 2)), (["auto"], "auto")],
)
def test_widths_are_words_or_a_list(words, widths):
    assert run("--teacher.network.hidden", *words).teacher.network.hidden == widths


def test_weights_are_words_or_a_list():
    for words in (["0.7", "3"], ["[0.7, 3]"]):
        weights = run("--teacher.source", "a", "b", "--teacher.weights", *words).teacher.weights
        assert weights == (0.7, 3.0) and {type(weight) for weight in weights} == {float}


def test_an_empty_word_empties_a_text():
    assert run("--students.tiny.start", "").students["tiny"].start == ""
    assert run("--students.tiny.start=").students["tiny"].start == ""


NAMES = (
    "kl, kl_q, kl_hinton, kl_reverse, jsd, cross_entropy, nll, mse, huber, dkd, margin, hard_soft, hint, attention,"
    " relational, similarity, value, policy_gradient"
)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("--seed x", "bad value (seed=x): it must be a whole number. Give for example --seed 0"),
        ("--seed 1.5", "bad value (seed=1.5): it must be a whole number. Give for example --seed 0"),
        ("--seed true", "bad value (seed=true): it must be a whole number. Give for example --seed 0"),
        ("--seed -h", "bad value (seed=-h): it must be a whole number. Give for example --seed 0"),
        ("--seed=--help", "bad value (seed=--help): it must be a whole number. Give for example --seed 0"),
        ("--seed=", "bad value (seed=): it must be a whole number. Give for example --seed 0"),
        (
            "--seed 99999999999999999999",
            "wrong type (seed=0x56bc75e2d630fffff): it must be a whole number of at most 64 bits."
            " Write for example seed = 0",
        ),
        (
            "--teacher.gamma x",
            "bad value (teacher.gamma=x): it must be a number. Give for example --teacher.gamma 0.99",
        ),
        (
            "--teacher.double maybe",
            "bad value (teacher.double=maybe): it must be true or false. Give for example --teacher.double true",
        ),
        (
            "--replay.shards 2.5",
            "bad value (replay.shards=2.5): it must be a whole number. Give for example --replay.shards 1",
        ),
        (
            "--replay.student_batches weighted",
            "bad value (replay.student_batches=weighted): it must be one of corrected, uniform."
            " Give for example --replay.student_batches corrected",
        ),
        (
            "--teacher.distribution c52",
            "bad value (teacher.distribution=c52): it must be one of none, c51, quantile. Did you mean c51?",
        ),
        (
            "--students.tiny.loss mze",
            f"bad value (students.tiny.loss=mze): it must be one of {NAMES}. Did you mean mse?",
        ),
        (
            "--students.tiny.temperature warm",
            "bad value (students.tiny.temperature=warm): it must be a number or auto."
            " Give for example --students.tiny.temperature 0.01",
        ),
        (
            "--teacher.network.hidden 8 x",
            "bad value (teacher.network.hidden=8 x): it must be a list of whole numbers or auto."
            " Give for example --teacher.network.hidden auto",
        ),
    ],
)
def test_each_bad_single_value_has_its_line(args, told, capfd):
    assert line(*args.split()) == told
    assert capfd.readouterr() == ("", "")


EXAMPLE = '[{ name = "kl" }, { name = "hint", weight = 0.1 }]'
GIVE = f"Give for example {KEY} '{EXAMPLE}'"
BAD = "bad value (students.tiny.losses"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        # Counted by hand: "[{ name = " has 10 letters, so kl begins in column 11.
        ([KEY, "[{ name = kl }]"], f"{BAD}=[{{ name = kl }}]): broken TOML, Invalid value (at line 1, column 11). {GIVE}"),
        ([KEY, "[{}"], f"{BAD}=[{{}}): broken TOML, Unclosed array (at end of document). {GIVE}"),
        ([KEY, "[]\na = 3"], f"{BAD}=[]\\na = 3): broken TOML, it is more than one value. {GIVE}"),
        (
            [KEY, "[" * 9000],
            f"{BAD}={'[' * 80}): broken TOML, its lists or tables are nested too deeply. {GIVE}",
        ),
        (
            [KEY, "{ weight = 2 }"],
            f"wrong type (students.tiny.losses=a table): it must be a list of tables. Write losses = {EXAMPLE}, not a table",
        ),
        (
            [KEY, "[1]"],
            f"wrong type (students.tiny.losses=[1]): it must be a list of tables. Write for example losses = {EXAMPLE}",
        ),
        (
            [KEY, "kl", "hnt"],
            f'unknown choice (students.tiny.losses[1].name="hnt"): it must be one of {NAMES}. Did you mean "hint"?',
        ),
        (
            [KEY, '[{ name = "kl", wieght = 3 }]'],
            "unknown key (students.tiny.losses[0].wieght=3): students.tiny.losses[0] has no key of this name."
            " Did you mean weight?",
        ),
        (
            ["--students.tiny.lossess", "kl"],
            "unknown flag (students.tiny.lossess=kl): the run file has no key of this name."
            " Did you mean --students.tiny.losses?",
        ),
        ([KEY], "no value (students.tiny.losses=): a flag needs a value. Give one behind --students.tiny.losses"),
        (
            ["--teacher.weights", "0.7,0.3"],
            "bad value (teacher.weights=0.7,0.3): it must be a list of numbers. Give for example --teacher.weights 0.7 0.3",
        ),
        (
            ["--teacher.weights", "[0.7,", "x]"],
            "bad value (teacher.weights=[0.7, x]): broken TOML, Invalid value (at line 1, column 7)."
            " Give for example --teacher.weights 0.7 0.3",
        ),
        (
            ["--teacher.network.hidden", "[8,"],
            "bad value (teacher.network.hidden=[8,): broken TOML, Invalid value (at end of document)."
            " Give for example --teacher.network.hidden auto",
        ),
        (
            ["--students.tiny.drives", "maybe"],
            "bad value (students.tiny.drives=maybe): it must be true or false. Give for example --students.tiny.drives true",
        ),
    ],
)
def test_each_fault_has_its_line_and_nothing_else_is_printed(args, told, capfd):
    assert line(*args) == told
    assert capfd.readouterr() == ("", "")


def test_a_place_in_broken_toml_is_one_in_what_was_given():
    with pytest.raises(ValueError, match=r"at line 1, column 4\)"):
        toml_value("[1 2]")
    with pytest.raises(ValueError, match=r"at line 2, column 3\)"):
        toml_value("[1,\n2 3]")


flag_names = st.sampled_from(
    [
        f"--{key}"
        for key in leaves(RunConfig()) | leaves(StudentConfig(), "students.tiny.") | leaves(StudentConfig(), "students.a.b.")
    ]
)
words = st.sampled_from(
    [
        "kl",
        "hint",
        "learn",
        "peers",
        "true",
        "none",
        "[",
        "[]",
        "[{}]",
        "{",
        "}",
        '"',
        "=",
        "0.5",
        "-1",
        "1e400",
        "nan",
        "",
        "-",
    ]
)
flag_words = flag_names | words | st.text(max_size=6) | st.text(max_size=6).map("--students.{}".format)


@settings(max_examples=200, deadline=None)
@given(st.lists(flag_words, max_size=6))
def test_words_are_read_or_told_to_be_wrong_whatever_they_are(args):
    with suppress(ConfigurationError):
        assert isinstance(run(*args), RunConfig)


losses = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["kl", "mse", "nll"])}, optional={"weight": st.floats(0, 1e9)}),
    min_size=1,
)


@settings(deadline=None)
@given(losses)
def test_a_list_as_a_flag_is_the_list_of_a_run_file(losses):
    text = ", ".join("{ " + ", ".join(f"{key} = {value!r}" for key, value in loss.items()) + " }" for loss in losses)
    assert run(KEY, f"[{text}]") == decode(merge(TABLES, {"students": {"tiny": {"losses": losses}}}))
