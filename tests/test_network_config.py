"""A network in a run file: its widths worked out, and what cannot be asked of it, word by word."""

import pytest
from told import told

from distributed_kd.network_config import NetworkConfig

LINES = [
    ("teacher.network.hidden = [8, 0]",
     "bad layer width (teacher.network.hidden=0): it must be a finite number of at least 1. Set"
     " --teacher.network.hidden 1 or more"),
    ("students.tiny.network.hidden = [-1]",
     "bad layer width (students.tiny.network.hidden=-1): it must be a finite number of at least 1. Set"
     " --students.tiny.network.hidden 1 or more"),
    ('teacher.network = { kind = "impala", channels = [16, 0] }',
     "bad layer width (teacher.network.channels=0): it must be a finite number of at least 1. Set"
     " --teacher.network.channels 1 or more"),
    ('teacher.network.kind = "natur"',
     "unknown network (teacher.network.kind='natur'): there is no such network. Did you mean nature?"),
    ('students.tiny.network.kind = "q q:net"',
     "unknown network (students.tiny.network.kind='q q:net'): there is no such network. Choose mlp, minatar, nature, impala,"
     ' tree, or "module:factory"'),
    ("students.tiny.network.channels = [8]",
     "option without effect (students.tiny.network.channels=[8]): mlp has no convolutions that could be set here. Remove it,"
     " or choose minatar, nature or impala"),
    ('teacher.network = { kind = "nature", channels = [8, 8] }',
     "bad layer width (teacher.network.channels=[8, 8]): nature has 3 convolutions. Give 3 widths"),
    ('teacher.network = { kind = "minatar", channels = [] }',
     "bad layer width (teacher.network.channels=[]): minatar has 1 convolution. Give 1 width"),
    ('teacher.network = { kind = "mine:net", hidden = [8] }',
     "option without effect (teacher.network.hidden=[8]): the factory alone decides its layers. Set"
     " --teacher.network.hidden auto and --teacher.network.layer_norm false"),
    ('teacher.network = { kind = "minatr", hidden = [8] }',
     "unknown network (teacher.network.kind='minatr'): there is no such network. Did you mean minatar?"),
    ('teacher = { network = { kind = "mine:net" }, dueling = true }',
     "option without effect (teacher.network.kind=mine:net): a factory's network has a head of its own. Leave dueling, noisy"
     " and distribution out"),
]  # fmt: skip


@pytest.mark.parametrize(("toml", "line"), LINES)
def test_each_problem_has_its_line(toml, line):
    assert told(toml) == [line]


@pytest.mark.parametrize(
    "toml",
    [
        'teacher.network = { kind = "minatar", channels = [8], hidden = [] }',
        'teacher.network = { kind = "impala", channels = [8, 8, 8, 8] }',
        'teacher.network.kind = "my_package.my_module:make"\nstudents.tiny.network.kind = "mine:net"',
    ],
)
def test_neighbours_of_what_is_wrong_are_right(toml):
    assert told(toml) == []


@pytest.mark.parametrize(
    ("network", "filters", "units", "label"),
    [
        (NetworkConfig(), (), (256, 256), "mlp 256 256"),
        (NetworkConfig(width=0.25), (), (64, 64), "mlp 64 64"),
        (NetworkConfig(hidden=(), width=0.25), (), (), "mlp"),
        (NetworkConfig("minatar", width=0.5), (8,), (64,), "minatar 8, 64"),
        (NetworkConfig("nature"), (32, 64, 64), (512,), "nature 32 64 64, 512"),
        (NetworkConfig("nature", channels=(4, 4, 4), width=0.125), (4, 4, 4), (64,), "nature 4 4 4, 64"),
        (NetworkConfig("impala", hidden=(), channels=(4,)), (4,), (), "impala 4"),
        (NetworkConfig("minatar", width=1e-3), (1,), (1,), "minatar 1, 1"),
        (NetworkConfig("my.module:net"), (), (), "my.module:net"),
    ],
)
def test_widths_by_name_worked_out(network, filters, units, label):
    assert (network.filters, network.units, network.label) == (filters, units, label)
    assert list(network.problems("network")) == []
