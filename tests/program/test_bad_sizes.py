"""Sizes that no machine holds: told before anything is allocated, or where it cannot be had."""

import pytest
from test_bad_input import check_told

from distributed_kd import ready
from distributed_kd.cli import main
from distributed_kd.training import preflight


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    """8 GB of memory."""
    monkeypatch.setattr(preflight, "memory_here", lambda: 8 * 10**9)


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        # A row of CartPole: 4 numbers of 4 bytes, and 32 bytes for action, reward, discount, version and the like.
        (
            "train own.toml --replay.capacity 1000000000000000 --runner inline",
            ["too little memory (replay.capacity=1000000000000000): its rows take 48,000,000 GB, and this machine has 8. "
             "Set --replay.capacity 83333333, half of the machine, or less"],
        ),
        (
            "train own.toml --replay.capacity 200000000",
            ["too little memory (replay.capacity=200000000): its rows take 10 GB, and this machine has 8. "
             "Set --replay.capacity 83333333, half of the machine, or less"],
        ),
    ],
)  # fmt: skip
def test_a_replay_that_no_memory_holds(words, lines, place, capsys):
    check_told(5, words, lines, place, capsys)


@pytest.mark.parametrize("option", ["out", "address"])
def test_an_option_without_a_value(option, place, capsys):
    assert main(["train", "own.toml", f"--{option}", ""]) == 2
    fix = f"Give a value, or leave --{option} out"
    assert capsys.readouterr().err == f"error: no value ({option}=''): --{option} needs one. {fix}\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 14.2 PiB for an array"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 40000000000000000 bytes."),
    ],
)
def test_memory_that_is_not_to_be_had_is_no_fault_of_the_program(error, place, capsys, monkeypatch):
    def greedy(config):
        raise error

    monkeypatch.setattr(ready, "plan_here", greedy)
    assert main(["train", "own.toml"]) == 5
    told = capsys.readouterr().err
    assert told.startswith(f"error: out of memory ({type(error).__name__}): ")
    assert told.endswith(". Lower replay.capacity, replay.batch_size or the sizes of the networks\n")


def test_the_memory_of_this_machine_is_known(monkeypatch):
    monkeypatch.undo()
    assert preflight.memory_here() > 2**28
