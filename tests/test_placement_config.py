"""placement_config: labels of nodes as a run file names them, and which nodes have them."""

import pytest

from distributed_kd.errors import ConfigurationError
from distributed_kd.placement_config import PlacementConfig, has, selector
from distributed_kd.run_file import decode

STUDENTS = {"students": {"tiny": {}}}


def test_labels_as_a_run_file_has_them():
    config = decode({**STUDENTS, "placement": {"learner": ["ray.io/accelerator-type=H100", "zone=!b"], "wait_minutes": 2}})
    assert config.placement == PlacementConfig(learner=("ray.io/accelerator-type=H100", "zone=!b"), wait_minutes=2.0)
    assert selector(config.placement.learner) == {"ray.io/accelerator-type": "H100", "zone": "!b"}


@pytest.mark.parametrize("label", ["", "spot", "=spot", "market type=spot", "a=b=c", "a=", "a=-b", "a=!", "a=in(b,c)"])
def test_what_is_no_label_is_told(label):
    with pytest.raises(ConfigurationError) as raised:
        decode({**STUDENTS, "placement": {"rollouts": [label]}})
    assert raised.value.lines == (
        f"bad label (placement.rollouts={label!r}): a label is KEY=VALUE, or KEY=!VALUE. "
        "Give for example --placement.rollouts market-type=spot",
    )


@pytest.mark.parametrize(
    ("there", "labels", "found"),
    [
        ({"a": "1"}, [], True),
        ({"a": "1"}, ["a=1"], True),
        ({"a": "1"}, ["a=2"], False),
        ({}, ["a=1"], False),
        ({"a": "1"}, ["a=!1"], False),
        ({"a": "2"}, ["a=!1"], True),
        ({}, ["a=!1"], True),
        ({"a": "1", "b": "2"}, ["a=1", "b=2"], True),
        ({"a": "1", "b": "3"}, ["a=1", "b=2"], False),
    ],
)
def test_a_node_has_all_labels_or_it_is_no_place(there, labels, found):
    assert has(there, labels) is found
