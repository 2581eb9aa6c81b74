"""What is read out of the words behind `compare`."""

import pytest

from distributed_kd.comparing.asked import read_asked, values_in
from distributed_kd.errors import ConfigurationError

OUT = ["--out", "new"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.01,0.1,auto", ("0.01", "0.1", "auto")),
        ("kl", ("kl",)),
        ("", ("",)),
        ("a,,b", ("a", "", "b")),
        ("[8, 8],[16]", ("[8, 8]", "[16]")),
        ('[{ name = "kl" }, { name = "mse" }],[]', ('[{ name = "kl" }, { name = "mse" }]', "[]")),
        ('"a,b", c', ('"a,b"', "c")),
        ("a],b", ("a]", "b")),
    ],
)
def test_values_are_parted_at_commas_outside_of_brackets_and_quotes(text, values):
    assert values_in(text) == values


def test_words_of_all_kinds():
    words = ["a.toml", "acrobot", "--seeds", "3", "--grid", "x=1,2", "y.z=a", "--teacher.gamma", "0.9", "--grid=w=5",
             "--at-once=2", "--runner", "inline", "--students.tiny.network.hidden", "8", "8", "--data", "s.npz",
             *OUT]  # fmt: skip
    asked = read_asked(words)
    assert asked.sources == ("a.toml", "acrobot")
    assert asked.grid == {"x": ("1", "2"), "y.z": ("a",), "w": ("5",)}
    assert asked.flags == ("--teacher.gamma", "0.9", "--students.tiny.network.hidden", "8", "8", "--data.file", "s.npz")
    assert (asked.seeds, asked.at_once, asked.options.runner, asked.options.out) == (3, 2, "inline", "new")
    assert list(asked.points()) == [{"x": "1", "y.z": "a", "w": "5"}, {"x": "2", "y.z": "a", "w": "5"}]


def test_what_is_left_out():
    asked = read_asked(["acrobot", *OUT])
    assert (asked.seeds, asked.at_once, asked.flags) == (5, 0, ())
    assert list(asked.points()) == [{}]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["a", *OUT, "--seeds", "9" * 5000], "bad seeds (seeds=999"),
        (["a", *OUT, "--seeds", "1001"], "bad seeds (seeds=1001): it must be a whole number from 1 to 1000. Set --seeds 1"),
        (["a", *OUT, "--seeds", "1.5"], "bad seeds (seeds=1.5)"),
        (["a", *OUT, "--seeds", "²"], "bad seeds (seeds=²)"),
        (["a", *OUT, "--seeds", ""], "bad seeds (seeds='')"),
        (["a", *OUT, "--seeds"], "argument --seeds: expected one argument. See python launch.py compare --help"),
        (["a", *OUT, "--grid"], "bad grid (grid=''): it names no key"),
        (["a", *OUT, "--grid", "=1"], "bad grid (grid==1): it names no key"),
        (["a", *OUT, "--grid", "x=1", "x=2"], "bad grid (grid=x=2): its key is given twice"),
        (["a", *OUT, "--grid", "x=\x1b31m,"], r"bad grid (grid=x=\x1b31m,): a value is empty"),
        (["a", *OUT, "--grid", "seed=1,2"], "not an option here (seed=): each run"),
        (["a", *OUT, "--seed=1"], "not an option here (seed=): each run"),
        (["--seeds", "2", *OUT], "nothing to compare (FILE=)"),
    ],
)
def test_words_that_cannot_be(words, line):
    with pytest.raises(ConfigurationError) as told:
        read_asked(words)
    assert str(told.value).startswith(line)
    assert len(told.value.lines) == 1
