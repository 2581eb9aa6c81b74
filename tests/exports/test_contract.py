"""distributed_kd/exports/contract.py: what outputs mean, which hangs on what a policy learned from."""

import pytest

from distributed_kd.config import RunConfig
from distributed_kd.exports.contract import MEANINGS, meaning_of
from distributed_kd.policy_config import TeacherConfig
from distributed_kd.student_config import LossConfig, StudentConfig


@pytest.mark.parametrize(
    ("student", "meaning"),
    [
        ({"loss": "kl"}, "logits"),
        ({"loss": "cross_entropy"}, "logits"),
        ({"loss": "hint"}, "logits"),  # kl stands beside it
        ({"loss": "policy_gradient"}, "logits"),
        ({"loss": "mse"}, "q_values"),
        ({"loss": "huber", "td_weight": 1.0}, "q_values"),
        ({"loss": "kl_q", "td_weight": 1.0}, "q_values"),
        ({"loss": "kl_q"}, "advantages"),  # the same softmax for Q + 5 as for Q
        ({"loss": "margin"}, "advantages"),
        ({"losses": (LossConfig("mse", target="advantage"),)}, "advantages"),
        ({"losses": (LossConfig("mse", target="scaled"),)}, "scaled_advantages"),
        ({"losses": (LossConfig("mse"), LossConfig("kl"))}, "logits"),
        ({"losses": (LossConfig("hard_soft", soft="mse", hard="margin"),)}, "q_values"),
        ({"losses": (LossConfig("hard_soft"),)}, "logits"),
    ],
)
def test_what_a_students_outputs_mean(student, meaning):
    assert meaning_of(RunConfig(students={"a": StudentConfig(**student)}), "a") == meaning
    assert meaning in MEANINGS


@pytest.mark.parametrize(
    ("teacher", "meaning"),
    [
        ({}, "q_values"),
        ({"distribution": "c51"}, "q_values"),
        ({"source": ("a", "b"), "combine": "mean"}, "q_values"),
        ({"source": ("a", "b"), "combine": "logsumexp"}, "logits"),
        ({"source": "peers", "combine": "logsumexp"}, "logits"),
    ],
)
def test_what_a_teachers_outputs_mean(teacher, meaning):
    assert meaning_of(RunConfig(teacher=TeacherConfig(**teacher)), "teacher") == meaning
